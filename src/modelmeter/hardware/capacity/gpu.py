"""The simulated GPU: a simpy process that prefills and decodes pages step by step."""

import heapq
import math
from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeAlias

from modelmeter.hardware.capacity.server import Server, ServiceTimes
from modelmeter.hardware.capacity.workload import PageMix

if TYPE_CHECKING:
    import simpy

_STRETCH = 128  # decode steps run as one event: caches grow by so few tokens that the steps are all but alike
STAGES = ("vision", "prefill", "decode", "mixed")

Steps: TypeAlias = "Generator[simpy.Event, Any, None]"


class Page:
    """A page on its way: when it arrived, got its first token and was done (seconds)."""

    __slots__ = ("arrived", "blocks", "context", "done", "first", "kind", "tokens")

    def __init__(self, kind: int, context: int, tokens: int, blocks: int, arrived: float) -> None:
        self.kind, self.context, self.tokens, self.blocks, self.arrived = kind, context, tokens, blocks, arrived
        self.first = self.done = math.nan


class SimulatedGPU:
    """One GPU. `submit` hands it a page; `run` is its process; the counters are seconds and pages since the start."""

    def __init__(self, env: "simpy.Environment", mix: PageMix, server: Server, times: ServiceTimes) -> None:
        self.env, self.mix, self.server, self.times = env, mix, server, times
        self.waiting: deque[Page] = deque()
        self.busy = dict.fromkeys(STAGES, 0.0)
        self.batch_seconds = 0.0  # integral of the decoding pages over time
        self.completed = 0
        self._running: list[tuple[int, int, Page]] = []  # heap: (step after which it is done, order, page)
        self._admitted = 0  # pages let in so far; breaks ties in the heap
        self._cached = 0  # tokens held by the running pages
        self._blocks = 0  # KV blocks reserved by running pages and those in prefill
        self._step = 0  # decode steps done
        self._chunking: tuple[Page, int] | None = None  # the page in chunked prefill, tokens already done
        self._wake: simpy.Event | None = None

    def submit(self, page: Page) -> None:
        """A page is ready for the GPU."""
        self.waiting.append(page)
        if self._wake is not None and self._has_room(len(self._running)):
            wake, self._wake = self._wake, None
            wake.succeed()

    def resume(self, page: Page, steps: int) -> None:
        """A page that has `steps` of its decode steps behind it already, before the simulation begins."""
        self._admitted += 1
        heapq.heappush(self._running, (page.tokens - 1 - steps, self._admitted, page))
        self._cached += page.context + steps
        self._blocks += page.blocks

    def run(self) -> Steps:
        """The GPU, for ever."""
        while True:
            yield from self._turn()

    def run_until_empty(self) -> Steps:
        """The GPU, until all pages handed to it are done."""
        while self.waiting or self._chunking is not None or self._running:
            yield from self._turn()

    def _turn(self) -> Steps:
        return self._prefill_first() if self.server.policy == "prefill-first" else self._chunked()

    def _prefill_first(self) -> Steps:
        if self._has_room(len(self._running)):
            yield from self._prefill(self._admit(self.server.prefill_batch))
        elif self._running:
            yield from self._decode()
        else:
            yield self._arrival()

    def _chunked(self) -> Steps:
        if self._chunking is None and self._has_room(len(self._running)):
            (page,) = self._admit(1)
            yield from self._take("vision", self.times.vision_seconds(page.kind, 1))
            self._chunking = (page, 0)
        elif self._chunking is not None:
            yield from self._mixed(*self._chunking)
        elif self._running:
            yield from self._decode()
        else:
            yield self._arrival()

    def _has_room(self, held: int) -> bool:
        """Whether the head of the queue can be let in beside `held` pages."""
        if not self.waiting or held >= self.server.max_batch:
            return False
        return self.server.kv_blocks is None or self._blocks + self.waiting[0].blocks <= self.server.kv_blocks

    def _admit(self, most: int) -> list[Page]:
        """Pages of one kind from the head of the queue, at most `most`, as far as there is room; at least one."""
        pages: list[Page] = []
        kind = self.waiting[0].kind
        while len(pages) < most and self._has_room(len(self._running) + len(pages)) and self.waiting[0].kind == kind:
            pages.append(self.waiting.popleft())
            self._blocks += pages[-1].blocks
        return pages

    def _arrival(self) -> "simpy.Event":
        self._wake = self.env.event()
        return self._wake

    def _take(self, stage: str, seconds: float) -> Steps:
        yield self.env.timeout(seconds)
        self.busy[stage] += seconds
        self.batch_seconds += seconds * len(self._running)

    def _prefill(self, pages: list[Page]) -> Steps:
        kind, count = pages[0].kind, len(pages)
        vision = self.times.vision_seconds(kind, count)
        yield from self._take("vision", vision)
        yield from self._take("prefill", max(self.times.prefill_seconds(kind, count) - vision, 0.0))
        for page in pages:
            self._start_decoding(page)

    def _mixed(self, page: Page, past: int) -> Steps:
        """One step: a token for each running page, and the next chunk of the page in prefill."""
        batch = len(self._running)
        chunk = min(page.context - past, self.server.token_budget - batch)
        yield from self._take("mixed", self.times.mixed_seconds(batch, self._mean_cached(0), chunk, past))
        self._advance(1)
        self._chunking = (page, past + chunk) if past + chunk < page.context else None
        if self._chunking is None:
            self._start_decoding(page)

    def _decode(self) -> Steps:
        """Decode steps until a page is done, or one comes that can be let in: then to the end of the step under way."""
        steps = min(self._running[0][0] - self._step, _STRETCH)
        seconds = self.times.decode_seconds(len(self._running), self._mean_cached((steps - 1) / 2))
        start, end = self.env.now, self.env.timeout(steps * seconds)
        yield end | self._arrival()
        if not end.processed:
            done = math.ceil((self.env.now - start) / seconds)
            steps = min(max(done, 1), steps)
            yield self.env.timeout(max(start + steps * seconds - self.env.now, 0.0))
        self._wake = None
        self.busy["decode"] += steps * seconds
        self.batch_seconds += steps * seconds * len(self._running)
        self._advance(steps)

    def _mean_cached(self, ahead: float) -> float:
        return self._cached / len(self._running) + ahead if self._running else 0.0

    def _start_decoding(self, page: Page) -> None:
        """The prefill gave the first token; what is left are decode steps."""
        page.first = self.env.now
        self._admitted += 1
        heapq.heappush(self._running, (self._step + page.tokens - 1, self._admitted, page))
        self._cached += page.context
        if page.tokens == 1:
            self._advance(0)

    def _advance(self, steps: int) -> None:
        """`steps` decode steps are done: the pages that end with them leave."""
        self._step += steps
        self._cached += steps * len(self._running)
        while self._running and self._running[0][0] <= self._step:
            page = heapq.heappop(self._running)[2]
            page.done = self.env.now
            self.completed += 1
            self._cached -= page.context + page.tokens - 1
            self._blocks -= page.blocks
