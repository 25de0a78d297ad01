"""Panels: one set of axes with curves or bars, and figures of several."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import numpy as np

from modelmeter.report.plots.curves import Curve
from modelmeter.report.plots.names import axis_label, short_name
from modelmeter.report.plots.scale import is_wide, plain, scale_for, short_number
from modelmeter.report.plots.style import SMALL, TEXT, Look, new_figure, printable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw: TypeAlias = "Callable[[Axes], None]"

LOG_RATIO: Final = 40
"""Numbers that range over more than this are drawn along a logarithmic axis."""
_MOST_MARKERS: Final = 40
_FEW_MARKERS: Final = 12
_BAR: Final = 0.8
_WIDTHS: Final = {1: 7.0, 2: 10.0, 3: 13.0}  # inches of a figure by its columns
_LETTERS: Final = {1: 90, 2: 58, 3: 44}  # letters of a line of a title
_NEAR: Final = 0.065
"""Names of points nearer than this share of the width are in one column."""


@attrs.frozen(kw_only=True)
class Panel:
    """What draws itself into axes; `rows` is how many bars there are, where there are bars.

    Those of a `group` stand in one row, where groups are of a size; of `wide` ones no more than two do.
    """

    title: str
    draw: Draw
    rows: int = 0
    group: str = ""
    wide: bool = False


def figure_of(title: str, panels: Sequence[Panel]) -> "Figure":
    """A figure of panels, two beside each other, with one legend for all. Call it within `styled()`."""
    columns = _columns(panels)
    rows = -(-len(panels) // columns)
    height = max(3.7, 1.3 + 0.24 * max(panel.rows for panel in panels))
    figure = new_figure(_WIDTHS[columns], height * rows + 0.7)
    figure.suptitle(printable(title), fontweight="bold")
    found: dict[str, Artist] = {}
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        panel.draw(axes)
        axes.set_title(_folded(panel.title, _LETTERS[columns]), color=TEXT)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(str(label), handle)
    if len(found) > 1:
        wide = max(len(label) for label in found)
        fitting = max(1, int(13 * _WIDTHS[columns] / (wide + 7)))
        figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=min(len(found), fitting))
    return figure


def _columns(panels: Sequence[Panel]) -> int:
    sizes = set(Counter(panel.group for panel in panels if panel.group).values())
    if len(sizes) == 1 and 2 <= max(sizes) <= 4:
        (several,) = sizes
        return several if several != 4 else 2
    return 3 if len(panels) % 3 == 0 and not panels[0].wide else min(2, len(panels))


def curve_panel(title: str, label: str, unit: str, curves: Sequence[Curve], *, log: bool = False) -> Panel:
    """Curves over numbers, or bars where x is names. `unit` is that of the dataset's numbers; the axis has a prefix."""
    if curves[0].categories:
        bars = len(curves[0].x) * len(curves)
        return Panel(title=title, draw=lambda axes: _draw_bars(axes, label, unit, curves, log=log), rows=bars)
    return Panel(title=title, draw=lambda axes: _draw_curves(axes, label, unit, curves, log=log))


def _draw_curves(axes: "Axes", label: str, unit: str, curves: Sequence[Curve], *, log: bool) -> None:
    scale = scale_for(unit, [curve.y for curve in curves])
    for i, curve in enumerate(curves):
        order = np.argsort(curve.x, kind="stable")
        thin = i / max(1, len(curves) - 1)
        draw_line(axes, curve.x[order], scale.shown(curve.y)[order], curve.look, curve.name, thin)
    set_x(axes, curves)
    wide = is_wide([curve.y for curve in curves], 10 if log else LOG_RATIO)
    axes.set_ylabel(f"{label} ({scale.unit})")
    set_log(axes, "y", on=wide)


def draw_line(axes: "Axes", x: np.ndarray, y: np.ndarray, look: Look, name: str, thin: float = 0.5) -> None:
    """A curve with markers, where they are not too many; from thick (0) to `thin` (1), so that none hides another."""
    axes.plot(
        x,
        y,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker if len(x) <= _MOST_MARKERS else "",
        markerfacecolor=look.colour if look.filled else "white",
        markersize=(7.0 - 3.0 * thin) * (1.0 if len(x) <= _FEW_MARKERS else 0.75),
        linewidth=2.2 - thin,
        label=name,
        clip_on=False,
        zorder=3,
    )


