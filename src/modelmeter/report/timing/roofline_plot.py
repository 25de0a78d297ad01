"""The roofline of a device with a page's stages and heaviest operators on it (Williams, Waterman, Patterson, 2009)."""

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.device import Device
from modelmeter.hardware.page_time import PageTime
from modelmeter.hardware.timeline import OperatorTime
from modelmeter.report import units
from modelmeter.report.timing.timing import PageTiming

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS: Final = ("svg", "png", "pdf")
HEAVIEST: Final = 10
_STAGES: Final = ("vision", "prefill", "decode")
# Okabe and Ito's palette, told apart by the colour-blind; markers differ as well.
_COLOURS: Final = {"vision": "#0072B2", "prefill": "#009E73", "decode": "#D55E00", "roof": "#333333"}
_MARKERS: Final = {"vision": "o", "prefill": "s", "decode": "^"}


@attrs.frozen(kw_only=True)
class Point:
    """One point: FLOPs per byte, FLOP/s, and the share of its stage's time."""

    name: str
    stage: str
    intensity: float
    rate: float
    share: float


def roofline_points(time: PageTime, heaviest: int = HEAVIEST) -> list[Point]:
    """The three stages, then the operators that take longest over prefill (vision included) and one decode step.

    Equal operators of equal layers are one. Those without FLOPs have no place on a roofline: they are left out.
    """
    points = []
    for name in _STAGES:
        stage = getattr(time, name)
        seconds = stage.seconds.predicted
        points.append(_point(name, name, float(stage.cost.flops), float(stage.cost.io_bytes), seconds, 1.0))
    operators = [*_operators(time, "prefill"), *_operators(time, "decode")]
    operators.sort(key=lambda point: -point.share)
    return points + operators[:heaviest]


def roofline_plot(page: PageTiming, suffix: str) -> bytes:
    """The plot as the bytes of a file of a format in FORMATS. Raises without matplotlib, or for another format."""
    if suffix not in FORMATS:
        raise ModelMeterError(f"cannot draw a .{suffix}: name the roofline plot .{', .'.join(FORMATS)}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModelMeterError("plots need matplotlib: pip install 'modelmeter[plot]'") from error
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = roofline_points(page.time)
    _draw_roofs(axes, page.time.machine.device, points)
    _draw_points(axes, points)
    machine = page.time.machine
    level = page.time.prefill.timeline.level
    axes.set_title(f"{page.page.label} on {machine.device.title}, {machine.execution}, {level} times", fontsize=11)
    axes.set_xlabel("arithmetic intensity, FLOP per byte moved")
    axes.set_ylabel("FLOP/s")
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else None)
    return out.getvalue()


def _operators(time: PageTime, stage: str) -> Iterator[Point]:
    timed = getattr(time, stage)
    total = timed.seconds.predicted
    sums: dict[str, list[float]] = {}
    for item in timed.timeline.operators():
        row = sums.setdefault(_kind_name(item), [0.0, 0.0, 0.0])
        row[0] += float(item.op.cost.flops)
        row[1] += float(item.op.cost.io_bytes)
        row[2] += item.seconds
    for name, (flops, num_bytes, seconds) in sums.items():
        if flops and num_bytes and seconds:
            yield _point(name, stage, flops, num_bytes, seconds, seconds / total)


def _kind_name(item: OperatorTime) -> str:
    """Module path without layer numbers and without the model's name, and the operator: equal layers have one name."""
    path = re.sub(r"\.\d+(?=\.|$)", "", item.path).removeprefix("model.")
    return f"{path} {item.op.name}"


def _point(name: str, stage: str, flops: float, num_bytes: float, seconds: float, share: float) -> Point:
    return Point(name=name, stage=stage, intensity=flops / num_bytes, rate=flops / seconds, share=share)


def _draw_roofs(axes: "Axes", device: Device, points: list[Point]) -> None:
    top = max(device.peaks.values())
    left = min(point.intensity for point in points) / 3
    right = max(top / device.bandwidth * 4, max(point.intensity for point in points) * 2)
    x = np.geomspace(left, right, 200)
    for rate, name in _roofs(device).items():
        axes.plot(x, np.minimum(x * device.bandwidth, rate), color=_COLOURS["roof"], linewidth=1.2)
        label = f"{name}: {units.flops(rate)}FLOP/s"
        axes.annotate(label, (right, rate), (-4, 3), textcoords="offset points", fontsize=8, ha="right", va="bottom")
    start = left * 1.3
    label = f"{device.bandwidth / 1e12:.3g} TB/s"
    axes.annotate(label, (start, start * device.bandwidth), (12, -2), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(min(point.rate for point in points) / 3, top * 2)


def _roofs(device: Device) -> dict[float, str]:
    """The flat roofs by rate; formats of one rate are one roof."""
    names: dict[float, str] = {}
    for unit, rates, formats in (
        ("tensor", device.tensor, ("bf16", "fp16", "fp8")),
        ("vector", device.vector, ("fp32",)),
    ):
        for name in formats:
            if name in rates:
                rate = rates[name]
                names[rate] = f"{name}, {names[rate]}" if rate in names else f"{name} {unit}"
    return names or {max(device.peaks.values()): "peak"}


def _draw_points(axes: "Axes", points: list[Point]) -> None:
    numbers: list[tuple[Point, list[str]]] = []
    for i, point in enumerate(points):
        style: dict[str, Any] = {"color": _COLOURS[point.stage], "marker": _MARKERS[point.stage], "linestyle": "none"}
        if i < len(_STAGES):
            axes.plot(point.intensity, point.rate, markersize=11, label=f"{point.stage}, the whole stage", **style)
            continue
        number = str(i - len(_STAGES) + 1)
        label = f"{number}  {point.name} ({point.share:.0%} of {point.stage})"
        axes.plot(point.intensity, point.rate, markersize=6, markerfacecolor="white", label=label, **style)
        beside = next((row for row in numbers if _touch(row[0], point)), None)
        if beside is None:
            numbers.append((point, [number]))
        else:
            beside[1].append(number)
    for point, names in numbers:
        place = (point.intensity, point.rate)
        axes.annotate(", ".join(names), place, (7, -9), textcoords="offset points", fontsize=8)


def _touch(a: Point, b: Point) -> bool:
    """Whether two points lie too close for a number each."""
    return bool(abs(np.log(a.intensity / b.intensity)) < 0.15 and abs(np.log(a.rate / b.rate)) < 0.15)
