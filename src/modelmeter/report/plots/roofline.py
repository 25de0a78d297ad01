"""The stages of a study under the roofs of its devices."""

from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.catalogue import get_device
from modelmeter.hardware.device import Device
from modelmeter.report.plots.curves import Curve, curves_of, spread
from modelmeter.report.plots.names import short_name
from modelmeter.report.plots.panel import Panel, draw_line
from modelmeter.report.plots.roofs import draw_roofs
from modelmeter.report.plots.scale import plain
from modelmeter.report.plots.style import LINES, STAGES

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

MOST_DEVICES: Final = 4
MOST_KINDS: Final = 2
"""Paths of a stage: eager and flash, filled and hollow."""
_NEEDED: Final = ("flops", "io_bytes", "seconds")


@attrs.frozen(kw_only=True)
class Track:
    """One stage on the way along a dimension: FLOPs per byte and FLOP/s of each point, and the points' names."""

    name: str
    stage: str
    intensity: np.ndarray
    rate: np.ndarray
    points: tuple[str, ...]
    along: str = ""
    fixed: str = ""


def roofline_panels(datasets: "dict[str, xr.Dataset]") -> list[Panel]:
    """A panel a device (evenly spread where there are many), with a path for each stage and each kind of it.

    Devices that no list has (those of a user's file) have none, nor has fused execution, which moves fewer bytes.
    """
    if len(datasets) > 1:  # a run is the others together
        datasets = {stage: one for stage, one in datasets.items() if stage != "run"}
    names = list(dict.fromkeys(name for dataset in datasets.values() for name in _devices(dataset)))
    found = []
    for name in names:
        device = _known(name)
        paths = [path for stage, one in datasets.items() for path in _paths(stage, one, name)]
        if device is not None and paths:
            found.append(_panel(device, paths))
    return [found[i] for i in spread(len(found), MOST_DEVICES)] if found else []


def _devices(dataset: "xr.Dataset") -> list[str]:
    if "device" not in dataset.coords or any(name not in dataset for name in _NEEDED):
        return []
    return [str(name) for name in np.atleast_1d(dataset.coords["device"].values)]


def _known(name: str) -> Device | None:
    try:
        return get_device(name)
    except ModelMeterError:
        return None


def _paths(stage: str, dataset: "xr.Dataset", device: str) -> list[Track]:
    if stage not in STAGES or device not in _devices(dataset):
        return []
    one: Any = dataset.sel(device=device) if "device" in dataset.dims else dataset
    if "execution" in one.coords:
        executions = [name for name in np.atleast_1d(one.coords["execution"].values) if name != "fused"]
        if not executions:
            return []
        one = one.sel(execution=executions) if "execution" in one.dims else one
    rate = one["flops"] / one["seconds"]
    intensity = (one["flops"] / one["io_bytes"]).broadcast_like(rate).transpose(*rate.dims)
    if not rate.dims:
        return [Track(name=stage, stage=stage, intensity=intensity.values[None], rate=rate.values[None], points=("",))]
    both = one.assign(rate=rate, intensity=intensity)
    intensities, fixed = curves_of(both, {"intensity": ""}, MOST_KINDS)
    rates, _ = curves_of(both, {"rate": ""}, MOST_KINDS)
    return [attrs.evolve(_path(stage, x, y), fixed=fixed) for x, y in zip(intensities, rates, strict=True)]


def _path(stage: str, x: Curve, y: Curve) -> Track:
    order = np.arange(len(x.x)) if x.categories else np.argsort(x.x, kind="stable")
    names = x.points or tuple(str(value) if x.categories else plain(float(value)) for value in x.x)
    return Track(
        name=", ".join([stage, *([x.name] if x.name else [])]),
        stage=stage,
        intensity=x.y[order],
        rate=y.y[order],
        points=tuple(names[i] for i in order),
        along=short_name("grid" if x.points else x.along),
    )


def _panel(device: Device, paths: list[Track]) -> Panel:
    def draw(axes: "Axes") -> None:
        draw_roofs(
            axes,
            device,
            np.concatenate([path.intensity for path in paths]).tolist(),
            np.concatenate([path.rate for path in paths]).tolist(),
        )
        seen: dict[str, int] = {}
        written: list[tuple[float, float]] = []
        for path in paths:
            nth = seen[path.stage] = seen.get(path.stage, -1) + 1
            look = attrs.evolve(STAGES[path.stage], line=LINES[nth % len(LINES)], filled=nth == 0)
            draw_line(axes, path.intensity, path.rate, look, path.name)
            if nth == 0:
                _name_ends(axes, path, written)

    first = paths[0]
    words = [device.title, f"points by {first.along}" if first.along else "", first.fixed]
    return Panel(title=", ".join(word for word in words if word), draw=draw, wide=True)


def _name_ends(axes: "Axes", path: Track, written: list[tuple[float, float]]) -> None:
    """The names of the first and last point, on the side away from the path; none beside one `written` before."""
    others = list(written)
    for end, next_to in ((0, 1), (-1, -2)) if len(path.points) > 1 else ((0, 0),):
        place = (float(path.intensity[end]), float(path.rate[end]))
        if any(abs(np.log(place[0] / x)) < 0.7 and abs(np.log(place[1] / y)) < 0.5 for x, y in others):
            continue
        written.append(place)
        left, below = place[0] < path.intensity[next_to], place[1] < path.rate[next_to]
        axes.annotate(
            path.points[end],
            place,
            (-6 if left else 6, -4 if below else 4),
            textcoords="offset points",
            fontsize=6.5,
            ha="right" if left else "left",
            va="top" if below else "bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.9},
        )
