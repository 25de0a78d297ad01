"""Stages from the ranges that a program marked (record_function, NVTX): the innermost range of a stage decides."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelmeter.profiles.profile import STAGES, Stage

UNKNOWN: Final = STAGES.index("unknown")
_NAME: Final = re.compile(
    rf"(?:modelmeter[ ._:/]+)?({'|'.join(STAGES[:-1])})(?:[ _:#-]*(?:step|page|token)?[ _:#\[-]*\d+\]?)?", re.IGNORECASE
)


class Range(NamedTuple):
    """A marked range: its stage (an index of `STAGES`), thread, and nanoseconds."""

    stage: int
    thread: int
    start: int
    end: int


class StageRanges:
    """The ranges of a profile, asked for the stage at many times of a thread at once."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        by_thread: dict[int, list[Range]] = {}
        for item in ranges:
            by_thread.setdefault(item.thread, []).append(item)
        self._steps = {thread: _steps(items) for thread, items in by_thread.items()}
        self._all = by_thread

    def __bool__(self) -> bool:
        return bool(self._all)

    def at(self, threads: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
        """The stage (an index of `STAGES`) at each (thread, time)."""
        stages = np.full(len(times), UNKNOWN, dtype=np.int64)
        for thread, (begins, names) in self._steps.items():
            here = threads == thread
            places = np.searchsorted(begins, times[here], side="right") - 1
            stages[here] = np.where(places < 0, UNKNOWN, names[places])
        return stages

    def counts(self) -> dict[Stage, int]:
        """How many ranges of each stage there are."""
        found = [item.stage for items in self._all.values() for item in items]
        return {name: found.count(i) for i, name in enumerate(STAGES) if i in found}

    def own_time(self) -> dict[Stage, int]:
        """Nanoseconds in each stage's ranges, less those of the ranges inside."""
        sums = dict.fromkeys(STAGES, 0)
        for begins, names in self._steps.values():
            for stage, length in zip(names[:-1], np.diff(begins), strict=True):
                sums[STAGES[stage]] += int(length)
        return {name: sums[name] for name in self.counts()}


def stage_of(name: str) -> int | None:
    """The stage that a range is of, by its name, which may end in a number: "decode", "Decode 3", "decode_step_3"."""
    found = _NAME.fullmatch(name.strip())
    return None if found is None else STAGES.index(found[1].lower())


def _steps(ranges: list[Range]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When the innermost stage changes on a thread, and what it is from then on."""
    times: list[int] = []
    stages: list[int] = []
    inside: list[Range] = []

    def leave(until: float) -> None:
        while inside and inside[-1].end <= until:
            end = inside.pop().end
            outer = next((item.stage for item in reversed(inside) if item.end > end), UNKNOWN)
            times.append(end)
            stages.append(outer)

    for item in sorted(ranges, key=lambda item: (item.start, -item.end)):
        leave(item.start)
        times.append(item.start)
        stages.append(item.stage)
        # rounding: one may end a little after the one around it
        inside.append(item._replace(end=min(item.end, inside[-1].end)) if inside else item)
    leave(float("inf"))
    return np.array(times, dtype=np.int64), np.array(stages, dtype=np.int64)
