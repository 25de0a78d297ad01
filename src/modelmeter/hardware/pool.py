"""The pool of KV blocks that an engine with a paged cache sets aside, beside its largest step."""

from collections.abc import Sequence
from pathlib import Path

import attrs

from modelmeter.hardware.catalogue import get_device
from modelmeter.hardware.device import Device
from modelmeter.hardware.memory import DEFAULT_RESERVE, MemoryBudget, Share, Size, memory_budget
from modelmeter.hardware.needs import BLOCK_TOKENS, Needs, Workload
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel


@attrs.frozen(kw_only=True)
class KVPool:
    """`blocks` of `block_tokens` tokens, `block_bytes` each; 0 where nothing is left.

    `activations_bytes` is what the largest step takes beside them. `missing_bytes` is what weights and that step lack.
    """

    budget: MemoryBudget
    activations_bytes: int
    block_tokens: int
    block_bytes: int

    @property
    def blocks(self) -> int:
        """Whole blocks of what is left."""
        return max(0, self.budget.free_bytes - self.activations_bytes) // self.block_bytes

    @property
    def missing_bytes(self) -> int:
        """0 where weights and the largest step fit."""
        return max(0, self.activations_bytes - self.budget.free_bytes)

    def sequences(self, tokens: int) -> int:
        """Sequences of `tokens` tokens each that the pool holds at once."""
        return self.blocks // -(-tokens // self.block_tokens)


def kv_pool(
    model: DeepseekOCRModel,
    device: Device | str | Path,
    works: Sequence[Workload],
    *,
    max_batch: int,
    prefill_batch: int = 1,
    reserve: Share = DEFAULT_RESERVE,
    cuda_context: Size | None = None,
) -> KVPool:
    """The pool beside the largest step of an engine: `prefill_batch` pages prefilled, or `max_batch` tokens decoded.

    The largest over all workloads counts, as an engine's profiling run takes it. It agrees with `fit`: a batch fits
    its run in blocks where `sequences` of as many tokens is no smaller.
    """
    device = get_device(device)
    needs = [Needs(model.engine, work, block_tokens=BLOCK_TOKENS, prefill_batch=prefill_batch) for work in works]
    return KVPool(
        budget=memory_budget(device, model.parameter_bytes(), reserve=reserve, cuda_context=cuda_context),
        activations_bytes=max(need.run_activations_bytes(max_batch) for need in needs),
        block_tokens=BLOCK_TOKENS,
        block_bytes=needs[0].kv_bytes(1, BLOCK_TOKENS),
    )
