"""Verification: the twin's stages and layers beside the real model's, quantity by quantity, operator by operator."""

import re
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.layer import Layer
from modelmeter.core.trace import Trace, Unpriced
from modelmeter.live.recording.caches import cached_tensors
from modelmeter.live.recording.record import record_call
from modelmeter.live.reference.adapter import Adapter, Call, Quantity
from modelmeter.live.verification.compare import Check, Folded, Row, checks, fold, operator_checks
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan

Stage: TypeAlias = Literal["vision", "prefill", "page", "decode", "layer"]
STAGES: Final[tuple[Stage, ...]] = ("vision", "prefill", "page", "decode")
"""`page` is a prefill with images: vision, splice, decoder and head in one pass. `layer` is one module alone."""

STAGE_BOUNDS: Final[Mapping[Stage, Mapping[str, float]]] = {
    "vision": {"activation_bytes": 0.02, "peak_bytes": 0.05, "saved_bytes": 0.05},
    "prefill": {"activation_bytes": 0.02, "peak_bytes": 0.05, "saved_bytes": 0.05},
    "page": {"activation_bytes": 0.02, "peak_bytes": 0.05, "saved_bytes": 0.05},
    "decode": {"activation_bytes": 0.05, "peak_bytes": 0.05, "saved_bytes": 0.05},
    "layer": {"activation_bytes": 0.05, "peak_bytes": 0.15, "saved_bytes": 0.15},
}
"""How far a stage's activation traffic and peak memory may be off, as a part of what was measured."""
LAYER_BOUNDS: Final = STAGE_BOUNDS["layer"]


@attrs.frozen(kw_only=True)
class Point:
    """One forward pass to compare. In decode `context_len` tokens are cached, and `step` decoded ones after them."""

    stage: Stage
    batch: int = 1
    context_len: int = 0
    views: ViewPlan | None = None
    step: int = 0
    backward: bool = False


@attrs.frozen
class Routing:
    """How many experts each mixture-of-experts layer really reached, beside the number uniform routing would."""

    hit: tuple[int, ...]
    expected: float
    num_experts: int


@attrs.frozen
class Comparison:
    """One point on both sides: the whole, the layers in it, and what nobody priced."""

    point: Point
    total: Row
    layers: tuple[Row, ...]
    unpriced: tuple[Unpriced, ...]
    routing: "Routing | None" = None
    unmatched: tuple[str, ...] = ()
    """Modules that one side alone calls and nobody said so: theirs are not compared."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The whole, then the layers."""
        return (self.total, *self.layers)

    @property
    def ok(self) -> bool:
        """Every exact quantity equal, every other inside its bound, every operator priced, every module compared."""
        return all(row.ok for row in self.rows) and not self.unpriced and not self.unmatched


@attrs.frozen
class Verification:
    """Every point that was compared, with the real model and the conventions it was held against."""

    reference: str
    conventions: Conventions
    comparisons: tuple[Comparison, ...]

    @property
    def ok(self) -> bool:
        """Every comparison."""
        return all(comparison.ok for comparison in self.comparisons)


def verify(adapter: Adapter, points: Iterable[Point], twin: DeepseekOCRModel | None = None) -> Verification:
    """Run each point in the real model and in the twin (by default that of the adapter's configuration).

    Decode points that follow one another (`step` 0, 1, 2, ...) are steps of one run: the real cache grows, and before
    each real step the twin is asked for the next token's cost, then moved by `decode_one_token()`.
    """
    twin = twin or twin_of(adapter)
    found = tuple(compare_pass(each, adapter, twin) for each in passes(adapter, points, twin))
    return Verification(adapter.name, adapter.conventions, found)


@attrs.frozen(kw_only=True)
class Pass:
    """One forward pass as both sides ran it. `held` are the bytes in their caches afterwards, the real one first."""

    point: Point
    measured: Trace
    analytic: Trace
    held: tuple[int, int]


def twin_of(adapter: Adapter) -> DeepseekOCRModel:
    """The analytic model of an adapter's configuration and conventions."""
    return DeepseekOCRModel.from_config(adapter.config, **attrs.asdict(adapter.conventions))


def passes(adapter: Adapter, points: Iterable[Point], twin: DeepseekOCRModel) -> Iterator[Pass]:
    """Run each point on both sides. Steps are of one run where they follow one another, as in `verify`."""
    call = None
    for point in points:
        _check_backward(point, twin)
        analytic = _twin_trace(twin, point, adapter.tokens_cached(point.context_len, point.step))
        call = _call(adapter, point, call)
        with adapter.running():
            measured = record_call(
                adapter.model, call.run, call.inputs, backward=point.backward, rename=adapter.rename, at=call.at
            )
        cached, after = (adapter.tokens_cached(point.context_len, point.step + i) for i in (0, 1))
        held = held_bytes(call.cache), held_after(twin, point, lost=cached + 1 - after)
        yield Pass(point=point, measured=measured, analytic=analytic, held=held)


def compare_pass(each: Pass, adapter: Adapter, twin: DeepseekOCRModel) -> Comparison:
    """Both sides of a pass, with what the adapter says of its modules."""
    return compare(
        each.measured,
        each.analytic,
        each.point,
        layer=twin.network,
        held=each.held,
        skip=partial(adapter.unmodelled, each.point.stage),
        inline=adapter.inline,
    )


