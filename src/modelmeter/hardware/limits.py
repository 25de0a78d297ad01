"""The largest batch and the longest context that fit a memory, and what stops them."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

import attrs

from modelmeter.hardware.needs import Needs, Stage, Workload

MAX_BATCH: Final = 2**24
"""Where the search ends: far more sequences than any device holds."""
MAX_CONTEXT: Final = 2**20
"""The same for tokens, where the model sets no limit."""
Images: TypeAlias = Literal["page", "text"]


@attrs.frozen(kw_only=True)
class BatchLimit:
    """The largest batch of a stage (or of the run) that fits; 0: not even one sequence does.

    The rest says why it stops, of a batch of one more: `stopped_by` the stage that is too large, what it holds at its
    fullest, of which activations and cache, bytes, and in which module. `kind` is the index of the workload.
    """

    stage: Stage
    batch: int
    kind: int
    stopped_by: Stage
    needed_bytes: int
    activations_bytes: int
    kv_bytes: int
    place: str


@attrs.frozen(kw_only=True)
class ContextLimit:
    """The longest context (prompt with its images) of a batch, with decode steps after it; 0: none fits.

    With `images` "page" the views stay and text grows, with "text" there are none. `stopped_by` is "positions" where
    the model ends first, else the stage that is too large.
    """

    images: Images
    batch: int
    context_len: int
    stopped_by: Stage | Literal["positions"]


def max_batch(needs: Sequence[Needs], free_bytes: int, stage: Stage = "run") -> BatchLimit:
    """The largest batch that fits `free_bytes` whichever of the workloads it is of. Exact: one more does not fit.

    Peaks grow with the batch, so that doubling and halving find it.
    """
    smallest, decides = MAX_BATCH, 0
    for kind, need in enumerate(needs):
        if need.peak_bytes(stage, smallest) > free_bytes:
            smallest, decides = _largest(_fits(need, stage, free_bytes), smallest), kind
    return _batch_limit(needs[decides], smallest, decides, stage)


def max_context(need: Needs, free_bytes: int, *, batch: int, images: Images, positions: int | None) -> ContextLimit:
    """The longest context of `batch` sequences that fits `free_bytes` and, with its decode steps, `positions`."""
    work = need.work
    views = work.views if images == "page" else None
    shortest = 1 if views is None else views.image_tokens
    longest = (MAX_CONTEXT if positions is None else positions) - work.decode_tokens

    def of(context: int) -> Needs:
        return need.of(Workload(views=views, context_len=context, decode_tokens=work.decode_tokens))

    if longest < shortest:
        return ContextLimit(images=images, batch=batch, context_len=0, stopped_by="positions")
    if of(longest).peak_bytes("run", batch) <= free_bytes:
        return ContextLimit(images=images, batch=batch, context_len=longest, stopped_by="positions")
    found = _between(lambda n: of(n).peak_bytes("run", batch) <= free_bytes, shortest - 1, longest)
    stage = of(found + 1).deciding_stage(batch)
    return ContextLimit(images=images, batch=batch, context_len=found if found >= shortest else 0, stopped_by=stage)


def _batch_limit(need: Needs, batch: int, kind: int, stage: Stage) -> BatchLimit:
    more = batch + 1
    part = need.deciding_stage(more) if stage == "run" else stage
    memory = need.in_run(part, more) if stage == "run" else need.stage(part, more)
    return BatchLimit(
        stage=stage,
        batch=batch,
        kind=kind,
        stopped_by=part,
        needed_bytes=memory.peak_bytes,
        activations_bytes=memory.activations_bytes,
        kv_bytes=memory.kv_bytes,
        place=memory.place,
    )


def _fits(need: Needs, stage: Stage, free_bytes: int) -> Callable[[int], bool]:
    return lambda batch: need.peak_bytes(stage, batch) <= free_bytes


def _largest(fits: Callable[[int], bool], beyond: int) -> int:
    """The largest number below `beyond` (which does not fit) that fits; 0: none does."""
    low, high = 0, 1
    while high < beyond and fits(high):
        low, high = high, high * 2
    return _between(fits, low, min(high, beyond))


def _between(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number that fits, where `low` does (or is none) and `high` does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
