"""Studies over what a page is made of: grids of tiles, native modes, sides of the views."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.views import MODES
from modelmeter.sweeps.shapes import Shape
from modelmeter.sweeps.studies.setup import A4, Setup, make_study, one_page
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    import xarray as xr

DECODE_STEPS: Final = 100
BASE_SIDES: Final = (512, 640, 1024, 1280)
TILE_SIDES: Final = (512, 640, 1024)
"""Sides of the released modes' views, in pixels, and a smaller tile."""


def vision(
    setup: Setup, shapes: Sequence[Shape], *, batch_size: int = 1, sides: Mapping[str, int] | None = None
) -> Study:
    """Vision over grids of tiles. `sides` may name another base_size or tile_size, in pixels."""
    over = {**_grids(shapes), **(sides or {}), "batch_size": batch_size}
    datasets = {"vision": _marked(setup.sweep(over, "vision"), shapes)}
    return make_study("vision", f"What vision costs on a page cut into {_several(shapes)} of tiles.", datasets)


def vision_modes(setup: Setup, page: tuple[int, int] = A4, *, batch_size: int = 1) -> Study:
    """Vision of one page in every native mode."""
    datasets = {
        "vision": setup.sweep({"mode": list(MODES), "page": one_page(page), "batch_size": batch_size}, "vision")
    }
    text = f"What vision costs on a page of {one_page(page)} pixels in each native mode."
    return make_study("vision", text, datasets)


def vision_sides(
    setup: Setup,
    page: tuple[int, int] = A4,
    *,
    base_sides: Sequence[int] = BASE_SIDES,
    tile_sides: Sequence[int] = TILE_SIDES,
    batch_size: int = 1,
) -> Study:
    """Vision of one page over sides of the global view and of the tiles, in pixels."""
    over = {
        "base_size": list(base_sides),
        "tile_size": list(tile_sides),
        "page": one_page(page),
        "batch_size": batch_size,
    }
    text = f"What vision costs on a page of {one_page(page)} pixels, by the sides of its views."
    return make_study("vision", text, {"vision": setup.sweep(over, "vision")})


def prefill(
    setup: Setup,
    shapes: Sequence[Shape],
    *,
    prompt_tokens: int = 10,
    batch_size: int = 1,
    sides: Mapping[str, int] | None = None,
) -> Study:
    """Vision alone, and the prefill with it, over grids of tiles."""
    over = {**_grids(shapes), **(sides or {}), "batch_size": batch_size}
    datasets = {
        "vision": _marked(setup.sweep(over, "vision"), shapes),
        "prefill": _marked(setup.sweep({**over, "prompt_tokens": prompt_tokens}, "prefill"), shapes),
    }
    text = f"What the prefill of a page costs, its vision included, cut into {_several(shapes)} of tiles."
    return make_study("prefill", text, datasets)


def decode(
    setup: Setup,
    shapes: Sequence[Shape],
    *,
    prompt_tokens: int = 10,
    decode_steps: int = DECODE_STEPS,
    batch_size: int = 1,
    sides: Mapping[str, int] | None = None,
) -> Study:
    """`decode_steps` decode steps, summed, after a page, over grids of tiles; and the page's vision and prefill."""
    before = prefill(setup, shapes, prompt_tokens=prompt_tokens, batch_size=batch_size, sides=sides)
    over = {**_grids(shapes), **(sides or {}), "batch_size": batch_size, "prompt_tokens": prompt_tokens}
    steps = setup.sweep({**over, "decode_tokens": decode_steps}, "decode")
    datasets = {**before.datasets, "decode": _marked(steps, shapes)}
    text = f"What {decode_steps} decode steps after a page cost, cut into {_several(shapes)} of tiles."
    return make_study("decode", text, datasets)


def _grids(shapes: Sequence[Shape]) -> dict[str, Any]:
    if not shapes:
        raise ModelMeterError("the study has no shapes: give one or more")
    return {"grid": [shape.grid for shape in shapes]}


def _marked(dataset: "xr.Dataset", shapes: Sequence[Shape]) -> "xr.Dataset":
    """`dataset`, with the mark of the grids that the released model cuts pages into."""
    about = {"long_name": "whether the released model cuts pages so"}
    return dataset.assign_coords(vendor=("grid", [shape.vendor for shape in shapes], about))


def _several(shapes: Sequence[Shape]) -> str:
    return f"{len(shapes)} grids" if len(shapes) > 1 else "one grid"
