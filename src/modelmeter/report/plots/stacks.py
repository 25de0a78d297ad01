"""Stacked quantities: what a sum is made of, along a dimension."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelmeter.report.plots.curves import Curve
from modelmeter.report.plots.panel import Panel, set_categories, set_log, set_x
from modelmeter.report.plots.scale import plain, scale_for
from modelmeter.report.plots.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def stack_panel(
    title: str, group: str, label: str, layers: Mapping[str, Curve], looks: Mapping[str, Look], most: float
) -> Panel:
    """`layers` (name -> curve of bytes) on each other, the first at the bottom: areas over numbers, bars over names.

    `most` is the largest sum of all panels of the group, which have one scale.
    """
    first = next(iter(layers.values()))
    rows = len(first.x) if first.categories else 0

    def draw(axes: "Axes") -> None:
        scale = scale_for("B", [np.array([most])])
        shown = {name: scale.shown(curve.y) for name, curve in layers.items()}
        if first.categories:
            _draw_bars(axes, first, shown, looks)
            axes.set_xlabel(f"{label} ({scale.unit})")
            axes.set_xlim(0, most / scale.factor * 1.05)
        else:
            _draw_areas(axes, list(layers.values()), shown, looks)
            axes.set_ylabel(f"{label} ({scale.unit})")
            axes.set_ylim(0, most / scale.factor * 1.05)

    return Panel(title=title, draw=draw, rows=rows, group=group)


def _draw_areas(
    axes: "Axes", curves: Sequence[Curve], shown: Mapping[str, np.ndarray], looks: Mapping[str, Look]
) -> None:
    order = np.argsort(curves[0].x, kind="stable")
    x, base = curves[0].x[order], np.zeros(len(order))
    for name, values in shown.items():
        top = base + values[order]
        look = looks[name]
        area = axes.fill_between(x, base, top, facecolor=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0)
        area.set_label(name)
        axes.plot(x, top, color="white", linewidth=0.8)
        base = top
    if len(x) == 1:  # an area of one point is nothing
        axes.plot(x, base, marker="_", color="black")
    else:
        axes.set_xlim(x[0], x[-1])
    set_x(axes, curves)
    set_log(axes, "y", on=False)


def _draw_bars(axes: "Axes", first: Curve, shown: Mapping[str, np.ndarray], looks: Mapping[str, Look]) -> None:
    from matplotlib.ticker import FuncFormatter

    places, base = np.arange(len(first.x)), np.zeros(len(first.x))
    for name, values in shown.items():
        look = looks[name]
        axes.barh(places, values, 0.75, base, color=look.colour, hatch=look.hatch, edgecolor="white", label=name)
        base = base + values
    set_categories(axes, first)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
