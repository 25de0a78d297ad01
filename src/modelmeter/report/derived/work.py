"""What each shape of a table runs, and what its stages cost."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from modelmeter.core.dims import as_dim
from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.memory import DEFAULT_RESERVE, Share
from modelmeter.hardware.page_time import WANTED_TPOT, WANTED_TTFT
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.run import StageParts
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.sweeps.shapes import Shape


def _at_least(least: int) -> Any:
    def check(instance: Any, attribute: "attrs.Attribute[int]", value: Any) -> None:
        as_dim(value, attribute.name, least=least)

    return check


def _seconds(instance: Any, attribute: "attrs.Attribute[float]", value: Any) -> None:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ModelMeterError(f"{attribute.name} is {value!r}: give a time greater than zero, in seconds")


@attrs.frozen(kw_only=True)
class TableWork:
    """Each page of a shape: text tokens beside the image, decode steps, equal pages at once, sides of views in pixels.

    `ttft` and `tpot` are the wanted times in seconds, `reserve` the share of a device's memory that is set aside.
    """

    prompt_tokens: int = attrs.field(default=10, validator=_at_least(0))
    decode_tokens: int = attrs.field(default=512, validator=_at_least(0))
    batch_size: int = attrs.field(default=1, validator=_at_least(1))
    base_size: int = 1024
    tile_size: int = 640
    ttft: float = attrs.field(default=WANTED_TTFT, validator=_seconds)
    tpot: float = attrs.field(default=WANTED_TPOT, validator=_seconds)
    reserve: Share = DEFAULT_RESERVE


@attrs.frozen(kw_only=True)
class Point:
    """One shape: its views, and the tokens of its prefill (image tokens and prompt)."""

    shape: Shape
    views: ViewPlan
    context_len: int


def points(shapes: Sequence[Shape], work: TableWork) -> Iterator[Point]:
    """A point for each shape, in order. Raises `ModelMeterError` for sides of views that cannot be."""
    for shape in shapes:
        views = shape.views(base_size=work.base_size, tile_size=work.tile_size)
        yield Point(shape=shape, views=views, context_len=views.image_tokens + work.prompt_tokens)


def stages_of(model: DeepseekOCRModel, point: Point, work: TableWork) -> dict[str, StageParts]:
    """(the whole, its parts) of vision, prefill, the first decode step, and the whole run; the views are set."""
    model.start_vision(work.batch_size)
    vision = model.get_stage_parts()
    model.start_prefill(point.context_len, work.batch_size)
    prefill = model.get_stage_parts()
    run = model.simulate_run(work.decode_tokens)
    model.start_decode()
    decode = model.get_stage_parts()
    return {"vision": vision, "prefill": prefill, "decode": decode, "run": (run.total, run.total_parts)}
