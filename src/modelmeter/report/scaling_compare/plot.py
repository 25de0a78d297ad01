"""FLOPs and times over the length of the prompt, analytic and measured, side by side."""

from typing import TYPE_CHECKING, Any

import numpy as np

from modelmeter.report.plots.panel import Panel, figure_of, set_log
from modelmeter.report.plots.scale import Scale, is_wide, scale_for
from modelmeter.report.plots.style import STAGES as LOOKS
from modelmeter.report.plots.style import check_format, file_bytes, styled
from modelmeter.report.scaling_compare.compare import STAGES, ScalingComparison, StageName, StagePair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE = 10  # more than this many times apart: a logarithmic axis
_NAMES = {"prefill": "prefill", "decode": "decode step"}


def scaling_plot(found: ScalingComparison, suffix: str) -> bytes:
    """The plot as a file of a format in `plots.style.FORMATS`. Raises `ModelMeterError` for another one."""
    check_format(suffix)
    measured = found.measured
    title = f"{measured.model} on {measured.device.name}, batch size {measured.batch_size}"
    with styled():
        panels = [
            Panel(title="Counted FLOPs", draw=lambda axes: _draw_flops(axes, found)),
            Panel(title=_time_title(found), draw=lambda axes: _draw_times(axes, found)),
        ]
        return file_bytes(figure_of(title, panels), suffix)


def _time_title(found: ScalingComparison) -> str:
    text = f"Time: medians of {found.measured.repeats}, bars from quartile to quartile"
    if found.machine is None:
        return text
    return f"{text}; predicted for {found.machine.device.name}"


def _draw_flops(axes: "Axes", found: ScalingComparison) -> None:
    counts = [[float(pair.analytic_flops) for pair in found.pairs]]
    counts += [[float(pair.measured_flops) for pair in found.pairs if pair.measured_flops is not None]]
    scale = scale_for("FLOP", [np.array(several) for several in counts])
    for stage in STAGES:
        pairs = list(found.of_stage(stage))
        _line(axes, pairs, scale.shown(np.array([float(p.analytic_flops) for p in pairs])), stage, "analytic")
        counted = [pair for pair in pairs if pair.measured_flops is not None]
        values = np.array([float(pair.measured_flops) for pair in counted if pair.measured_flops is not None])
        _marks(axes, counted, scale.shown(values), stage, None)
    _finish(axes, found, f"FLOPs ({scale.unit})", [scale.shown(np.array(several)) for several in counts])


def _draw_times(axes: "Axes", found: ScalingComparison) -> None:
    seconds = [[pair.seconds for pair in found.pairs]]
    seconds += [[p.predicted.seconds.predicted for p in found.pairs if p.predicted is not None]]
    seconds += [[p.predicted.seconds.bound for p in found.pairs if p.predicted is not None]]
    scale = scale_for("s", [np.array(several) for several in seconds])
    for stage in STAGES:
        pairs = list(found.of_stage(stage))
        levels = [pair.predicted.seconds for pair in pairs if pair.predicted is not None]
        if levels:
            name = "roofline" if levels[0].calibrated is None else "calibrated"
            _line(axes, pairs, scale.shown(np.array([each.predicted for each in levels])), stage, name)
            _line(axes, pairs, scale.shown(np.array([each.bound for each in levels])), stage, "bound")
        _marks(axes, pairs, scale.shown(np.array([pair.seconds for pair in pairs])), stage, scale)
    _finish(axes, found, f"time ({scale.unit})", [scale.shown(np.array(several)) for several in seconds])


def _line(axes: "Axes", pairs: list[StagePair], y: np.ndarray, stage: StageName, name: str) -> None:
    """What is predicted, as a line; the bound as a thin dotted one."""
    bound = name == "bound"
    axes.plot(
        [pair.length for pair in pairs],
        y,
        color=LOOKS[stage].colour,
        linestyle=":" if bound else LOOKS[stage].line,
        linewidth=1.2 if bound else 1.8,
        marker="_" if len(pairs) == 1 else "",  # a line of one point is none
        markersize=14,
        label=f"{_NAMES[stage]}, {name}",
    )


def _marks(axes: "Axes", pairs: list[StagePair], y: np.ndarray, stage: StageName, scale: Scale | None) -> None:
    """What was measured, as markers; with a scale of times, and bars from quartile to quartile."""
    shape: dict[str, Any] = {"color": LOOKS[stage].colour, "marker": LOOKS[stage].marker, "linestyle": "none"}
    shape |= {"markersize": 5, "markerfacecolor": "white", "elinewidth": 1.2, "zorder": 4}
    bars = None
    if scale is not None:
        quartiles = [(pair.spread.first_quartile_ms, pair.spread.third_quartile_ms) for pair in pairs]
        edges = scale.shown(np.array(quartiles).T / 1e3)
        bars = np.abs(edges - y)
    axes.errorbar([pair.length for pair in pairs], y, yerr=bars, capsize=3, label=f"{_NAMES[stage]}, measured", **shape)


def _finish(axes: "Axes", found: ScalingComparison, label: str, values: list[np.ndarray]) -> None:
    lengths = np.array(sorted({pair.length for pair in found.pairs}), dtype=np.float64)
    axes.set_xlabel("length of the prompt (tokens)")
    axes.set_ylabel(label)
    set_log(axes, "x", on=is_wide([lengths], _WIDE), values=lengths)
    set_log(axes, "y", on=is_wide(values, _WIDE))