def _check_backward(point: Point, twin: DeepseekOCRModel) -> None:
    if point.backward and twin.conventions.implementation == "vendor":
        raise ModelMeterError("the vendor's code runs its vision and its experts without gradients: it has no backward")
    if point.backward and point.step:
        raise ModelMeterError("a backward pass ends its run: verify backward of decode with a single step")
    if point.backward and point.stage in ("vision", "page") and twin.conventions.vision_sdpa:
        raise ModelMeterError(
            f"backward of {point.stage} with scaled_dot_product_attention: where SAM's bias needs a gradient, torch "
            "runs products instead of the kernel. Verify vision's backward with attention eager"
        )


def decode_steps(steps: int, **sizes: Any) -> Iterator[Point]:
    """The points of `steps` decode steps in a row; `sizes` as in `Point`."""
    return (Point(stage="decode", step=step, **sizes) for step in range(steps))


def _call(adapter: Adapter, point: Point, before: Call | None) -> Call:
    if point.stage == "decode":
        cache = before.cache if before is not None and point.step else None
        return adapter.decode(point.context_len + point.step, point.batch, cache)
    if point.stage == "prefill" or point.views is None:
        return adapter.prefill(point.context_len, point.batch)
    if point.stage == "page":
        return adapter.page(point.views, point.context_len, point.batch)
    return adapter.vision(point.views, point.batch)


def _twin_trace(twin: DeepseekOCRModel, point: Point, cached: int) -> Trace:
    """The twin's pass; it moves to it from the point before where that was the step before."""
    if point.stage == "decode" and point.step:
        twin.decode_one_token()
        if cached < point.context_len + point.step:  # a window has let go of some
            twin.start_prefill(cached, point.batch)
            twin.start_decode()
        return twin.trace()
    twin.set_views(point.views if point.stage in ("vision", "page") else None)
    if point.stage == "vision":
        twin.start_vision(point.batch)
    else:
        twin.start_prefill(point.context_len, point.batch)
    if point.stage == "decode":
        twin.start_decode()
    return twin.trace(grad=point.backward)


def held_bytes(cache: Any) -> int:
    """Bytes of keys and values in a real cache; 0 without one."""
    return sum(tensor.numel() * tensor.element_size() for tensor in cached_tensors([cache]))


def held_after(twin: DeepseekOCRModel, point: Point, lost: int = 0) -> int:
    """Bytes cached when the pass that the twin stands before, or has just done in prefill, is over.

    `lost` tokens are let go of in it: those that fall out of a window.
    """
    if point.stage == "vision":
        return 0
    a_token = twin.kv_bytes_per_token(point.batch)
    return twin.kv_cache_bytes() + (a_token * (1 - lost) if point.stage == "decode" else 0)


def compare(
    real: Trace,
    twin: Trace,
    point: Point,
    *,
    layer: Layer,
    held: tuple[int, int] | None = None,
    skip: Callable[[str], Container[Quantity]] = lambda path: (),
    inline: Sequence[str] | None = None,
) -> Comparison:
    """Both traces of one point. `layer` is the twin: the whole network for a stage.

    `held` are the bytes in the caches afterwards, the real one and the twin's; without it, what each cache gained is
    compared. Quantities that a path is to `skip` have no analytic counterpart in the way the real model ran. `inline`
    are patterns of the twin's modules that the real code calls none for: they are part of the one around them. Any
    other module on one side only is unmatched; without `inline` names are the modules' own and only those that both
    have are compared.
    """
    there, here = fold(real), fold(twin)
    here[""].owner = layer
    total = _row("", "", there[""], here[""], STAGE_BOUNDS[point.stage], point, skip(""))
    if held is not None:
        checked = [Check("kv_cache_bytes", *held) if x.quantity == "kv_cache_bytes" else x for x in total.checks]
        total = attrs.evolve(total, checks=tuple(checked))
    layers = [
        _row(
            path,
            type(folded.owner).__name__,
            there[path],
            folded,
            LAYER_BOUNDS,
            point,
            skip(path),
        )
        for path, folded in here.items()
        if path and path in there
    ]
    unmatched = () if inline is None else _unmatched(there, here, inline)
    return Comparison(point, total, tuple(_grouped(layers)), real.unpriced, unmatched=unmatched)


def _unmatched(there: Collection[str], here: Collection[str], inline: Sequence[str]) -> tuple[str, ...]:
    """Paths of one side only, each with its side."""
    real = [f"{path} (real)" for path in there if path not in here]
    known = re.compile("|".join(inline) or "(?!)")
    return (*real, *[f"{path} (twin)" for path in here if path not in there and not known.fullmatch(path)])


def _row(
    path: str,
    layer: str,
    real: Folded,
    twin: Folded,
    bounds: Mapping[str, float],
    point: Point,
    skip: Container[Quantity],
) -> Row:
    found = [check for check in checks(real, twin, bounds, backward=point.backward) if check.quantity not in skip]
    return Row((path,), layer, tuple(found), operator_checks(real, twin))


def _grouped(rows: Sequence[Row]) -> list[Row]:
    """Equal modules with equal numbers as one row."""
    groups: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = (row.layer, row.checks, row.operators)
        first = groups.get(key)
        groups[key] = row if first is None else attrs.evolve(first, paths=(*first.paths, *row.paths))
    return list(groups.values())
