"""Clocks: seconds of a call on the CPU or on a CUDA device."""

import ctypes
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import attrs
import torch

from modelmeter.live.calibration.graph import capturing

Run = Callable[[], Any]

_BATCH_SECONDS: Final = 2e-4
"""Calls shorter than this are timed several at a time: reading the clock is then a thousandth of it."""
_MOST_CALLS: Final = 200
_GRAPH_CALLS: Final = 50
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


@attrs.frozen(kw_only=True)
class Timing:
    """Seconds of one call: the median of `repeats` measurements, and their lowest, quartiles and highest."""

    seconds: float
    low: float
    first_quartile: float
    third_quartile: float
    high: float
    repeats: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Timing":
        """Of measurements, at least one."""
        quartiles = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else [samples[0]] * 3
        return cls(
            seconds=statistics.median(samples),
            low=min(samples),
            first_quartile=quartiles[0],
            third_quartile=quartiles[2],
            high=max(samples),
            repeats=len(samples),
        )

    @property
    def spread(self) -> float:
        """The distance of the quartiles over the median."""
        return (self.third_quartile - self.first_quartile) / self.seconds


class Clock(Protocol):
    """Times calls on one device."""

    device: torch.device

    def sync(self) -> None:
        """Wait for the device."""

    def sample(self, call: Run, seconds: float) -> list[float]:
        """Seconds of the device for one call, measured for about `seconds` and at least twice, after a warm-up."""

    def stage(self, call: Run) -> float:
        """Seconds of one call from start to end, host included."""


class CPUClock:
    """The host itself computes. With one thread its processor time counts: what other jobs take meanwhile does not."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        alone = torch.get_num_threads() == 1
        self._now = time.thread_time if alone else time.perf_counter
        self.name = "processor time of one thread" if alone else "wall clock"

    def sync(self) -> None:
        """Nothing runs ahead."""

    def stage(self, call: Run) -> float:
        """Seconds of one call."""
        start = self._now()
        call()
        return self._now() - start

    def sample(self, call: Run, seconds: float) -> list[float]:
        """Seconds of one call, several times."""
        once = min(self.stage(call), self.stage(call))
        batch = max(1, min(_MOST_CALLS, round(_BATCH_SECONDS / max(once, 1e-7))))
        times = max(2, min(_MOST_CALLS, round(seconds / max(once * batch, 1e-7))))
        return [self._batch(call, batch) for _ in range(times)]

    def _batch(self, call: Run, calls: int) -> float:
        start = self._now()
        for _ in range(calls):
            call()
        return (self._now() - start) / calls


class CUDAClock:
    """Device events around calls replayed from a graph: the host's launches do not count."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def sync(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self.device)

    def stage(self, call: Run) -> float:
        """Seconds of one call, from an idle device to an idle device."""
        self.sync()
        start = time.perf_counter()
        call()
        self.sync()
        return time.perf_counter() - start

    def sample(self, call: Run, seconds: float) -> list[float]:
        """Seconds of one call, several times; eagerly where the call cannot be captured."""
        for _ in range(3):
            call()
        self.sync()
        try:
            replay, calls = self._captured(call), _GRAPH_CALLS
        except RuntimeError:  # it waits for the device: no graph can hold it
            self.sync()
            replay, calls = call, 1
        once = max(self._between_events(replay), 1e-7)
        times = max(2, min(_MOST_CALLS, round(seconds / once)))
        return [self._between_events(replay) / calls for _ in range(times)]

    def _captured(self, call: Run) -> Run:
        graph = torch.cuda.CUDAGraph()
        with capturing(graph):
            for _ in range(_GRAPH_CALLS):
                call()
        graph.replay()
        self.sync()
        return graph.replay

    def _between_events(self, call: Run) -> float:
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        call()
        after.record()
        after.synchronize()
        return before.elapsed_time(after) / 1e3


def clock_of(device: torch.device) -> Clock:
    """The clock of a device."""
    return CUDAClock(device) if device.type == "cuda" else CPUClock()


def keep_memory() -> bool:
    """Freed memory stays with the process, as CUDA's caching allocator, jemalloc and tcmalloc have it; False where not.

    glibc hands blocks of over 32 MiB back to the system, which then maps and clears their pages at every use: large
    outputs cost several times their arithmetic. PyTorch's tuning guide recommends an allocator that keeps them.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
