"""The roofline of a device with a page's stages and heaviest operators on it (Williams, Waterman, Patterson, 2009)."""

from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from modelmeter.hardware.page_time import PageTime, StageTime
from modelmeter.hardware.timeline import OperatorTime
from modelmeter.report.plots.layers import without_numbers
from modelmeter.report.plots.roofs import draw_roofs
from modelmeter.report.plots.style import STAGES, check_format, file_bytes, new_figure, printable, styled
from modelmeter.report.timing.timing import PageTiming

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEAVIEST: Final = 10
_STAGES: Final = ("vision", "prefill", "decode")


@attrs.frozen(kw_only=True)
class Point:
    """One point: FLOPs per byte, FLOP/s, and the share of its stage's time."""

    name: str
    stage: str
    intensity: float
    rate: float
    share: float


def roofline_points(time: PageTime, heaviest: int = HEAVIEST) -> list[Point]:
    """The three stages, then the operators with the largest shares of prefill (vision included) or of a decode step.

    Equal operators of equal layers are one. Those without FLOPs have no place on a roofline: they are left out.
    """
    sums = {name: _sums(getattr(time, name)) for name in _STAGES}
    stages = []
    for name, kinds in sums.items():
        flops, num_bytes, seconds = (sum(column) for column in zip(*kinds.values(), strict=True))
        stages.append(_point(name, name, flops, num_bytes, seconds, 1.0))
    operators = []
    for stage in stages[1:]:
        for name, (flops, num_bytes, seconds) in sums[stage.name].items():
            if flops and num_bytes and seconds:
                share = seconds / getattr(time, stage.name).seconds.predicted
                operators.append(_point(name, stage.name, flops, num_bytes, seconds, share))
    operators.sort(key=lambda point: -point.share)
    return stages + operators[:heaviest]


def roofline_plot(page: PageTiming, suffix: str) -> bytes:
    """The plot as the bytes of a file of a format in FORMATS. Raises without matplotlib, or for another format."""
    check_format(suffix)
    with styled():
        figure = new_figure(9, 6)
        _draw(figure.add_subplot(), page)
    return file_bytes(figure, suffix)


def _draw(axes: "Axes", page: PageTiming) -> None:
    points, machine = roofline_points(page.time), page.time.machine
    draw_roofs(axes, machine.device, [point.intensity for point in points], [point.rate for point in points])
    _draw_points(axes, points)
    level = page.time.prefill.timeline.level
    title = f"{printable(page.page.label)} on {machine.device.title}, {machine.execution}, {level} times"
    axes.set_title(title, fontsize=11)
    axes.legend(loc="lower right")


def _sums(stage: StageTime) -> dict[str, list[float]]:
    """FLOPs, bytes moved and seconds of each kind of operator. What joins its neighbours moves no activations."""
    machine = stage.timeline.machine
    sums: dict[str, list[float]] = {}
    for item in stage.timeline.operators():
        cost = item.op.cost
        row = sums.setdefault(_kind_name(item), [0.0, 0.0, 0.0])
        row[0] += float(cost.flops)
        row[1] += float(cost.io_bytes if machine.launches(item.op) else cost.weight_bytes + cost.kv_bytes)
        row[2] += item.seconds
    return sums


def _kind_name(item: OperatorTime) -> str:
    """Module path without layer numbers and without the model's name, and the operator: equal layers have one name."""
    return f"{without_numbers(item.path)} {item.op.name}"


def _point(name: str, stage: str, flops: float, num_bytes: float, seconds: float, share: float) -> Point:
    return Point(name=name, stage=stage, intensity=flops / num_bytes, rate=flops / seconds, share=share)


def _draw_points(axes: "Axes", points: list[Point]) -> None:
    numbers: list[tuple[Point, list[str]]] = []
    for i, point in enumerate(points):
        look = STAGES[point.stage]
        style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": "none"}
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
