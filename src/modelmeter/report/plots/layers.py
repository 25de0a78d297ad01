"""The layers of a stage as an icicle: each as high as its share, what it is made of to its right."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from modelmeter.core.cost import Cost
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.trace import Trace
from modelmeter.report import units
from modelmeter.report.plots.style import BLACK, GRID, SMALL, look, new_figure, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Quantity: TypeAlias = Literal["flops", "io_bytes"]
LEAST: Final = 0.002
"""Shares of the stage below this are not drawn."""
_LEAST_NAMED: Final = 0.018
OWN: Final = "own operators"
_LIGHTER: Final = (1.0, 0.6, 0.48, 0.38, 0.3, 0.24)  # how much of a part's colour the columns have
_NAMES: Final = {"flops": "FLOPs", "io_bytes": "bytes moved"}


@attrs.frozen(kw_only=True)
class Node:
    """Equal layers as one, `count` of them: their amount together and what they are made of, in order."""

    name: str
    count: int
    amount: float
    children: "tuple[Node, ...]"


@attrs.frozen(kw_only=True)
class Box:
    """Where a node stands: its column, and its span in shares of the stage, from the top."""

    node: Node
    depth: int
    start: float
    share: float
    part: int


def layer_tree(trace: Trace, quantity: Quantity = "flops") -> Node:
    """The modules of a trace, equal ones of equal layers as one, with the amount of all operators in them.

    Raises `ModelMeterError` for another quantity.
    """
    if quantity not in _NAMES:
        raise ModelMeterError(f"layers are drawn by {' or '.join(_NAMES)}, not by {quantity!r}")
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    layers = trace.by_layer()
    for path, cost in layers.items():
        if path == "model":
            continue  # its name is no part of the others' either
        short = _short(path, layers)
        sums[short] = sums.get(short, 0.0) + float(getattr(cost, quantity))
        counts[short] = counts.get(short, 0) + 1
    return _node("", sums, counts)


def without_numbers(path: str) -> str:
    """A module path without layer numbers and without the model's own name: equal layers have one name."""
    return re.sub(r"\.\d+(?=\.|$)", "", path).removeprefix("model.")


def _short(path: str, known: Mapping[str, Cost]) -> str:
    """The same, but for the members of a container that is a module itself: they are what it is made of."""
    names = path.split(".")
    kept = [name for i, name in enumerate(names) if not name.isdigit() or ".".join(names[:i]) in known]
    return ".".join(kept).removeprefix("model.")


def _node(path: str, sums: dict[str, float], counts: dict[str, int]) -> Node:
    below = [name for name in sums if name and name.rpartition(".")[0] == path]
    children = tuple(_node(name, sums, counts) for name in below)
    own = sums[path] - sum(child.amount for child in children)
    if children and own > 0:
        children = (*children, Node(name=OWN, count=counts[path], amount=own, children=()))
    return Node(name=path.rpartition(".")[2], count=counts[path], amount=sums[path], children=children)


def layers_figure(trace: Trace, title: str, quantity: Quantity = "flops") -> "Figure":
    """The icicle of a trace. Call it within `styled()`. Raises `ModelMeterError` where nothing is to share out."""
    tree = layer_tree(trace, quantity)
    if tree.amount <= 0:
        raise ModelMeterError(f"the plot of layers has no {_NAMES[quantity]} to share out: record a forward pass")
    boxes = list(boxes_of(tree))
    deepest = max(box.depth for box in boxes)
    figure = new_figure(2.0 * (deepest + 1), 6.4)
    figure.suptitle(printable(title), fontweight="bold")
    axes = figure.add_subplot()
    for box in boxes:
        _draw_box(axes, box, _written(tree.amount, quantity))
    axes.set_xlim(0, deepest + 1)
    axes.set_ylim(100, 0)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.set_xlabel("modules, what each is made of to its right (levels)")
    axes.set_ylabel(f"share of the stage's {_NAMES[quantity]} (%)")
    axes.spines[["bottom", "left"]].set_visible(False)
    return figure


def boxes_of(tree: Node) -> Iterator[Box]:
    """The boxes of a tree, a parent before what it is made of; those of less than `LEAST` are left out."""
    return _boxes(tree, tree.amount, 0, 0.0, 0)


def _boxes(node: Node, total: float, depth: int, start: float, part: int) -> Iterator[Box]:
    yield Box(node=node, depth=depth, start=start, share=node.amount / total, part=part)
    drawn = 0
    for child in node.children:
        if child.amount / total >= LEAST:
            yield from _boxes(child, total, depth + 1, start, drawn if depth == 0 else part)
            drawn += 1
        start += child.amount / total


def _written(amount: float, quantity: Quantity) -> str:
    return f"{units.flops(amount)}FLOP" if quantity == "flops" else units.size(amount)


def _draw_box(axes: "Axes", box: Box, whole: str) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    weight = _LIGHTER[min(box.depth, len(_LIGHTER) - 1)]
    plain = box.depth == 0 or box.node.name == OWN
    colour = GRID if plain else tuple(1 - (1 - one) * weight for one in to_rgb(look(box.part).colour))
    place, height = (box.depth, box.start * 100), box.share * 100
    axes.add_patch(Rectangle(place, 1, height, facecolor=colour, edgecolor="white", linewidth=0.8))
    if box.share < _LEAST_NAMED:
        return
    count = f" \N{MULTIPLICATION SIGN}{box.node.count}" if box.node.count > 1 else ""
    name = f"{whole}" if box.depth == 0 else f"{box.node.name}{count}  {box.share:.1%}"
    axes.text(box.depth + 0.04, place[1] + height / 2, name, va="center", fontsize=SMALL, color=BLACK, clip_on=True)