def set_x(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Label, ticks and logarithm of x; a second axis names the points."""
    along, every = curves[0].along, [curve.x.astype(np.float64) for curve in curves]
    axes.set_xlabel(axis_label(along))
    set_log(axes, "x", on=is_wide(every, 15), values=np.unique(np.concatenate(every)))
    if curves[0].points:
        _name_points(axes, curves[0])


def set_log(axes: "Axes", which: str, *, on: bool, values: "np.ndarray | None" = None) -> None:
    """A logarithmic axis with plain numbers, at `values` where these are few; else a linear one (y from 0)."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    if on:
        axes.set(**{f"{which}scale": "log"})
        few = values is not None and len(values) <= 9
        axis.set_major_locator(FixedLocator(values.tolist()) if few and values is not None else LogLocator(numticks=9))
        axis.set_minor_locator(NullLocator() if few else LogLocator(subs="auto", numticks=9))
        axis.set_minor_formatter(NullFormatter())
    elif which == "y":
        axes.set_ylim(0, axes.dataLim.y1 * 1.06)
    elif values is not None and len(values) <= 9 and _apart(values):
        axis.set_major_locator(FixedLocator(values.tolist()))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def _apart(values: np.ndarray) -> bool:
    """Whether labels at these values do not touch."""
    return len(values) < 2 or float(np.diff(values).min()) > 0.08 * float(np.ptp(values))


def _name_points(axes: "Axes", curve: Curve) -> None:
    """The points' names above the axes, those near to each other in one column."""
    order = np.argsort(curve.x, kind="stable")
    x = curve.x[order].astype(np.float64)
    groups = near_groups(x, _NEAR * float(np.ptp(x)))
    centres = [float(x[group].mean()) for group in groups]
    top = axes.secondary_xaxis("top")
    top.set_xticks(centres, [_column([curve.points[order[i]] for i in group]) for group in groups], fontsize=6.5)
    top.minorticks_off()
    top.set_xlabel("tile grid, width x height", fontsize=SMALL)
    for centre in centres:
        axes.axvline(centre, color="#eeeeee", linewidth=0.6, zorder=0)


def near_groups(x: np.ndarray, least: float) -> list[list[int]]:
    """Indices of sorted numbers in groups whose means are at least `least` apart, the nearest joined first."""
    groups = [[i] for i in range(len(x))]
    while len(groups) > 1:
        gaps = np.diff([x[group].mean() for group in groups])
        nearest = int(gaps.argmin())
        if gaps[nearest] >= least:
            break
        groups[nearest : nearest + 2] = [groups[nearest] + groups[nearest + 1]]
    return groups


def _column(names: Sequence[str], most: int = 5) -> str:
    """Names below each other, the first and last where they are many."""
    if len(names) > most:
        names = [*names[: most - 2], "...", names[-1]]
    return "\n".join(names)


def _draw_bars(axes: "Axes", label: str, unit: str, curves: Sequence[Curve], *, log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    scale = scale_for(unit, [curve.y for curve in curves])
    wide = is_wide([curve.y for curve in curves], 10 if log else LOG_RATIO)
    height = _BAR / len(curves)
    for i, curve in enumerate(curves):
        places = np.arange(len(curve.x)) + (i - (len(curves) - 1) / 2) * height
        values, look = scale.shown(curve.y), curve.look
        if wide or curve.measured:  # a bar's length says nothing where there is no zero
            face = look.colour if look.filled else "white"
            shape: dict[str, Any] = {"color": look.colour, "marker": look.marker, "markerfacecolor": face}
            axes.plot(values, places, linestyle="none", label=curve.name, **shape)
        else:
            axes.barh(
                places, values, height * 0.94, color=look.colour, hatch=look.hatch, edgecolor="white", label=curve.name
            )
        for place, value in zip(places, values, strict=True):
            if np.isfinite(value):
                axes.annotate(
                    short_number(value),
                    (value, place),
                    (5, 0),
                    textcoords="offset points",
                    fontsize=6.5,
                    color=TEXT,
                    va="center",
                )
    set_categories(axes, curves[0])
    axes.set_xlabel(f"{label} ({scale.unit})")
    if wide:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12)
    else:
        axes.set_xlim(0, axes.dataLim.x1 * 1.12)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def set_categories(axes: "Axes", curve: Curve) -> None:
    """Names down y, the first on top."""
    axes.set_yticks(np.arange(len(curve.x)), [_folded(printable(str(name)), 24) for name in curve.x])
    axes.set_ylabel(short_name(curve.along))
    axes.set_ylim(len(curve.x) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _folded(text: str, width: int) -> str:
    """`text` in lines of at most `width` letters."""
    import textwrap

    return "\n".join(textwrap.wrap(printable(text), width)) or " "
