"""One run, pass by pass: prefill with vision, then one token after another."""

import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal, TypeAlias

import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.calibration.clock import Timing
from modelmeter.live.reference.hook_points import HookPoints
from modelmeter.live.session.body import Body
from modelmeter.live.session.inputs import PreparedInputs, whole
from modelmeter.live.session.memory import PeakMemory
from modelmeter.live.session.result import RunResult, StopReason
from modelmeter.live.session.stopwatch import VISION, PartClock, named_range, ranges_of, synchronise
from modelmeter.live.shadow.hooks import hooked
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stage import analytic_stage
from modelmeter.live.verification.verify import held_bytes

Passed = Callable[[int, int], None]
"""Hears of each finished prefill pass: (how many, of how many), warm-ups included."""
Decode = Callable[[list[int]], str]
_Timed: TypeAlias = tuple[float, torch.Tensor, tuple[int, ...]]
"""Seconds of a pass, the tokens it chose [b] on the device, and on the host."""


class BadLogits(ModelMeterError):
    """Logits that are no numbers: weights or inputs are broken, or the number format is too narrow."""


class Run:
    """A run that `DeepSeekOCRSession.start` made: `prefill()`, then `decode_step()` again and again, then `result()`.

    A context manager: at its end, whatever happened, the hooks are gone and the cache is let go of. After an error or
    an interruption in a pass there are no more passes; `result(complete=False)` gives what was finished.
    """

    def __init__(
        self,
        body: Body,
        points: HookPoints,
        inputs: PreparedInputs,
        *,
        shadow: Shadow | None,
        observe_experts: bool,
        stop: Collection[int],
        warm_up: int,
        repeats: int,
        text: Decode | None,
    ) -> None:
        self.inputs = inputs
        self.warm_up = warm_up
        self.repeats = repeats
        self._body, self._points, self._text = body, points, text
        self._shadow, self._observe_experts = shadow, observe_experts
        self._stop = _token_ids(stop)
        self._hooks = ExitStack()
        self._ranges = ranges_of(body.device)
        self._peak = PeakMemory(body.device)
        self._over = self._broken = False
        self._cache: Any = None
        self._next: torch.Tensor | None = None
        self._ids: list[list[int]] = [[] for _ in range(inputs.batch_size)]
        self._prefills: list[float] = []
        self._parts: dict[str, list[float]] = {}
        self._steps: list[float] = []
        self._kv_bytes = 0
        with self._placing():
            self._placed = body.place(inputs)

    @property
    def stopped(self) -> bool:
        """Whether every sequence has come to a stop token."""
        return bool(self._stop) and all(ids and ids[-1] in self._stop for ids in self._ids)

    @property
    def cache(self) -> Any:
        """The real KV cache as it is; None before the prefill and when the run is over."""
        return self._cache

    def prefill(self, passed: Passed | None = None) -> tuple[int, ...]:
        """Warm-ups, then the measured prefills, each into a new cache: the first token of each sequence.

        A warm-up is a prefill and a decode step. The last prefill is that which decode continues, and the only one that
        hooks watch. Raises `BadLogits` where the logits are no numbers.
        """
        if self._over or self._prefills:
            raise ModelMeterError("prefill() has been called for this run: begin another with start()")
        passes = self.warm_up + self.repeats
        ids: tuple[int, ...] = ()
        for number in range(passes):
            if number == self.warm_up:
                self._peak.start()
            with self._passing():
                if number == passes - 1:
                    self._watch()
                ids = self._prefill(measured=number >= self.warm_up)
            if passed is not None:  # outside: what the vendor's code prints is dropped, this is not
                passed(number + 1, passes)
        return ids

    def decode_step(self) -> tuple[int, ...]:
        """One more token of each sequence, greedy. A sequence that has stopped goes on beside the others.

        Raises `ModelMeterError` without a prefill, after the end, and beyond the model's positions.
        """
        if self._over or self._next is None:
            raise ModelMeterError(
                "decode_step() needs a run that goes on: call prefill() first, and begin another run after the end"
            )
        check_positions(self._body, self._cached + 1)
        with self._passing():
            return self._decode(self._next, self._cached, measured=True)

    def result(self, complete: bool = True) -> RunResult:
        """What was finished; `complete=False` where the run was cut short. The run is over: its hooks are removed.

        After an error or an interruption in a pass it was, whatever is said.
        """
        self._end()
        if complete and not self._prefills:
            raise ModelMeterError("result() needs a prefill: call prefill() first, or result(complete=False)")
        complete = complete and not self._broken
        reason: StopReason = "interrupted"
        if complete or self.stopped:
            reason = "stop" if self.stopped else "length"
        inputs = self.inputs
        parts = {name: Timing.of(seconds) for name, seconds in self._parts.items()}
        return RunResult(
            batch_size=inputs.batch_size,
            context_len=inputs.context_len,
            image_tokens=inputs.image_tokens,
            prompt_tokens=inputs.prompt_tokens,
            views=inputs.views,
            generated_ids=tuple(tuple(ids) for ids in self._ids),
            stop_reason=reason,
            prefill=Timing.of(self._prefills) if self._prefills else None,
            vision=parts.pop(VISION, None),
            parts=parts,
            decode=Timing.of(self._steps) if self._steps else None,
            decode_steps=tuple(self._steps),
            peak_memory_bytes=self._peak.bytes() if self._prefills else None,
            kv_cache_bytes=self._kv_bytes,
            warm_up=self.warm_up,
            repeats=len(self._prefills),
            complete=complete,
            text=self._text(self._ids[0]) if self._text is not None and self._prefills else None,
            stats=None if self._shadow is None else self._shadow.stats,
        )

    def close(self) -> None:
        """End the run: remove the hooks, bring the shadow up to date, let go of the cache."""
        self._end()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ModelMeterError):  # of the shadow's last question: what went wrong first is what there is to say
            self._end()

    # Passes

    @property
    def _cached(self) -> int:
        return self.inputs.context_len + len(self._steps)

    def _prefill(self, *, measured: bool) -> tuple[int, ...]:
        """One prefill into a new cache; of a warm-up a decode step, too."""
        calls = self._body.projector_calls(self.inputs)
        parts = PartClock(self._points, self._body.device, self._ranges, calls)
        self._cache = self._next = None  # frees the last one's before this one's is made
        cache = self._body.new_cache()
        with parts.watching():
            seconds, tokens, ids = self._timed("prefill", 0, lambda: self._body.prefill(self._placed, cache))
        if not measured:
            if self.inputs.context_len < self._body.config.decoder.max_position_embeddings:
                self._decode_into(cache, tokens, self.inputs.context_len)
            return ids
        self._prefills.append(seconds)
        for name, found in parts.seconds().items():
            self._parts.setdefault(name, []).append(found)
        self._cache, self._next = cache, tokens
        self._kv_bytes = held_bytes(cache)
        self._ids = [[token] for token in ids]
        return ids

    def _decode(self, tokens: torch.Tensor, cached: int, *, measured: bool) -> tuple[int, ...]:
        seconds, self._next, ids = self._decode_into(self._cache, tokens, cached)
        self._steps.append(seconds)
        self._kv_bytes = held_bytes(self._cache)
        for sequence, token in zip(self._ids, ids, strict=True):
            if sequence[-1] not in self._stop:
                sequence.append(token)
        return ids

    def _decode_into(self, cache: Any, tokens: torch.Tensor, cached: int) -> _Timed:
        step = cached - self.inputs.context_len
        return self._timed("decode", step, lambda: self._body.decode(tokens[:, None], cached, cache))

    def _timed(self, stage: Literal["prefill", "decode"], step: int, forward: Callable[[], torch.Tensor]) -> _Timed:
        """Seconds of a pass and of choosing its tokens [b], from an idle device to tokens on the host."""
        synchronise(self._body.device)
        start = time.perf_counter()
        with analytic_stage(stage), named_range(self._ranges, stage):
            best, tokens = forward().max(dim=-1)
            ids = tuple(tokens.tolist())
        synchronise(self._body.device)
        seconds = time.perf_counter() - start
        if not all(map(math.isfinite, best.tolist())):  # the largest is NaN where any is: nothing more to wait for
            where = "prefill" if stage == "prefill" else f"decode step {step}"
            raise BadLogits(
                f"the logits of the {where} are no numbers (NaN or infinity) on {self._body.device} in "
                f"{self._body.dtype}: check the weights (download them again), the inputs, and try dtype='bfloat16'"
            )
        return seconds, tokens, ids

    # Around passes

    @contextmanager
    def _placing(self) -> Iterator[None]:
        """The model's own context, and its device as the current one."""
        with ExitStack() as stack:
            if self._body.device.type == "cuda":
                stack.enter_context(torch.cuda.device(self._body.device))
            stack.enter_context(self._body.running())
            yield

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """Passes run in here; whatever stops one ends the run."""
        try:
            with self._placing():
                yield
        except BaseException:
            self._over = self._broken = True
            self.__exit__()
            raise

    def _watch(self) -> None:
        if self._shadow is not None:
            self._shadow.set_views(self.inputs.views)
            self._hooks.enter_context(hooked(self._points, self._shadow, experts=self._observe_experts))

    def _end(self) -> None:
        self._over = True
        self._cache = self._next = None
        self._hooks.close()


def _token_ids(stop: Any) -> frozenset[int]:
    """`stop` as a set. Raises `ModelMeterError` for what are no token ids."""
    if not isinstance(stop, Collection):
        raise ModelMeterError(f"stop must be token ids, such as session.stop_ids, not {stop!r}")
    return frozenset(whole(token, "stop", least=0) for token in stop)


def check_positions(body: Body, tokens: int) -> None:
    """Raises `ModelMeterError` for more tokens than the model has positions."""
    most = body.config.decoder.max_position_embeddings
    if tokens > most:
        raise ModelMeterError(
            f"{tokens} tokens are more than the model's {most} positions: give a shorter context or fewer new tokens"
        )
