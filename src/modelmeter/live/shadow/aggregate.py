"""Sums over the records of a shadow run: by module, stage, decoded token, document; what is not hooked; experts."""

import math
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias, TypeVar

import attrs

from modelmeter.core.cost import Cost
from modelmeter.live.shadow.records import DecoderStep, PassStep, VisionStep, added
from modelmeter.live.shadow.stats import AnalyticRunStats

Item = TypeVar("Item")
Number = TypeVar("Number", int, float)
Record: TypeAlias = DecoderStep | VisionStep
PREFILL: Final = "prefill"
NO_DOCUMENT: Final = ""
"""The document of what ran outside every document."""


@attrs.frozen(kw_only=True)
class Total:
    """Calls and their cost."""

    calls: int
    cost: Cost


@attrs.frozen(kw_only=True)
class TokenTotal:
    """A decode step: all hooked layers for one token of each sequence, which attends to `kv_len` keys."""

    document: str | None
    page: int | None
    step: int
    kv_len: int
    batch_size: int
    cost: Cost


@attrs.frozen(kw_only=True)
class Observed:
    """Tokens that each sequence of a batch was seen to take: `context_len` prefilled (image tokens among them).

    `image_tokens` is None where nobody said the grid of tiles.
    """

    document: str | None
    page: int | None
    batch_size: int
    context_len: int
    image_tokens: int | None
    decode_tokens: int


@attrs.frozen(kw_only=True)
class Reached:
    """Routed experts of a layer in a stage: the mean number that some token reached, and the number expected.

    `weight_bytes` is what all its passes read by the convention, `weight_bytes_observed` with the experts reached.
    """

    layer_idx: int
    stage: str
    passes: int
    hit: float
    expected: float
    weight_bytes: int
    weight_bytes_observed: int


@attrs.frozen(kw_only=True)
class Aggregates:
    """The sums. Those by layer, stage and document each add up to `hooked`.

    `whole` is all that ran, hooked or not; `not_hooked` is their difference. Both are None unless known of every pass.
    """

    by_layer: dict[str, Total]
    by_stage: dict[str, Total]
    by_document: dict[str, Total]
    tokens: tuple[TokenTotal, ...]
    hooked: Total
    whole: Cost | None
    not_hooked: dict[str, Cost] | None
    observed: tuple[Observed, ...]
    experts: tuple[Reached, ...]

    @property
    def mean_token(self) -> Cost | None:
        """The mean decode step, rounded to whole FLOPs and bytes; None without any."""
        if not self.tokens:
            return None
        total = added(token.cost for token in self.tokens)
        return Cost.from_values([round(value / len(self.tokens)) for value in total.values()])


def aggregate(stats: AnalyticRunStats) -> Aggregates:
    """All sums over `stats`."""
    records: list[Record] = [*stats.vision_steps, *stats.decoder_steps]
    hooked = Total(calls=len(records), cost=added(record.cost.cost for record in records))
    wholes = [step.whole.cost for step in stats.passes if step.whole is not None]
    complete = bool(wholes) and len(wholes) == len(stats.passes) and _adds_up(stats.passes, hooked.cost)
    return Aggregates(
        by_layer=_totals(records, module_path),
        by_stage=_totals(records, lambda record: record.stage),
        by_document=_totals(records, lambda record: record.document or NO_DOCUMENT),
        tokens=tuple(_tokens(stats.decoder_steps)),
        hooked=hooked,
        whole=added(wholes) if complete else None,
        not_hooked=_not_hooked(stats.passes) if complete else None,
        observed=tuple(_observed(stats.passes)),
        experts=tuple(_experts(stats.decoder_steps)),
    )


def module_path(record: Record) -> str:
    """The record's module in the vendor's tree, as in the analytic model's traces."""
    return f"model.layers.{record.layer_idx}" if isinstance(record, DecoderStep) else f"model.{record.module}"


def is_decode(step: DecoderStep | PassStep) -> bool:
    """One token onto a cache that holds others; in a stage named prefill it is the last chunk of one."""
    return step.token_count == 1 and step.kv_len > 1 and step.stage != PREFILL


def _totals(
    records: Iterable[DecoderStep | VisionStep], key: Callable[[DecoderStep | VisionStep], str]
) -> dict[str, Total]:
    groups: dict[str, list[Cost]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record.cost.cost)
    return {name: Total(calls=len(costs), cost=added(costs)) for name, costs in groups.items()}


def _grouped(records: Iterable[Item], key: Callable[[Item], object]) -> list[list[Item]]:
    groups: dict[object, list[Item]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return list(groups.values())


def _tokens(steps: Iterable[DecoderStep]) -> Iterable[TokenTotal]:
    """Layer 0 begins a step."""
    groups: list[list[DecoderStep]] = []
    for step in steps:
        if step.layer_idx == 0:
            groups.append([])
        if groups:
            groups[-1].append(step)
    for group in groups:
        first = group[0]
        if is_decode(first):
            yield TokenTotal(
                document=first.document,
                page=first.page,
                step=first.step,
                kv_len=first.kv_len,
                batch_size=first.batch_size,
                cost=added(step.cost.cost for step in group),
            )


def _adds_up(passes: Iterable[PassStep], hooked: Cost) -> bool:
    """Whether every hooked call belongs to one of the passes."""
    return added(step.hooked for step in passes) == hooked


def _not_hooked(passes: Iterable[PassStep]) -> dict[str, Cost]:
    """By stage."""
    stages: dict[str, list[Cost]] = {}
    for step in passes:
        if step.not_hooked is not None:
            stages.setdefault(step.stage, []).append(step.not_hooked)
    return {stage: added(costs) for stage, costs in stages.items()}


def _observed(passes: Iterable[PassStep]) -> Iterable[Observed]:
    """A sequence begins with the pass that finds nothing cached, or with the first one seen."""
    sequences: list[list[PassStep]] = []
    for step in passes:
        if step.token_count == 0:  # vision alone
            continue
        if step.kv_len == step.token_count or not sequences:
            sequences.append([])
        sequences[-1].append(step)
    for steps in sequences:
        prefilled = [step for step in steps if not is_decode(step)]
        images = [step.image_tokens for step in prefilled]
        prompt = max((step.kv_len for step in prefilled), default=steps[0].kv_len - 1)
        yield Observed(
            document=steps[0].document,
            page=steps[0].page,
            batch_size=steps[0].batch_size,
            context_len=prompt,
            image_tokens=None if None in images else sum(map(_known, images)),
            decode_tokens=steps[-1].kv_len - prompt,
        )


def _experts(steps: Iterable[DecoderStep]) -> Iterable[Reached]:
    watched = [step for step in steps if step.experts_hit is not None]
    for group in _grouped(watched, lambda step: (step.layer_idx, step.stage)):
        yield Reached(
            layer_idx=group[0].layer_idx,
            stage=group[0].stage,
            passes=len(group),
            hit=math.fsum(_known(step.experts_hit) for step in group) / len(group),
            expected=math.fsum(_known(step.experts_expected) for step in group) / len(group),
            weight_bytes=sum(step.weight_bytes for step in group),
            weight_bytes_observed=sum(_known(step.weight_bytes_observed) for step in group),
        )


def _known(value: Number | None) -> Number:
    """A number that is there: what is observed of experts is there together, or not at all."""
    assert value is not None
    return value
