"""From the sizes that `modelmeter verify` is given to the forward passes to compare."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from modelmeter.core.dims import as_dim
from modelmeter.core.errors import ModelMeterError
from modelmeter.live.verification.verify import STAGES, Point, Stage, decode_steps
from modelmeter.models.deepseek_ocr.views import MAX_TILES, ViewPlan

DEFAULT_VIEWS: Final = "1024x1024,640x640*6"
NO_VIEWS: Final = "none"
ALL_STAGES: Final = "all"
STAGE_NAMES: Final = (*STAGES, ALL_STAGES)
PROMPT_TOKENS: Final = 10
_VIEW: Final = re.compile(r"(\d{1,6})x(\d{1,6})(?:\*(\d{1,6}))?", re.ASCII)
_GRAMMAR: Final = f"give SIDExSIDE, then perhaps a comma and SIDExSIDE*COUNT for the tiles ({DEFAULT_VIEWS}), or none"


MOST_TOKENS: Final = 1_000_000
MOST_SEQUENCES: Final = 10_000
MOST_STEPS: Final = 10_000
"""What the real model is asked for at most: its masks and its indices are real tensors, each step is recorded."""


def _from_one_to(most: int) -> Any:
    def check(instance: Any, attribute: "attrs.Attribute[tuple[int, ...]]", values: tuple[int, ...]) -> None:
        for value in values:
            check_size(value, attribute.name, most)

    return check


def check_size(value: int, name: str, most: int) -> None:
    """Raise `ModelMeterError` unless `value` is from 1 to `most`."""
    if as_dim(value, name) > most:
        raise ModelMeterError(f"{name} must be at most {most:,} to be run in the real model, not {value:,}")


@attrs.frozen(kw_only=True)
class Sizes:
    """What to compare: every stage at every context length and batch size.

    Without a context length it is the image tokens of the views and 10 of text; without views, of the default views.
    """

    stage: str = ALL_STAGES
    context_len: tuple[int, ...] = attrs.field(default=(), validator=_from_one_to(MOST_TOKENS))
    batch_size: tuple[int, ...] = attrs.field(default=(1,), validator=_from_one_to(MOST_SEQUENCES))
    decode_steps: int = 1
    views: str = DEFAULT_VIEWS
    backward: bool = False

    def __attrs_post_init__(self) -> None:
        check_size(self.decode_steps, "decode_steps", MOST_STEPS)
        if max(self.context_len, default=1) * max(self.batch_size) > MOST_TOKENS:
            raise ModelMeterError(f"context_len times batch_size must be at most {MOST_TOKENS:,}: make one smaller")
        if self.stage not in STAGE_NAMES:
            raise ModelMeterError(f"stage {self.stage!r} is unknown: choose {', '.join(STAGES)} or {ALL_STAGES}")
        if self.backward and self.decode_steps > 1:
            raise ModelMeterError("backward is of one decode step, whose past is given: leave --decode-steps at 1")
        parse_views(self.views)


def parse_views(text: str, patch_size: int = 16) -> ViewPlan | None:
    """The plan that `text` names: a global view, and tiles in the squarest grid, upright; None for "none".

    Raises `ModelMeterError` saying what is allowed.
    """
    if text == NO_VIEWS:
        return None
    parts = [_VIEW.fullmatch(part.strip()) for part in text.split(",")]
    whole, tiles = parts[0], parts[1] if len(parts) == 2 else None
    if whole is None or whole[3] is not None or len(parts) > 2 or (len(parts) == 2 and (tiles is None or not tiles[3])):
        raise ModelMeterError(f"views {text!r} are not understood: {_GRAMMAR}")
    base = _side(whole, text, patch_size)
    if tiles is None:
        return _plan((1, 1), base, None, patch_size)
    count = int(tiles[3])
    if not 2 <= count <= MAX_TILES:
        raise ModelMeterError(f"views {text!r}: COUNT must be from 2 to {MAX_TILES} tiles, not {count}: {_GRAMMAR}")
    return _plan(squarest_grid(count), base, _side(tiles, text, patch_size), patch_size)


def squarest_grid(count: int) -> tuple[int, int]:
    """(w, h) with w * h = count, w <= h, and w as large as can be: 6 -> (2, 3)."""
    width = next(w for w in range(int(count**0.5), 0, -1) if count % w == 0)
    return width, count // width


def _plan(grid: tuple[int, int], base: int, tile: int | None, patch_size: int) -> ViewPlan:
    return ViewPlan("custom", None, None, None, grid, base, tile, patch_size)


def _side(view: "re.Match[str]", text: str, patch_size: int) -> int:
    width, step = int(view[1]), patch_size * 4  # each token is of 4 x 4 patches
    if width != int(view[2]):
        raise ModelMeterError(f"views {text!r}: {view[1]}x{view[2]} is not square, as all views are: {_GRAMMAR}")
    if width < step or width % step:
        raise ModelMeterError(f"views {text!r}: the side {view[1]} must be a positive multiple of {step} pixels")
    return width


def points_of(sizes: Sizes, patch_size: int = 16) -> list[Point]:
    """Every forward pass, stage after stage. Raises `ModelMeterError` for a stage that the sizes do not allow."""
    views = parse_views(sizes.views, patch_size)
    if sizes.stage != ALL_STAGES:
        stages: tuple[Stage, ...] = tuple(stage for stage in STAGES if stage == sizes.stage)
        if views is None and sizes.stage in ("vision", "page"):
            raise ModelMeterError(f"stage {sizes.stage} needs views, not --views {NO_VIEWS}: {_GRAMMAR}")
    else:
        stages = tuple(stage for stage in STAGES if views is not None or stage not in ("vision", "page"))
    contexts = sizes.context_len or (_default_context(views),)
    if views is not None and "page" in stages:
        _check_room(contexts, views)
    return [point for stage in stages for point in _stage_points(stage, sizes, contexts, views)]


def _default_context(views: ViewPlan | None) -> int:
    views = views or parse_views(DEFAULT_VIEWS)
    return PROMPT_TOKENS + (views.image_tokens if views else 0)


def _check_room(contexts: Iterable[int], views: ViewPlan) -> None:
    for context in contexts:
        if context < views.image_tokens:
            raise ModelMeterError(
                f"stage page: a context of {context} tokens does not hold the {views.image_tokens} image tokens of the "
                f"views: give --context-len {views.image_tokens} or more, another --stage, or --views {NO_VIEWS}"
            )


def _stage_points(stage: Stage, sizes: Sizes, contexts: tuple[int, ...], views: ViewPlan | None) -> Iterator[Point]:
    for batch in sizes.batch_size:
        if stage == "vision":
            yield Point(stage=stage, batch=batch, views=views, backward=sizes.backward)
            continue
        for context in contexts:
            if stage == "decode":
                yield from decode_steps(sizes.decode_steps, batch=batch, context_len=context, backward=sizes.backward)
            else:
                shown = views if stage == "page" else None
                yield Point(stage=stage, batch=batch, context_len=context, views=shown, backward=sizes.backward)


def describe(point: Point) -> str:
    """A point in a few words: "prefill 913", "decode 913+2, batch 4"."""
    tokens = "" if not point.context_len else f" {point.context_len}"
    step = f"+{point.step}" if point.step else ""
    batch = f", batch {point.batch}" if point.batch > 1 else ""
    return f"{point.stage}{tokens}{step}{batch}"
