"""From a labelled array to curves: which dimension runs along x, which tell curves apart, and which are held fixed."""

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from modelmeter.report.plots.names import IMAGE_TOKENS, fixed_label, value_label
from modelmeter.report.plots.style import ATTENTION, BLACK, HATCHES, LINES, Look, look
from modelmeter.sweeps.dimensions import MACHINES
from modelmeter.sweeps.quantities import QUANTITIES

if TYPE_CHECKING:
    import xarray as xr

MOST_CURVES: Final = 8
MOST_POINTS: Final = 400
"""Points of a curve that are drawn; of more, so many spread evenly."""
MOST_BARS: Final = 60
"""Categories that a bar chart shows; more are no chart."""
MEASURED: Final = "measured_"
"""What a variable begins with that was measured: `measured_flops` beside `flops`."""
# Which dimension is a curve each, before others.
_ACROSS: Final = ("attention", "device", "precision", "execution", "implementation")


@attrs.frozen(kw_only=True)
class Curve:
    """Numbers of a variable along `along`: `x` are numbers, or names where they are `categories`.

    `points` name them where x alone does not, as a tile grid at its image tokens.
    """

    name: str
    along: str
    x: np.ndarray
    y: np.ndarray
    look: Look
    points: tuple[str, ...] = ()
    measured: bool = False

    @property
    def categories(self) -> bool:
        """Whether x is names."""
        return self.x.dtype.kind in "UOSb"


@attrs.frozen(kw_only=True)
class Layout:
    """How a variable is drawn: the dimension along x, those across at most `most` curves, and where others are held."""

    along: str
    most: int
    across: tuple[str, ...]
    held: dict[str, int]


def layout_of(variable: "xr.DataArray", most: int = MOST_CURVES) -> Layout | None:
    """The layout for a variable's dimensions; None where it has none, or more categories than bars can be."""
    sizes = {str(name): size for name, size in variable.sizes.items()}
    if not sizes:
        return None
    varied = [name for name, size in sizes.items() if size > 1] or list(sizes)
    along = max(varied, key=lambda name: (name == "grid", _is_numeric(variable, name), sizes[name]))
    if not _is_numeric(variable, along) and along != "grid" and sizes[along] > MOST_BARS:
        return None
    across, curves = [], 1
    rest = sorted((name for name in varied if name != along), key=lambda name: (name not in _ACROSS, sizes[name]))
    for name in rest:
        if curves * min(sizes[name], most) <= most:
            across.append(name)
            curves *= min(sizes[name], most)
    held = {name: 0 for name in sizes if name != along and name not in across}
    return Layout(along=along, most=most, across=tuple(across), held=held)


def curves_of(dataset: "xr.Dataset", names: Mapping[str, str], most: int = MOST_CURVES) -> tuple[list[Curve], str]:
    """At most `most` curves of some variables (name -> what its curves are called), and what is held fixed, in words.

    Variables that are absent, have no dimension or are zero throughout have no curve; what was measured of them has
    its own. Each curve's numbers are those of the dataset.
    """
    found: list[Curve] = []
    fixed = ""
    groups: dict[tuple[Any, ...], int] = {}
    for name, title in names.items():
        layout = layout_of(dataset[name], most // len(names)) if name in dataset else None
        if layout is None:
            continue
        for key in (name, MEASURED + name):
            if key in dataset and layout.along in dataset[key].dims:
                several, fixed = _of_variable(dataset, key, layout, title if len(names) > 1 else "", groups)
                found += several
    return found, fixed


def _of_variable(
    dataset: "xr.Dataset", key: str, layout: Layout, title: str, groups: dict[tuple[Any, ...], int]
) -> tuple[list[Curve], str]:
    variable = dataset[key].isel({dim: i for dim, i in layout.held.items() if dim in dataset[key].dims})
    across = [dim for dim in layout.across if dim in variable.dims]
    measured, points = key.startswith(MEASURED), spread(variable.sizes[layout.along], MOST_POINTS)
    curves = []
    for chosen in product(*[spread(variable.sizes[dim], layout.most) for dim in across]):
        one = variable.isel(dict(zip(across, chosen, strict=True)) | {layout.along: points})
        y = np.asarray(one.values, dtype=np.float64)
        if not np.nan_to_num(y).any():
            continue
        values = {dim: one.coords[dim].values.item() for dim in across}
        words = [title, *[value_label(dim, value) for dim, value in values.items()], "measured" if measured else ""]
        x, labels = _along(dataset, one, layout.along)
        curves.append(
            Curve(
                name=", ".join(word for word in words if word),
                along=IMAGE_TOKENS if labels else layout.along,
                x=x,
                y=y,
                look=_look(title, values, groups, measured=measured),
                points=labels,
                measured=measured,
            )
        )
    timed = key in QUANTITIES and QUANTITIES[key].timed
    return curves, fixed_label(variable, {layout.along, *across, *(() if timed else MACHINES)}, layout.held.keys())


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` indices of `count`, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _along(dataset: "xr.Dataset", one: "xr.DataArray", along: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """x of a curve, and names of its points: a grid stands at its image tokens."""
    names = one.coords[along].values
    if along != "grid" or IMAGE_TOKENS not in dataset:
        return names, ()
    place = {dim: one.coords[dim] for dim in dataset[IMAGE_TOKENS].dims}
    return dataset[IMAGE_TOKENS].sel(place).values, tuple(str(name) for name in names)


def _look(title: str, values: dict[str, Any], groups: dict[tuple[Any, ...], int], *, measured: bool) -> Look:
    """Eager and flash differ by line; what else there is (the quantity, the other dimensions), by colour and marker."""
    attention = values.get("attention")
    others = (title, *[value for dim, value in values.items() if dim != "attention"])
    chosen = look(groups.setdefault(others, len(groups)))
    if attention is not None and others == ("",):
        chosen = ATTENTION.get(attention, chosen)
    elif attention is not None:
        eager = attention != "flash"
        chosen = attrs.evolve(chosen, line=LINES[not eager], hatch="" if eager else HATCHES[1], filled=eager)
    if measured:
        return attrs.evolve(chosen, colour=BLACK, marker="+" if attention == "flash" else "x", line="none")
    return chosen


def _is_numeric(variable: "xr.DataArray", dim: str) -> bool:
    return variable.coords[dim].dtype.kind in "iuf"
