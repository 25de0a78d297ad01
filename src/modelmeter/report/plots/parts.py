"""What a page's stages are made of: a stacked bar of the model's parts for each stage."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from modelmeter.core.cost import StageCost
from modelmeter.core.errors import ModelMeterError
from modelmeter.report import units
from modelmeter.report.plots.panel import Panel
from modelmeter.report.plots.style import BLACK, SMALL, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST_NAMED: Final = 0.06  # of a bar: a narrower piece has no room for its share
Amounts = Mapping[str, Mapping[str, float]]


def parts_panels(stages: Mapping[str, Mapping[str, StageCost]], seconds: Amounts | None = None) -> list[Panel]:
    """Shares of FLOPs, of bytes moved and, where given, of the predicted time: a bar a stage, a piece a part.

    `stages` are each stage's `part_costs()`, `seconds` each stage's seconds by part.
    """
    if not stages:
        raise ModelMeterError("the plot of parts needs a stage: give each stage's part_costs()")
    flops = {stage: {part: float(one.cost.flops) for part, one in parts.items()} for stage, parts in stages.items()}
    moved = {stage: {part: float(one.cost.io_bytes) for part, one in parts.items()} for stage, parts in stages.items()}
    order = list(dict.fromkeys(part for parts in stages.values() for part in parts))
    panels = [_panel("FLOPs", flops, order, _flop), _panel("bytes moved", moved, order, units.size)]
    if seconds is not None:
        panels.append(_panel("predicted time", seconds, order, units.seconds))
    return panels


def _flop(value: float) -> str:
    return f"{units.flops(value)}FLOP"


def _panel(title: str, stages: Amounts, order: list[str], written: Callable[[float], str]) -> Panel:
    return Panel(title=title, draw=lambda axes: _draw(axes, title, stages, order, written), rows=2 * len(stages))


def _draw(axes: "Axes", title: str, stages: Amounts, order: list[str], written: Callable[[float], str]) -> None:
    totals = {stage: sum(parts.values()) for stage, parts in stages.items()}
    base = np.zeros(len(stages))
    for i, part in enumerate(order):
        share = np.array([parts.get(part, 0.0) / (totals[stage] or 1.0) for stage, parts in stages.items()])
        if not share.any():
            continue
        bars = axes.barh(
            list(stages), share * 100, 0.62, base, color=look(i).colour, hatch=look(i).hatch, edgecolor="white"
        )
        bars.set_label(part)
        for bar, one in zip(bars, share, strict=True):
            if one >= _LEAST_NAMED:
                _write(axes, bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height() / 2, f"{one:.0%}")
        base = base + share * 100
    axes.set_yticks(range(len(stages)), [f"{stage}\n{written(total)}" for stage, total in totals.items()])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"share of the stage's {title} (%)")
    axes.set_ylabel("stage")
    axes.grid(visible=False, axis="y")


def _write(axes: "Axes", x: float, y: float, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
    axes.text(x, y, text, ha="center", va="center", fontsize=SMALL, color=BLACK, bbox=box)
