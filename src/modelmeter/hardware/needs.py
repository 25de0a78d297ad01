"""What the stages of a run hold at any batch: activations and KV cache, exactly."""

from functools import cache
from typing import Final, Literal, TypeAlias

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.recorder import CACHED, CALLED, DROPPED, GIVEN_BACK, TAKEN, RecordOptions, Segment
from modelmeter.models.deepseek_ocr.engine import Engine, Step
from modelmeter.models.deepseek_ocr.head import Head
from modelmeter.models.deepseek_ocr.views import ViewPlan

Stage: TypeAlias = Literal["vision", "prefill", "decode", "run"]
STAGES: Final[tuple[Stage, ...]] = ("vision", "prefill", "decode", "run")
BLOCK_TOKENS: Final = 16
"""Tokens of a block of a paged KV cache: vLLM's `DEFAULT_BLOCK_SIZE` (vllm/config/cache.py)."""
_OPTIONS: Final = RecordOptions()


@attrs.frozen(kw_only=True)
class StageMemory:
    """What one stage holds with a batch, bytes, beside the weights.

    `activations_bytes` is the peak of the activations; `logits_bytes` is what the head takes at its own peak (logits of
    the positions that the convention has computed, and the vendor's fp32 copy of them), 0 in vision. `kv_bytes` is the
    cache at the end of the stage. `peak_bytes` is the most of both together: they need not peak at the same moment, and
    a cache that is copied as it grows holds more for a moment. `place` is the module that runs then: "lm_head" where
    the logits are part of that peak.
    """

    stage: Stage
    batch: int
    activations_bytes: int
    logits_bytes: int
    kv_bytes: int
    peak_bytes: int
    place: str


@attrs.frozen(kw_only=True)
class Workload:
    """What each sequence of a batch runs: a prefill of `context_len` tokens, `views` among them, then decode steps."""

    views: ViewPlan | None
    context_len: int
    decode_tokens: int

    @property
    def end(self) -> int:
        """Tokens cached at the end."""
        return self.context_len + self.decode_tokens


