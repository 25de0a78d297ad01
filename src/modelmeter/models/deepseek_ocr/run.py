"""A whole run: prefill and many decode steps, summed without a loop over tokens."""

from collections.abc import Callable
from functools import reduce
from typing import TypeAlias

import attrs
import numpy as np

from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.dims import Dim, exact_plus, is_array, is_number, is_symbol, maximum
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.evaluate import INT64_ROOM

StageParts: TypeAlias = tuple[StageCost, dict[str, StageCost]]
"""The cost of a stage, and of each of its parts."""


@attrs.frozen(kw_only=True)
class RunCost:
    """A page from first pixel to last token: `prefill`, all `decode_tokens` steps as `decode`, and `total`.

    The prefill gives the first output token, each decode step one more. Resident weights are the same in all three;
    activations are the largest peak; `kv_cache_bytes` is what is cached at the end.
    """

    prefill: StageCost
    decode: StageCost
    decode_tokens: Dim
    prefill_parts: dict[str, StageCost]
    decode_parts: dict[str, StageCost]

    @property
    def total(self) -> StageCost:
        """Prefill and decode together."""
        return together([self.prefill, self.decode])

    @property
    def total_parts(self) -> dict[str, StageCost]:
        """The same by part."""
        return {part: together([cost, self.decode_parts[part]]) for part, cost in self.prefill_parts.items()}

    @property
    def prefill_flops_tflops(self) -> Dim:
        """FLOPs of the prefill, 1e12."""
        return self.prefill.flops_tflops

    @property
    def decode_flops_tflops(self) -> Dim:
        """FLOPs of all decode steps, 1e12."""
        return self.decode.flops_tflops


def together(stages: list[StageCost]) -> StageCost:
    """Stages one after the other: costs add, the largest peak counts, weights and cache are the last one's."""
    return StageCost(
        cost=reduce(Cost.__add__, [stage.cost for stage in stages]),
        weights_bytes=stages[-1].weights_bytes,
        activations_bytes=reduce(maximum, [stage.activations_bytes for stage in stages]),
        kv_cache_bytes=stages[-1].kv_cache_bytes,
    )


def sum_run(prefills: list[StageParts], tokens: Dim, cached: Dim, decode_step: Callable[[Dim], StageParts]) -> RunCost:
    """The run of `prefills` and of `tokens` decode steps that find `cached`, `cached` + 1, ... tokens."""
    prefill = together([whole for whole, _ in prefills])
    prefill_parts = {part: together([parts[part] for _, parts in prefills]) for part in prefills[0][1]}
    if is_number(tokens) and tokens == 0:
        decode, decode_parts = _nothing(prefill), {part: _nothing(cost) for part, cost in prefill_parts.items()}
    else:
        pasts = cached, exact_plus(cached, 1), exact_plus(cached, tokens - 1)
        steps = [decode_step(past) for past in pasts]
        decode = _sum_steps([whole for whole, _ in steps], tokens)
        decode_parts = {part: _sum_steps([parts[part] for _, parts in steps], tokens) for part in prefill_parts}
    return RunCost(
        prefill=prefill,
        decode=decode,
        decode_tokens=tokens,
        prefill_parts=prefill_parts,
        decode_parts=decode_parts,
    )


def _nothing(stage: StageCost) -> StageCost:
    return attrs.evolve(stage, cost=stage.cost * 0, activations_bytes=0)


def _sum_steps(steps: list[StageCost], tokens: Dim) -> StageCost:
    """The sum of `tokens` steps, of which the first, second and last are given; the last one's memory."""
    summed = attrs.evolve(steps[-1], cost=sum_of_even_steps([step.cost for step in steps], tokens))
    if is_array(tokens):  # where a sweep's point decodes nothing, nothing is alive
        return attrs.evolve(summed, activations_bytes=summed.activations_bytes * (tokens > 0))
    return summed


def sum_of_even_steps(steps: list[Cost], tokens: Dim) -> Cost:
    """The sum of `tokens` decode steps, of which the first, second and last are given.

    A step's numbers grow by the same amount with every cached token (its keys and values, its scores), so the sum is
    that of an arithmetic progression, exact. The last step is compared with it: were that ever not so, this raises.
    """
    sums = []
    for first, second, last in zip(*[step.values() for step in steps], strict=True):
        growth = second - first
        if not is_symbol(last) and not np.all(last == first + growth * (tokens - 1)):
            raise ModelMeterError("decode steps do not grow evenly with the cache: sum decode_one_token() instead")
        sums.append(_progression(first, growth, tokens))
    return Cost.from_values(sums)


def _progression(first: Dim, growth: Dim, tokens: Dim) -> Dim:
    """`first + (first + growth) + ...`, `tokens` terms; Python ints where int64 arrays would not hold it."""
    if is_symbol(tokens):
        return first * tokens + growth * tokens * (tokens - 1) / 2
    if any(is_array(x) for x in (first, growth, tokens)):
        top_first, top_growth, top_tokens = [int(np.max(x)) for x in (first, growth, tokens)]
        if top_first * top_tokens + top_growth * top_tokens**2 >= INT64_ROOM:
            first, growth, tokens = (x.astype(object) if is_array(x) else x for x in (first, growth, tokens))
    return first * tokens + growth * (tokens * (tokens - 1) // 2)
