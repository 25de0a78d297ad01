"""A whole run: prefill and many decode steps, summed without a loop over tokens."""

from collections.abc import Callable
from functools import reduce

import attrs
import numpy as np

from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.dims import Dim, is_array, is_number, maximum
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.evaluate import INT64_ROOM


@attrs.frozen(kw_only=True)
class RunCost:
    """A page from first pixel to last token: `prefill`, all `decode_tokens` steps as `decode`, and `total`.

    The prefill gives the first output token, each decode step one more. Resident weights are the same in all three;
    activations are the largest peak; `kv_cache_bytes` is what is cached at the end.
    """

    prefill: StageCost
    decode: StageCost
    decode_tokens: Dim

    @property
    def total(self) -> StageCost:
        """Prefill and decode together."""
        return StageCost(
            cost=self.prefill.cost + self.decode.cost,
            weights_bytes=self.prefill.weights_bytes,
            activations_bytes=maximum(self.prefill.activations_bytes, self.decode.activations_bytes),
            kv_cache_bytes=self.decode.kv_cache_bytes,
        )

    @property
    def prefill_flops_tflops(self) -> Dim:
        """FLOPs of the prefill, 1e12."""
        return self.prefill.flops_tflops

    @property
    def decode_flops_tflops(self) -> Dim:
        """FLOPs of all decode steps, 1e12."""
        return self.decode.flops_tflops


def sum_of_steps(prefills: list[StageCost], tokens: Dim, cached: Dim, step: Callable[[Dim], StageCost]) -> RunCost:
    """The run of `prefills` and of `tokens` steps that find `cached`, `cached` + 1, ... tokens.

    A step's numbers grow by the same amount with every cached token (its keys and values, its scores), so the sum is
    that of an arithmetic progression, exact. The last step is compared with it: were that ever not so, this raises.
    """
    prefill = StageCost(
        cost=reduce(Cost.__add__, [part.cost for part in prefills]),
        weights_bytes=prefills[-1].weights_bytes,
        activations_bytes=reduce(maximum, [part.activations_bytes for part in prefills]),
        kv_cache_bytes=prefills[-1].kv_cache_bytes,
    )
    if is_number(tokens) and tokens == 0:
        nothing = attrs.evolve(prefill, cost=prefill.cost * 0, activations_bytes=0)
        return RunCost(prefill=prefill, decode=nothing, decode_tokens=tokens)
    first, second, last = step(cached), step(cached + 1), step(cached + tokens - 1)
    sums = []
    for a, b, z in zip(first.cost.values(), second.cost.values(), last.cost.values(), strict=True):
        growth = b - a
        if (is_number(z) or is_array(z)) and not np.all(z == a + growth * (tokens - 1)):
            raise ModelMeterError("decode steps do not grow evenly with the cache: sum decode_one_token() instead")
        sums.append(_progression(a, growth, tokens))
    end = cached + tokens
    per_token = last.kv_cache_bytes // (end - 1) if is_number(end) else last.kv_cache_bytes / (end - 1)
    decode = StageCost(
        cost=Cost.from_values(sums),
        weights_bytes=last.weights_bytes,
        activations_bytes=last.activations_bytes,
        kv_cache_bytes=per_token * end,
    )
    return RunCost(prefill=prefill, decode=decode, decode_tokens=tokens)


def _progression(first: Dim, growth: Dim, tokens: Dim) -> Dim:
    """`first + (first + growth) + ...`, `tokens` terms; Python ints where int64 arrays would not hold it."""
    if any(is_array(x) for x in (first, growth, tokens)):
        largest = [int(np.max(x)) for x in (first, growth, tokens)]
        if largest[0] * largest[2] + largest[1] * largest[2] ** 2 >= INT64_ROOM:
            first, growth, tokens = (x.astype(object) if is_array(x) else x for x in (first, growth, tokens))
    return first * tokens + growth * (tokens * (tokens - 1) // 2 if not _symbolic(tokens) else tokens * (tokens - 1) / 2)


def _symbolic(value: Dim) -> bool:
    return not (is_number(value) or is_array(value))