class Needs:
    """What a workload holds on top of the weights, at any batch. Asking changes nothing; answers are remembered.

    The cache is held as the model's convention says: "concat" grows with the tokens and is copied as it grows (its
    peak is that of activations and cache together); "in_place" has room for the whole run from the start. With
    `block_tokens` it is paged: room for the whole run in blocks of so many tokens a sequence, no copies. Then
    `prefill_batch` sequences at most are prefilled at once (None: all of them), as an engine does that lets sequences
    in one by one.
    """

    def __init__(
        self, engine: Engine, work: Workload, *, block_tokens: int | None = None, prefill_batch: int | None = None
    ) -> None:
        if block_tokens is not None and block_tokens < 1:
            raise ModelMeterError(f"block_tokens must be positive, not {block_tokens}")
        self.engine = engine
        self.work = work
        self.block_tokens = block_tokens
        self.prefill_batch = prefill_batch
        self.grows = block_tokens is None and engine.conventions.cache == "concat"
        if prefill_batch is not None and (prefill_batch < 1 or self.grows):
            raise ModelMeterError(
                f"prefill_batch {prefill_batch}: give 1 or more, and a cache that has its room from the start "
                "(block_tokens=16, or a model with cache='in_place')"
            )
        self._peaks = cache(self._peaks_of)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that this workload has, "run" among them."""
        left_out = {"vision"} if self.work.views is None else set()
        left_out |= {"decode"} if self.work.decode_tokens == 0 else set()
        return tuple(stage for stage in STAGES if stage not in left_out)

    @property
    def _run_stages(self) -> tuple[Stage, ...]:
        """The stages of which a run is made: vision is part of the prefill."""
        return ("prefill",) if self.work.decode_tokens == 0 else ("prefill", "decode")

    def kv_bytes(self, batch: int, tokens: int) -> int:
        """The cache of `batch` sequences of `tokens` tokens each; paged: in whole blocks."""
        if self.block_tokens is not None:
            tokens = -(-tokens // self.block_tokens) * self.block_tokens
        return int(self.engine.new_cache(batch).bytes_per_token()) * tokens

    def peak_bytes(self, stage: Stage, batch: int) -> int:
        """The most that activations and cache hold together in a stage, or in the whole run."""
        if stage == "run":
            return max(self._in_run(part, batch) for part in self._run_stages)
        return self._alone(stage, batch)

    def deciding_stage(self, batch: int) -> Stage:
        """The stage in which the whole run holds the most."""
        return max(self._run_stages, key=lambda part: self._in_run(part, batch))

    def run_activations_bytes(self, batch: int) -> int:
        """The largest peak of the activations alone in the whole run."""
        return max(self._peaks(part, self._at_once(part, batch))[0] for part in self._run_stages)

    def of(self, work: Workload) -> "Needs":
        """Another workload of the same model, its cache held alike."""
        return Needs(self.engine, work, block_tokens=self.block_tokens, prefill_batch=self.prefill_batch)

    def stage(self, stage: Stage, batch: int) -> StageMemory:
        """All about one stage, alone, at a batch."""
        tokens = {"vision": 0, "prefill": self.work.context_len, "decode": self.work.end}
        return self._describe(stage, batch, batch, self._alone(stage, batch), tokens[stage])

    def in_run(self, stage: Stage, batch: int) -> StageMemory:
        """The same of a stage of the whole run."""
        tokens = self.work.context_len if self.grows and stage == "prefill" else self.work.end
        return self._describe(stage, batch, self._at_once(stage, batch), self._in_run(stage, batch), tokens)

    def _describe(self, stage: Stage, batch: int, at_once: int, peak_bytes: int, tokens: int) -> StageMemory:
        step = self._step(stage, at_once)
        place = peak_place(self.engine.trace(step, _OPTIONS).root, with_cache=self.grows)
        logits = 0 if stage == "vision" else self.engine.stage(step, 0)[1]["lm_head"].activations_bytes
        return StageMemory(
            stage=stage,
            batch=batch,
            activations_bytes=self._peaks(stage, at_once)[0],
            logits_bytes=logits,
            kv_bytes=self.kv_bytes(batch, tokens),
            peak_bytes=peak_bytes,
            place=place,
        )

    def _alone(self, stage: Stage, batch: int) -> int:
        activations, grown = self._peaks(stage, batch)
        if stage == "vision":
            return activations
        if self.grows:
            return grown + (self.kv_bytes(batch, self.work.end - 1) if stage == "decode" else 0)
        return activations + self.kv_bytes(batch, self.work.context_len if stage == "prefill" else self.work.end)

    def _in_run(self, stage: Stage, batch: int) -> int:
        """As `_alone`, beside a cache that has its room from the start."""
        if self.grows:
            return self._alone(stage, batch)
        return self._peaks(stage, self._at_once(stage, batch))[0] + self.kv_bytes(batch, self.work.end)

    def _at_once(self, stage: Stage, batch: int) -> int:
        return batch if stage == "decode" or self.prefill_batch is None else min(batch, self.prefill_batch)

    def _peaks_of(self, stage: Stage, batch: int) -> tuple[int, int]:
        """(activations alone, with what the cache gains) at the stage's fullest."""
        step = self._step(stage, batch)
        alone, grown = self.engine.measure(
            step, lambda root: (root.peak()[1], root.peak_with_cache()[1] if self.grows else 0), _OPTIONS
        )
        return int(alone), int(grown)

    def _step(self, stage: Stage, batch: int) -> Step:
        """The stage's forward pass; of the decode the last step, which holds the most."""
        work = self.work
        if stage == "vision":
            return Step(mode="vision", batch=batch).with_views(work.views)
        if stage == "prefill":
            return Step(mode="prefill", batch=batch, queries=work.context_len).with_views(work.views)
        if stage == "decode":
            return Step(mode="decode", batch=batch, queries=1, past=work.end - 1)
        raise ModelMeterError(f"{stage!r} is no single stage: choose vision, prefill or decode")


def peak_place(root: Segment, *, with_cache: bool) -> str:
    """The path of the module that runs when a recording holds the most; "lm_head" in all of the head."""
    path, segment = "", root
    while True:
        called = _fullest_call(segment, with_cache=with_cache)
        if called is None:
            return "lm_head" if isinstance(segment.layer, Head) else path
        child, nth = called
        if segment.layer is not None and child.layer is not None:
            path = segment.layer.path_of(child.layer, nth, path)
        segment = child


def _fullest_call(segment: Segment, *, with_cache: bool) -> tuple[Segment, int] | None:
    """The call in which a segment holds the most, and the how-manieth of that layer it is; None: between its calls."""
    live = most = 0
    found: tuple[Segment, int] | None = None
    calls: dict[int, int] = {}
    for event, what in segment.events:
        if event == CALLED:
            net, top = what.peak_with_cache() if with_cache else what.peak()
            nth = calls.get(id(what.layer), 0)
            calls[id(what.layer)] = nth + 1
            if live + top > most:
                most, found = live + top, (what, nth)
            live += net
        elif event == TAKEN or (event == CACHED and with_cache):
            live += what
            if live > most:
                most, found = live, None
        elif event == GIVEN_BACK or (event == DROPPED and with_cache):
            live -= what
    return found
