"""How pages spread: totals, quantiles and histograms of image tokens, cost and time, each page counted."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modelmeter.report.study.points import kinds_of, machines_of, of_kind
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    import xarray as xr

PAGES: Final = "pages"
QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
BINS: Final = 20
_COSTS: Final = ("flops", "io_bytes", "activation_peak_bytes", "kv_cache_bytes")
_TIMES: Final = ("seconds", "ttft_seconds", "tpot_seconds")
_SUMMED: Final = ("flops", "io_bytes", "seconds")


def distributions(study: Study) -> list[dict[str, Any]]:
    """One entry for each quantity, stage, attention and device; none where points are not pages."""
    return [entry for stage, dataset in study.datasets.items() for entry in _of_stage(stage, dataset)]


def _of_stage(stage: str, dataset: "xr.Dataset") -> Iterator[dict[str, Any]]:
    if PAGES not in dataset.coords:
        return
    pages = dataset[PAGES].values
    if stage == "vision":  # once: they are the same in every stage
        yield _entry("image_tokens", "1", dataset["image_tokens_total"].values, pages, {"stage": "page"}, total=True)
    for kind in kinds_of(dataset):
        one, about = of_kind(dataset, kind), {"stage": stage, "attention": kind}
        for name in _COSTS:
            if name in one and one[name].any():
                yield _entry(name, one[name].attrs["units"], one[name].values, pages, about, total=name in _SUMMED)
        for machine, there in machines_of(one):
            for name in _TIMES:
                if name in there:
                    values, total = there[name].values, name in _SUMMED
                    yield _entry(name, there[name].attrs["units"], values, pages, {**about, **machine}, total=total)


def _entry(
    name: str, units: str, values: np.ndarray, pages: np.ndarray, about: dict[str, str], *, total: bool
) -> dict[str, Any]:
    """`values` of each kind of page, of which there are so many `pages`. A quantile is always some page's value."""
    each = np.repeat(values, pages)
    counts, edges = np.histogram(each, bins=BINS if values.min() < values.max() else 1)
    whole = sum(value * count for value, count in zip(values.tolist(), pages.tolist(), strict=True))
    quantiles = np.quantile(each, QUANTILES, method="inverted_cdf").tolist()
    return {
        "quantity": name,
        "units": units,
        **about,
        "pages": int(pages.sum()),
        "mean": whole / int(pages.sum()),
        **({"total": whole} if total else {}),
        "quantiles": {str(q): value for q, value in zip(QUANTILES, quantiles, strict=True)},
        "histogram": {"edges": edges.tolist(), "pages": counts.tolist()},
    }
