"""The roofline of a device with a page's stages and heaviest operators on it (Williams, Waterman, Patterson, 2009)."""

import io
import re
import warnings
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.device import Device
from modelmeter.hardware.page_time import PageTime, StageTime
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
# Equal pages make equal files.
_UNDATED: Final[dict[str, Any]] = {"svg": {"Date": None}, "png": None, "pdf": {"CreationDate": None}}


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
    if suffix not in FORMATS:
        found = f"a .{suffix}" if suffix else "a file without a suffix"
        raise ModelMeterError(f"cannot draw {found}: name the roofline plot .{', .'.join(FORMATS)}")
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModelMeterError("plots need matplotlib: pip install 'modelmeter[plot]'") from error
    out = io.BytesIO()
    with rc_context({"svg.hashsalt": "modelmeter"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # in a file's name: drawn as a box
        figure = Figure(figsize=(9, 6), layout="constrained")
        FigureCanvasAgg(figure)
        _draw(figure.add_subplot(), page)
        figure.savefig(out, format=suffix, dpi=150, metadata=_UNDATED[suffix])
    return out.getvalue()


def _draw(axes: "Axes", page: PageTiming) -> None:
    points, machine = roofline_points(page.time), page.time.machine
    _draw_roofs(axes, machine.device, points)
    _draw_points(axes, points)
    label = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in page.page.label)
    level = page.time.prefill.timeline.level
    title = f"{label} on {machine.device.title}, {machine.execution}, {level} times"
    axes.set_title(title, fontsize=11, parse_math=False)  # a dollar in a name begins no formula
    axes.set_xlabel("arithmetic intensity, FLOP per byte moved")
    axes.set_ylabel("FLOP/s")
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.legend(loc="lower right", fontsize=8, frameon=False)


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
