"""The memory of a GPU as a limit on pages: how many decode at once, and how many KV blocks they share."""

from collections.abc import Sequence

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.capacity.times import PageWork
from modelmeter.hardware.capacity.workload import KV_BLOCK, PageMix
from modelmeter.hardware.device import Device
from modelmeter.hardware.memory import MemoryBudget
from modelmeter.hardware.needs import Needs, Workload
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel


class Impossible(ModelMeterError):
    """A device cannot do what is asked: the message says why."""


@attrs.frozen(kw_only=True)
class Room:
    """The most pages that memory holds at once on average, beside the activations of such a batch; 16-token blocks.

    `limited` is whether memory, not the number asked for, ends it.
    """

    batch: int
    kv_blocks: int
    limited: bool


def room_for(
    model: DeepseekOCRModel,
    device: Device,
    budget: MemoryBudget,
    pages: Sequence[PageWork],
    mix: PageMix,
    *,
    most_batch: int,
    prefill_batch: int = 1,
) -> Room:
    """The room on `device` for up to `most_batch` pages; activations are those of the kind of page that takes most.

    Weights, activations of the prefill of `prefill_batch` pages or of a decode step of the whole batch (the larger),
    and the KV cache of every page at its end share the memory, as in `fit`. Raises `Impossible` where the weights or a
    single page do not fit.
    """
    if budget.missing_bytes:
        raise Impossible(
            f"{device.name} does not hold the weights: {budget.missing_bytes / 2**30:.2f} GiB are missing; "
            "store them smaller (fp8, int8, int4) or take a larger device"
        )
    needs = [_needs(model, page, max(mix.outputs.values) - 1, prefill_batch) for page in pages]
    block = needs[0].kv_bytes(1, KV_BLOCK)

    def blocks(batch: int) -> int:
        held = max(need.peak_bytes("run", batch) - need.kv_bytes(batch, need.work.end) for need in needs)
        return (budget.free_bytes - held) // block

    def fits(batch: int) -> bool:
        return batch * mix.held_blocks <= blocks(batch)

    if blocks(1) < mix.most_blocks:
        raise Impossible(
            f"{device.name} has no memory for one page beside the weights: it takes {mix.most_blocks:,} KV blocks of "
            f"{KV_BLOCK} tokens, {max(blocks(1), 0):,} are left; fewer output tokens, smaller weights, a larger device"
        )
    low, high = 1, most_batch
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return Room(batch=low, kv_blocks=blocks(low), limited=low < most_batch)


def _needs(model: DeepseekOCRModel, page: PageWork, steps: int, prefill_batch: int) -> Needs:
    work = Workload(views=page.views, context_len=page.context, decode_tokens=steps)
    return Needs(model.engine, work, block_tokens=KV_BLOCK, prefill_batch=prefill_batch)
