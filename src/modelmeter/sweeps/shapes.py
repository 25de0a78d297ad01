"""Candidate shapes: grids of tiles that studies and tables run over."""

from collections.abc import Iterable
from importlib.resources import files
from math import isqrt
from pathlib import Path
from typing import Any, Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.views import MAX_TILES, ViewPlan
from modelmeter.sweeps.shape_files import Row, read_rows, write_rows

VENDOR_MAX_TILES: Final = 9
"""The released model's `max_tiles`: `plan_views` finds a page for every grid of 2 to 9 tiles, and one without tiles."""


def _count(instance: Any, attribute: "attrs.Attribute[int]", value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ModelMeterError(f"{attribute.name} is {value!r}: give a whole number of tiles, 1 or more")


def _flag(instance: Any, attribute: "attrs.Attribute[bool]", value: Any) -> None:
    if type(value) is not bool:
        raise ModelMeterError(f"{attribute.name} is {value!r}: give true or false")


@attrs.frozen
class Shape:
    """A grid of `width` x `height` tiles; 1x1 has none. `vendor`: the released model can choose it.

    Raises `ModelMeterError` for what is no grid, or has more than `MAX_TILES` tiles.
    """

    width: int = attrs.field(validator=_count)
    height: int = attrs.field(validator=_count)
    vendor: bool = attrs.field(validator=_flag)

    def __attrs_post_init__(self) -> None:
        if self.width * self.height > MAX_TILES:
            raise ModelMeterError(f"{self.label} has {self.width * self.height} tiles: at most {MAX_TILES} are planned")

    @classmethod
    def of(cls, width: int, height: int) -> "Shape":
        """The shape, marked as the released model has it."""
        return cls(width, height, width * height <= VENDOR_MAX_TILES)

    @property
    def grid(self) -> tuple[int, int]:
        """(width, height) in tiles, as `ViewPlan.grid` and the sweeps' dimension `grid` have it."""
        return self.width, self.height

    @property
    def label(self) -> str:
        """ "2x3"."""
        return f"{self.width}x{self.height}"

    def views(self, *, base_size: int = 1024, tile_size: int = 640) -> ViewPlan:
        """The views of a page cut into this grid; sides in pixels."""
        return ViewPlan.from_grid(self.grid, base_size=base_size, tile_size=tile_size)


def generate_shapes(max_tiles: int) -> list[Shape]:
    """The most square upright grid of each number of tiles from 1 to `max_tiles`, and every vendor grid up to there.

    In order of the number of tiles, then of the width, as `plan_views` tries them.
    """
    if type(max_tiles) is not int or not 1 <= max_tiles <= MAX_TILES:
        raise ModelMeterError(f"generate_shapes(): max_tiles is {max_tiles!r}: give a number from 1 to {MAX_TILES}")
    grids = {_most_square(tiles) for tiles in range(1, max_tiles + 1)}
    for tiles in range(2, min(max_tiles, VENDOR_MAX_TILES) + 1):
        grids |= {(width, tiles // width) for width in range(1, tiles + 1) if tiles % width == 0}
    return [Shape.of(*grid) for grid in sorted(grids, key=lambda grid: (grid[0] * grid[1], grid[0]))]


def _most_square(tiles: int) -> tuple[int, int]:
    """The (width, height) of `tiles` tiles whose sides differ least, upright as most pages are."""
    width = next(width for width in range(isqrt(tiles), 0, -1) if tiles % width == 0)
    return width, tiles // width


def read_shapes(path: str | Path | None = None) -> list[Shape]:
    """The shapes of a YAML or SQLite file, in its order; None: the list that comes with modelmeter.

    Where a row has no mark it is that of the released model. Raises `ModelMeterError`, naming the file and the place,
    for one that cannot be read, has another schema, or holds what is no shape, or one twice.
    """
    if path is None:
        shipped = files("modelmeter.sweeps") / "data" / "shapes.yaml"
        return _shapes_of(read_rows("the shipped shapes.yaml", shipped.read_bytes()), "the shipped shapes.yaml")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelMeterError(f"cannot read the shapes in {path}: {error.strerror or error}: name another") from error
    return _shapes_of(read_rows(str(path), content), str(path))


def write_shapes(shapes: Iterable[Shape], path: str | Path) -> None:
    """Write shapes as YAML (.yaml, .yml) or SQLite (.db, .sqlite, .sqlite3), whole or not at all.

    Raises `ModelMeterError` for another ending, no shapes, one given twice, or a file that cannot be written.
    """
    write_rows([attrs.asdict(shape) for shape in check_shapes("write_shapes()", shapes)], Path(path))


def check_shapes(call: str, shapes: Iterable[Shape]) -> list[Shape]:
    """The shapes as a list. Raises `ModelMeterError` where there is none, or one twice."""
    given = list(shapes)
    if not given:
        raise ModelMeterError(f"{call}: no shapes: give one or more")
    grids = [shape.grid for shape in given]
    for shape in given:
        if grids.count(shape.grid) > 1:
            raise ModelMeterError(f"{call}: {shape.label} is given twice: give each shape once")
    return given


def make_shapes_file(max_tiles: int, path: str | Path) -> list[Shape]:
    """Write `generate_shapes(max_tiles)` to a file, and return them: all of `modelmeter sweep shapes`."""
    shapes = generate_shapes(max_tiles)
    write_shapes(shapes, path)
    return shapes


def _shapes_of(rows: list[Row], origin: str) -> list[Shape]:
    found: dict[tuple[int, int], Shape] = {}
    for number, row in enumerate(rows, start=1):
        try:
            shape = _shape(row)
        except ModelMeterError as error:
            raise ModelMeterError(f"{origin}: shape {number}: {error}") from error
        if shape.grid in found:
            raise ModelMeterError(f"{origin}: shape {number}: {shape.label} is there already: list each shape once")
        found[shape.grid] = shape
    return list(found.values())


def _shape(row: Row) -> Shape:
    names = [field.name for field in attrs.fields(Shape)]
    for name in row:
        if name not in names:
            raise ModelMeterError(f"unknown field {name!r}: use {', '.join(names)}")
    for name in ("width", "height"):
        if name not in row:
            raise ModelMeterError(f"{name} is missing: give a number of tiles")
    width, height = row["width"], row["height"]
    if "vendor" in row:
        return Shape(width, height, row["vendor"])
    return attrs.evolve(Shape(width, height, False), vendor=Shape.of(width, height).vendor)
