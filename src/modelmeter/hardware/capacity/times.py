"""The service times of a real device: the model's roofline, tabulated once so that a simulation can ask it often."""

from bisect import bisect_right
from collections.abc import Sequence
from copy import copy
from typing import Any, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from modelmeter.hardware.capacity.server import Server
from modelmeter.hardware.capacity.workload import Floats, PageMix
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import LevelName, decode_steps
from modelmeter.hardware.timeline import Resource, Timeline
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan

Whole: TypeAlias = npt.NDArray[np.integer[Any]]
_CACHED_POINTS = 5  # a step is all but linear in the tokens cached, so few points give it
_PAST_POINTS = 3
_CHUNK_POINTS = 49


@attrs.frozen(kw_only=True)
class PageWork:
    """A kind of page as the model sees it: its views, the tokens of its prompt, seconds of one worker of the host."""

    views: ViewPlan
    context: int
    host_seconds: float


class ModelTimes:
    """`ServiceTimes` of a model on a machine, seconds: calibrated where the device is, else the roofline.

    `most_batch` is the largest batch, `most_cached` the most tokens of a page, `most_chunk` the most tokens of a step
    with a chunk. Decode steps are tabulated at every batch and a few numbers of cached tokens, steps with a chunk at a
    few sizes and pasts; in between they are interpolated.
    """

    def __init__(
        self,
        model: DeepseekOCRModel,
        machine: Machine,
        pages: Sequence[PageWork],
        *,
        most_batch: int,
        most_cached: int,
        most_chunk: int | None = None,
    ) -> None:
        self._model, self._machine, self._pages = copy(model), machine, tuple(pages)
        self._stages: dict[tuple[str, int, int], Timeline] = {}
        self._seconds: dict[tuple[str, int, int], float] = {}
        self._cached = np.linspace(1, max(most_cached, 2), _CACHED_POINTS).round()
        batches = np.arange(1, most_batch + 1)
        seconds = self._steps(batches[:, None], self._cached[None, :].astype(np.int64))
        self._decode = [row.tolist() for row in seconds]  # lists: plain floats are faster than NumPy's, one at a time
        self._places = self._cached.tolist()
        self._chunk_sizes, self._pasts, self._chunks = self._tabulate_chunks(most_cached, most_chunk)

    @classmethod
    def of(
        cls, model: DeepseekOCRModel, machine: Machine, pages: Sequence[PageWork], mix: PageMix, server: Server
    ) -> "ModelTimes":
        """Those that a server of `mix` asks for; no step has more tokens than its longest prompt and a whole batch."""
        longest = max(kind.context for kind in mix.kinds)
        return cls(
            model,
            machine,
            pages,
            most_batch=server.max_batch,
            most_cached=longest + max(mix.outputs.values),
            most_chunk=min(server.token_budget, longest + server.max_batch) if server.policy == "chunked" else None,
        )

    def prefill_seconds(self, kind: int, pages: int) -> float:
        """Vision and prefill of `pages` pages of one kind together."""
        return self._stage_seconds("prefill", kind, pages)

    def vision_seconds(self, kind: int, pages: int) -> float:
        """Their vision alone."""
        return self._stage_seconds("vision", kind, pages)

    def host_seconds(self, kind: int) -> float:
        """One worker of the host reads and resizes a page."""
        return self._pages[kind].host_seconds

    def decode_seconds(self, batch: int, cached: float) -> float:
        """A decode step of `batch` sequences of `cached` tokens each."""
        row, places = self._decode[batch - 1], self._places
        after = min(max(bisect_right(places, cached), 1), len(places) - 1)
        low, high = places[after - 1], places[after]
        share = (cached - low) / (high - low)
        return row[after - 1] * (1 - share) + row[after] * share

    def mixed_seconds(self, batch: int, cached: float, chunk_tokens: int, chunk_past: int) -> float:
        """A chunk with the decoding pages' tokens joined to it, and what their attention reads of their own caches.

        The linear layers and experts run once over chunk_tokens + batch rows; the decoding pages' KV cache is what a
        decode step takes longer at `cached` tokens than at one.
        """
        if self._chunks is None:
            raise RuntimeError("mixed_seconds() was not tabulated: give most_chunk")
        rows = chunk_tokens + batch
        pasts = [float(np.interp(rows, self._chunk_sizes, line)) for line in self._chunks]
        seconds = float(np.interp(chunk_past, self._pasts, pasts))
        if batch:
            seconds += max(self.decode_seconds(batch, cached) - self.decode_seconds(batch, 1.0), 0.0)
        return seconds

    def binds(self, stage: str, kind: int = 0, *, batch: int = 1, cached: int = 1) -> Resource:
        """The resource that most of a stage waits for: of one page, or of a decode step of a batch."""
        if stage != "decode":
            return self.stage(stage, kind, batch).total.binds
        probe = copy(self._model)
        probe.set_views(None)
        probe.start_prefill(cached, batch, kv_cache=probe.engine.new_cache(batch))
        probe.start_decode()
        return Timeline(probe.trace(), self._machine).total.binds

    def stage(self, stage: str, kind: int, pages: int) -> Timeline:
        """The timeline of vision, or of vision and prefill, of pages of one kind."""
        key = (stage, kind, pages)
        if key not in self._stages:
            page, model = self._pages[kind], self._model
            model.set_views(page.views)
            if stage == "vision":
                model.start_vision(pages)
            else:
                model.start_prefill(page.context, pages, kv_cache=model.engine.new_cache(pages))
            self._stages[key] = Timeline(model.trace(), self._machine)
        return self._stages[key]

    def _stage_seconds(self, stage: str, kind: int, pages: int) -> float:
        found = self._seconds.get((stage, kind, pages))
        if found is None:
            found = self._seconds[stage, kind, pages] = float(self.stage(stage, kind, pages).seconds)
        return found

    def _steps(self, batch: Whole, cached: Whole) -> Floats:
        """Seconds of decode steps, [batches, cached]."""
        both = np.broadcast_arrays(batch, cached)
        found = decode_steps(self._model, self._machine, both[1].ravel(), both[0].ravel())
        level: LevelName = "roofline" if self._machine.calibration is None else "calibrated"
        return np.asarray(found[level], dtype=np.float64).reshape(both[0].shape)

    def _tabulate_chunks(self, most_past: int, most_chunk: int | None) -> tuple[Whole, Whole, list[Floats] | None]:
        """(chunk sizes, pasts, seconds of a chunk [past][size])."""
        sizes = np.unique(np.linspace(1, max(most_chunk or 2, 2), _CHUNK_POINTS).round().astype(np.int64))
        pasts = np.unique(np.linspace(1, max(most_past, 2), _PAST_POINTS).round().astype(np.int64))
        if most_chunk is None:
            return sizes, pasts, None
        model = self._model
        rows: list[Floats] = []
        for past in pasts.tolist():
            model.set_views(None)
            model.start_prefill(np.full(sizes.shape, past), 1, kv_cache=model.engine.new_cache(1))
            model.extend_prefill(sizes)
            rows.append(np.asarray(Timeline(model.trace(), self._machine).seconds, dtype=np.float64))
        return sizes, pasts, rows
