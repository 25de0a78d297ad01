"""How one page becomes views: the native modes, the tiling rule of Gundam, and the image tokens of both."""

import operator
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from attrs import frozen

from modelmeter.core.errors import ModelMeterError

MAX_PAGE_SIDE: Final = 10**9  # pixels; far beyond any page, so that every ratio and area below stays exact or finite
MAX_TILES: Final = 1024  # the largest `max_tiles`: keeps the list of grids short (7,261 entries)

# The modes of the released model: side of the global view and of the tiles (None: no tiles), in pixels.
MODES: Final[dict[str, tuple[int, int | None]]] = {
    "tiny": (512, None),
    "small": (640, None),
    "base": (1024, None),
    "large": (1280, None),
    "gundam": (1024, 640),
    "gundam-m": (1280, 1024),
}


@frozen
class ViewPlan:
    """The views of one page: `num_tiles` tiles, which run as one batch, then one global view.

    Sides are pixels; `grid` is (w, h) in tiles, (1, 1) without tiles. `max_tiles` is None in a mode without tiles.
    A plan that does not come from a page (`from_grid`) has the mode "custom" and no `width`, `height`, `max_tiles`.
    """

    mode: str
    width: int | None
    height: int | None
    max_tiles: int | None
    grid: tuple[int, int]
    base_size: int
    tile_size: int | None
    patch_size: int = 16
    downsample: int = 4

    @classmethod
    def from_grid(cls, grid: Sequence[int], *, base_size: int = 1024, tile_size: int = 640) -> "ViewPlan":
        """The plan of a given (w, h) grid of tiles; (1, 1) has none. Raises ModelMeterError on impossible sizes."""
        if not isinstance(grid, tuple | list) or len(grid) != 2:
            raise ModelMeterError(f"from_grid(): grid must be a pair of tile counts such as (2, 3), got {grid!r}")
        w, h = _positive("from_grid()", "grid width", grid[0]), _positive("from_grid()", "grid height", grid[1])
        base = _side("from_grid()", "base_size", base_size, 16, 4)
        tile = _side("from_grid()", "tile_size", tile_size, 16, 4) if w * h > 1 else None
        return cls("custom", None, None, None, (w, h), base, tile)

    @property
    def num_tiles(self) -> int:
        """Tiles of the page, w * h; 0 without tiles."""
        w, h = self.grid
        return w * h if w * h > 1 else 0

    @property
    def views(self) -> tuple[tuple[int, int], ...]:
        """(count, side in pixels) of each batch of views, in the order of their tokens: tiles, then the global view."""
        whole = (1, self.base_size)
        return ((self.num_tiles, self.tile_size), whole) if self.num_tiles and self.tile_size else (whole,)

    @property
    def image_tokens(self) -> int:
        """Tokens that the page takes in the prompt: every row of features ends in a newline, the page in a separator.

        q(q + 1) + 1 for the global view and (q w + 1) q h for w x h tiles, each with its own q features a side
        (the released model's processing code).
        """
        q = self._features(self.base_size)
        tokens = q * (q + 1) + 1
        if self.num_tiles and self.tile_size:
            (w, h), q = self.grid, self._features(self.tile_size)
            tokens += (w * q + 1) * h * q
        return tokens

    def _features(self, side: int) -> int:
        """Features along one side of a view: ceil((side // patch_size) / downsample)."""
        return -(-(side // self.patch_size) // self.downsample)


def plan_views(
    width: int,
    height: int,
    *,
    mode: str = "gundam",
    max_tiles: int = 9,
    base_size: int | None = None,
    tile_size: int | None = None,
    patch_size: int = 16,
    downsample: int = 4,
) -> ViewPlan:
    """The views of a page of width x height pixels.

    `base_size` and `tile_size` replace the mode's sides (pixels). `max_tiles` is 9 in the released model's code,
    6 in the vendor's vLLM configuration, 32 in Unlimited-OCR. Raises ModelMeterError for an unknown mode, a size
    that is not a positive whole number, a side that is no multiple of patch_size * downsample, max_tiles below 2.
    """
    call = "plan_views()"
    width, height = _page_side(call, "width", width), _page_side(call, "height", height)
    patch_size, downsample = _positive(call, "patch_size", patch_size), _positive(call, "downsample", downsample)
    if mode not in MODES:
        raise ModelMeterError(f"{call}: unknown mode {mode!r}: choose one of {', '.join(MODES)}")
    mode_base, mode_tile = MODES[mode]
    if tile_size is not None and mode_tile is None:
        raise ModelMeterError(f"{call}: mode {mode!r} has no tiles: drop tile_size={tile_size!r} or use mode='gundam'")
    base = _side(call, "base_size", mode_base if base_size is None else base_size, patch_size, downsample)
    if mode_tile is None:
        return ViewPlan(mode, width, height, None, (1, 1), base, None, patch_size, downsample)
    tile = _side(call, "tile_size", mode_tile if tile_size is None else tile_size, patch_size, downsample)
    max_tiles = _positive(call, "max_tiles", max_tiles)
    if not 2 <= max_tiles <= MAX_TILES:
        raise ModelMeterError(
            f"{call}: max_tiles must be from 2 to {MAX_TILES}, got {max_tiles}: for no tiles use mode='base'"
        )
    grid = _closest_grid(width, height, tile, max_tiles)
    return ViewPlan(mode, width, height, max_tiles, grid, base, tile, patch_size, downsample)


def _closest_grid(width: int, height: int, tile: int, max_tiles: int) -> tuple[int, int]:
    """(w, h) whose ratio is closest to the page's; (1, 1) where the page fits one tile.

    The public rule (`get_optimal_tiled_canvas` of transformers' got_ocr2), in the same float arithmetic: grids in
    order of w * h; on a tie the larger grid wins as long as the page covers more than half of its pixels.
    """
    if width <= tile and height <= tile:
        return 1, 1
    ratio, twice_area, tile_area = width / height, 2 * width * height, tile * tile
    best, best_difference = (1, 1), float("inf")
    for grid_ratio, count, grid in _grids(max_tiles):
        difference = abs(ratio - grid_ratio)
        if difference < best_difference or (difference == best_difference and twice_area > tile_area * count):
            best, best_difference = grid, difference
    return best


@cache
def _grids(max_tiles: int) -> tuple[tuple[float, int, tuple[int, int]], ...]:
    """(w / h, w * h, (w, h)) of every grid of 2 to max_tiles tiles, in order of w * h, then of w."""
    pairs = ((w, n // w) for n in range(2, max_tiles + 1) for w in range(1, n + 1) if n % w == 0)
    return tuple((w / h, w * h, (w, h)) for w, h in pairs)


def _positive(call: str, name: str, value: Any) -> int:
    """A positive whole number as a Python int (NumPy's integers too)."""
    if type(value) is not int:
        try:
            whole = operator.index(value)
        except TypeError as error:
            raise ModelMeterError(f"{call}: {name} must be a whole number, got {value!r}: round it first") from error
        if isinstance(value, bool):
            raise ModelMeterError(f"{call}: {name} must be a whole number, got {value!r}")
        value = whole
    if value < 1:
        raise ModelMeterError(f"{call}: {name} must be positive, got {value}: give 1 or more")
    return int(value)


def _page_side(call: str, name: str, value: Any) -> int:
    """A side of a page, in pixels."""
    side = _positive(call, name, value)
    if side > MAX_PAGE_SIDE:
        raise ModelMeterError(f"{call}: {name} must be at most {MAX_PAGE_SIDE} pixels: scale the page down")
    return side


def _side(call: str, name: str, value: Any, patch_size: int, downsample: int) -> int:
    """A side of a view, in pixels: a positive multiple of patch_size * downsample."""
    side, step = _positive(call, name, value), patch_size * downsample
    if side % step:
        near = f"{side // step * step} or {side // step * step + step}" if side > step else f"{step}"
        raise ModelMeterError(
            f"{call}: {name} must be a positive multiple of {step} "
            f"(patch_size {patch_size} x downsample {downsample}), got {side}: use {near}"
        )
    return side
