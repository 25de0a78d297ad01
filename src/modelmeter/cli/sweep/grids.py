"""`modelmeter sweep vision`, `prefill` and `decode`: over grids of tiles."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from modelmeter.cli import options
from modelmeter.cli.sweep.common import Common, refuse, run_study
from modelmeter.core.errors import ModelMeterError

if TYPE_CHECKING:
    from modelmeter.sweeps.shapes import Shape

ShapesOption: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Grids from `modelmeter sweep shapes`; else a list that ships.")
]
MostTilesOption: TypeAlias = Annotated[
    int | None, typer.Option("--max-tiles", metavar="N", help="The squarest grid of each number of tiles up to N.")
]
BaseOption: TypeAlias = Annotated[
    int | None, typer.Option("--base-size", metavar="PIXELS", help="Side of the global view; else 1024.")
]
TileOption: TypeAlias = Annotated[
    int | None, typer.Option("--tile-size", metavar="PIXELS", help="Side of a tile; else 640.")
]
A4 = "1654x2339"
StepsOption: TypeAlias = Annotated[int, typer.Option("--decode-steps", metavar="K", help="Decode steps, summed.")]
BY = ("grid", "mode", "side")


def vision(
    common: Common,
    by: Annotated[str, typer.Option(help="What varies: grid (of tiles), mode, or side (of the views).")] = "grid",
    shapes: ShapesOption = None,
    max_tiles: MostTilesOption = None,
    base_size: BaseOption = None,
    tile_size: TileOption = None,
    page: Annotated[str, typer.Option(metavar="WxH", help="The page, by mode or side.")] = A4,
    batch_size: options.BatchSizeOption = 1,
) -> None:
    """What vision costs over grids of tiles, native modes, or sides of the views.

    Examples:

        modelmeter sweep vision -o vision

        modelmeter sweep vision --max-tiles 32 --device h200

        modelmeter sweep vision --by mode --page 2480x3508
    """
    from modelmeter.sweeps.studies import grids

    if by not in BY:
        raise ModelMeterError(f"--by {by!r}: choose {', '.join(BY)}")
    if by == "grid":
        refuse({"--page": page != A4}, "is of --by mode or side: drop it")
        chosen, sides = chosen_shapes(shapes, max_tiles), _sides(base_size, tile_size)
        run_study(common, "vision", lambda setup: grids.vision(setup, chosen, batch_size=batch_size, sides=sides))
        return
    given = {"--shapes": shapes, "--max-tiles": max_tiles, "--base-size": base_size, "--tile-size": tile_size}
    refuse({name: value is not None for name, value in given.items()}, "is of --by grid: drop it")
    study = grids.vision_modes if by == "mode" else grids.vision_sides
    run_study(common, "vision", lambda setup: study(setup, page_of(page), batch_size=batch_size))


def prefill(
    common: Common,
    shapes: ShapesOption = None,
    max_tiles: MostTilesOption = None,
    base_size: BaseOption = None,
    tile_size: TileOption = None,
    prompt_tokens: options.PromptTokensOption = 10,
    batch_size: options.BatchSizeOption = 1,
) -> None:
    """What the prefill of a page costs, its vision included, over grids of tiles.

    Examples:

        modelmeter sweep prefill -o prefill --device h200

        modelmeter sweep prefill --shapes shapes.yaml --prompt-tokens 512
    """
    from modelmeter.sweeps.studies import grids

    chosen, sides = chosen_shapes(shapes, max_tiles), _sides(base_size, tile_size)
    sizes = {"prompt_tokens": prompt_tokens, "batch_size": batch_size}
    run_study(common, "prefill", lambda setup: grids.prefill(setup, chosen, sides=sides, **sizes))


def decode(
    common: Common,
    shapes: ShapesOption = None,
    max_tiles: MostTilesOption = None,
    base_size: BaseOption = None,
    tile_size: TileOption = None,
    prompt_tokens: options.PromptTokensOption = 10,
    decode_steps: StepsOption = 100,
    batch_size: options.BatchSizeOption = 1,
) -> None:
    """What K decode steps after a page cost, over grids of tiles; and its prefill.

    Examples:

        modelmeter sweep decode -o decode --device h200

        modelmeter sweep decode --decode-steps 512 --batch-size 16 --attention flash
    """
    from modelmeter.sweeps.studies import grids

    chosen, sides = chosen_shapes(shapes, max_tiles), _sides(base_size, tile_size)
    sizes = {"prompt_tokens": prompt_tokens, "decode_steps": decode_steps, "batch_size": batch_size}
    run_study(common, "decode", lambda setup: grids.decode(setup, chosen, sides=sides, **sizes))


def page_of(text: str) -> tuple[int, int]:
    """(width, height) of "1654x2339", in pixels. Raises `ModelMeterError` for what is no size."""
    from modelmeter.documents import PageError, read_pages

    page = next(iter(read_pages([text])), None)
    if page is None or isinstance(page, PageError):
        raise ModelMeterError(f"--page {text!r}: give WIDTHxHEIGHT in pixels, such as 1654x2339")
    return page.width, page.height


def chosen_shapes(file: Path | None, max_tiles: int | None) -> "list[Shape]":
    """The shapes of a file, those up to so many tiles, or the list that ships."""
    from modelmeter.sweeps.shapes import generate_shapes, read_shapes

    if file is not None and max_tiles is not None:
        raise ModelMeterError("--shapes and --max-tiles both say which grids: give one of them")
    return read_shapes(file) if max_tiles is None else generate_shapes(max_tiles)


def _sides(base: int | None, tile: int | None) -> dict[str, int]:
    return {name: side for name, side in (("base_size", base), ("tile_size", tile)) if side is not None}
