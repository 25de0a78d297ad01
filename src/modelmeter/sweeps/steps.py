"""Times of many decode steps: summed once along the cache's length, so that a point is the difference of two sums."""

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import numpy as np

from modelmeter.core.dims import Dim, exact_plus
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.evaluate import CHUNK
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import LevelName, decode_steps
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel

MOST_STEPS: Final = 20_000_000
"""Distinct decode steps (cache lengths x batches) timed for one model and device: about a minute."""
COARSE: Final = 2.0**20
FINE: Final = 2.0**38
"""Sums are of whole numbers of 1/COARSE s and of 1/(COARSE * FINE) s: exact, so that a point has the same time wherever
its sums begin, in blocks too. MOST_STEPS times FINE fits int64."""
Sums: TypeAlias = tuple[np.ndarray, np.ndarray]


class DecodeTimes:
    """Seconds of decode steps of one model on some machines, for all points that it is made with.

    `sizes` has batch_size, context_len and decode_tokens, an array each. Every step between the shortest and the
    longest cache of a batch is timed once. Raises `ModelMeterError` where those are too many.
    """

    def __init__(self, model: DeepseekOCRModel, machines: list[Machine], sizes: dict[str, np.ndarray]) -> None:
        self._first: dict[int, int] = {}
        self._sums: dict[tuple[int, int], dict[LevelName, Sums]] = {}
        batch, start = sizes["batch_size"], sizes["context_len"]
        end = exact_plus(start, sizes["decode_tokens"])
        ranges = {
            int(b): (int(start[batch == b].min()), int(end[batch == b].max())) for b in np.unique(batch) if machines
        }
        steps = sum(last - first for first, last in ranges.values())
        if steps > MOST_STEPS:
            raise ModelMeterError(
                f"sweep: {steps:,} different decode steps to time, at most {MOST_STEPS:,}: choose fewer batch sizes, "
                "or contexts that are nearer to each other"
            )
        for b, (first, last) in ranges.items():
            self._first[b] = first
            for i, machine in enumerate(machines):
                self._sums[i, b] = _running_sums(model, machine, first, last, b)

    def levels(self, machine: int) -> Iterable[LevelName]:
        """The levels of time that a machine has."""
        return next(sums for (i, _), sums in self._sums.items() if i == machine)

    def of(self, machine: int, level: LevelName, batch: Dim, context: Dim, tokens: Dim) -> Any:
        """Seconds of `tokens` steps after `context`, at a level, for points of the sizes that it was made with."""
        batch, context, tokens = np.broadcast_arrays(batch, context, tokens)
        found = np.empty(batch.shape)
        for b in np.unique(batch):
            points = batch == b
            (coarse, fine), start = self._sums[machine, int(b)][level], context[points] - self._first[int(b)]
            end = start + tokens[points]
            found[points] = (coarse[end] - coarse[start]) / COARSE + (fine[end] - fine[start]) / (COARSE * FINE)
        return found


def _running_sums(
    model: DeepseekOCRModel, machine: Machine, first: int, last: int, batch: int
) -> dict[LevelName, Sums]:
    """By level: the seconds of the steps that find `first`, `first` + 1, ... tokens, summed up to each."""
    parts: dict[LevelName, list[Any]] = {}
    for start in range(first, last, CHUNK):
        cached = np.arange(start, min(start + CHUNK, last))
        for level, seconds in decode_steps(model, machine, cached, batch).items():
            parts.setdefault(level, [np.zeros(1)]).append(np.broadcast_to(seconds, cached.shape).astype(np.float64))
    return {level: _sums(np.concatenate(several)) for level, several in parts.items()}


def _sums(seconds: np.ndarray) -> Sums:
    """Running sums in whole numbers of the two units; the coarse ones as floats, which cannot overflow."""
    scaled = seconds * COARSE
    coarse = np.floor(scaled)
    return np.cumsum(coarse), np.cumsum(np.rint((scaled - coarse) * FINE).astype(np.int64))
