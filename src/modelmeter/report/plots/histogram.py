"""How pages spread: histograms with quantiles."""

from typing import TYPE_CHECKING, Final

import numpy as np

from modelmeter.report.plots.names import fixed_label
from modelmeter.report.plots.panel import Panel
from modelmeter.report.plots.scale import plain, scale_for, short_number
from modelmeter.report.plots.style import BLUE, LINES, TEXT, VERMILION
from modelmeter.sweeps.dimensions import MACHINES

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

PAGES: Final = "pages"
"""The coordinate that says how many pages a point stands for; along the dimension `page` each stands for one."""
QUANTILES: Final = (0.5, 0.9, 0.99)
_QUANTITIES: Final = {
    "image_tokens": ("image tokens", "tokens"),
    "flops": ("FLOPs", "FLOP"),
    "seconds": ("predicted time", "s"),
    "ttft_seconds": ("TTFT, host's work left out", "s"),
    "tpot_seconds": ("TPOT", "s"),
}


def histogram_panels(datasets: "dict[str, xr.Dataset]") -> list[Panel]:
    """A histogram of each quantity over pages, of the first value of other dimensions; of whole runs where there are.

    Image tokens come once.
    """
    panels: list[Panel] = []
    seen: set[tuple[str, str]] = set()
    for stage, dataset in {"run": datasets["run"]}.items() if "run" in datasets else datasets.items():
        counts = _counts(dataset)
        if counts is None:
            continue
        for name, (title, unit) in _QUANTITIES.items():
            if name not in dataset or counts.dims[0] not in dataset[name].dims or (stage, name) in seen:
                continue
            one = dataset[name].isel({dim: 0 for dim in dataset[name].dims if dim not in counts.dims})
            values = np.repeat(np.asarray(one.values, dtype=np.float64), counts.values)
            if name == "image_tokens":
                seen.update((other, name) for other in datasets)
                panels.append(histogram_panel(title, title, unit, values))
                continue
            words = fixed_label(one, frozenset() if unit == "s" else frozenset(MACHINES))
            panels.append(histogram_panel(", ".join([title, stage, *([words] if words else [])]), title, unit, values))
    return panels


def _counts(dataset: "xr.Dataset") -> "xr.DataArray | None":
    """How many pages each point stands for, along one dimension; None where the points are no pages."""
    if PAGES in dataset.variables and dataset[PAGES].ndim == 1:
        return dataset[PAGES]
    if dataset.sizes.get("page", 0) > 1:
        return (dataset["page"] == dataset["page"]).astype(np.int64)
    return None


def histogram_panel(title: str, label: str, unit: str, values: np.ndarray) -> Panel:
    """How often each number comes, a number a page."""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        scale = scale_for(unit, [values])
        shown = scale.shown(values)
        axes.hist(shown, bins=bins_of(shown).tolist(), color=BLUE, edgecolor="white", linewidth=0.5)
        for quantile, line in zip(QUANTILES, LINES, strict=False):
            place = float(np.quantile(shown, quantile, method="inverted_cdf"))
            axes.axvline(place, color=VERMILION, linestyle=line, linewidth=1.2, label=f"{quantile:.0%} quantile")
            offset, side = (-2, "right") if place > shown.min() + 0.8 * np.ptp(shown) else (2, "left")
            axes.annotate(
                f"{quantile:.0%}: {short_number(place)}",
                (place, 1.0),
                (offset, -7 - 9 * QUANTILES.index(quantile)),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=6.5,
                color=TEXT,
                ha=side,
            )
        axes.set_xlabel(f"{label} ({scale.unit})")
        axes.set_ylabel("pages (count)")
        axes.margins(y=0.2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))

    return Panel(title=title, draw=draw)


def bins_of(values: np.ndarray) -> np.ndarray:
    """Edges of 10 to 40 equal bins, more of them for more pages; one bin where all are equal."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.array([low - 0.5, low + 0.5]) if low == 0 else np.array([low * 0.99, low * 1.01])
    return np.linspace(low, high, int(np.clip(np.sqrt(len(values)), 10, 40)) + 1)
