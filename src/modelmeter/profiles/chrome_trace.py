"""`read_trace`: a torch profiler's Chrome trace as a profile.

Complete events ("X") with times in microseconds. On a GPU, kernels, copies and memsets count: a kernel belongs to the
stage in which the host launched it (the runtime's event of the same `correlation`), or, where the launch is not in the
file, to the range on the device's own row. Without any kernel the operators of the CPU count.
"""

from array import array
from collections.abc import Callable
from reprlib import repr as short
from typing import Any, Final, TextIO, TypeGuard

import numpy as np
from numpy.typing import NDArray

from modelmeter.core.errors import ModelMeterError
from modelmeter.profiles.json_stream import TraceEvents
from modelmeter.profiles.kinds import KINDS, Kind, kernel_kind, on_tensor_cores, operator_kind
from modelmeter.profiles.nesting import NO_WORK, own_times
from modelmeter.profiles.profile import STAGES, KernelTime, Profile, Stage, merged
from modelmeter.profiles.ranges import UNKNOWN, Range, StageRanges, stage_of

KERNELS: Final = frozenset({"kernel", "gpu_memcpy", "gpu_memset", "memcpy", "memset"})
OPERATORS: Final = frozenset({"cpu_op", "operator"})
"""Categories, in small letters: those of PyTorch before 1.12 had capitals and other names."""
LATEST: Final = 4e15  # microseconds, some 126 years: a time beyond it is none, and the end of an event fits 64 bits
LONGEST: Final = 1e12  # microseconds, eleven days: so do the sums of thousands
_NONE: Final = -1
_KINDS: Final = tuple(KINDS)


def read_trace(file: TextIO, source: str) -> Profile:
    """The profile in an open trace. Raises `ModelMeterError` for a file that is none, or has neither kernel nor
    operator."""
    events = TraceEvents(file, source)
    found = _Collected(source)
    for event in events:
        if event.get("ph") == "X":
            found.add(event)
    if len(found.kernels):
        return _of_device(found, _device_name(events.header))
    if len(found.operators):
        return _of_host(found)
    raise ModelMeterError(
        f"{source} has neither GPU kernels nor CPU operators among {found.complete:,} complete events: "
        "profile with activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]"
    )


class _Events:
    """Events of one sort as columns: 36 bytes each, so that millions fit."""

    def __init__(self) -> None:
        self._columns = {name: array("q") for name in ("name", "thread", "start", "length", "correlation")}

    def __len__(self) -> int:
        return len(self._columns["start"])

    def add(self, name: int, thread: int, start: int, length: int, correlation: int = _NONE) -> None:
        for column, value in zip(self._columns.values(), (name, thread, start, length, correlation), strict=True):
            column.append(value)

    def __getitem__(self, name: str) -> NDArray[np.int64]:
        return np.frombuffer(self._columns[name], dtype=np.int64) if len(self) else np.zeros(0, dtype=np.int64)


class _Collected:
    """What of a trace counts: kernels, the host's launches, operators, and the ranges of stages."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.kernels, self.launches, self.operators = _Events(), _Events(), _Events()
        self.ranges: list[Range] = []
        self.device_ranges: list[Range] = []
        self.complete = self.unfinished = 0
        self._names: dict[str, int] = {}
        self._threads: dict[tuple[object, object], int] = {}

    @property
    def names(self) -> list[str]:
        """Names by number."""
        return list(self._names)

    def add(self, event: dict[str, Any]) -> None:
        """Keep a complete event, if it counts."""
        self.complete += 1
        category = str(event.get("cat", "")).lower()
        if category in KERNELS:
            self._keep(self.kernels, event)
        elif category in OPERATORS:
            self._keep(self.operators, event)
        elif category.endswith(("runtime", "driver")):
            self._keep(self.launches, event)
        elif category in ("user_annotation", "gpu_user_annotation"):
            stage = stage_of(str(event.get("name", "")))
            times = None if stage is None else self._times(event)
            if stage is not None and times is not None:
                ranges = self.ranges if category == "user_annotation" else self.device_ranges
                ranges.append(Range(stage, self._thread(event), times[0], times[0] + times[1]))

    def _keep(self, events: _Events, event: dict[str, Any]) -> None:
        times = self._times(event)
        if times is None:
            self.unfinished += 1
            return
        args = event.get("args")
        correlation = args.get("correlation", _NONE) if isinstance(args, dict) else _NONE
        name = self._names.setdefault(str(event.get("name", "")), len(self._names))
        is_number = isinstance(correlation, int) and 0 <= correlation < 2**63
        events.add(name, self._thread(event), *times, correlation if is_number else _NONE)

    def _thread(self, event: dict[str, Any]) -> int:
        key = (str(event.get("pid")), str(event.get("tid")))
        return self._threads.setdefault(key, len(self._threads))

    def _times(self, event: dict[str, Any]) -> tuple[int, int] | None:
        """(start, duration) in nanoseconds; None for an event that the profiler did not see end."""
        start, length = event.get("ts"), event.get("dur")
        if length is None or (_is_time(length, LONGEST) and length < 0):
            return None
        if not _is_time(start, LATEST) or not _is_time(length, LONGEST):
            raise ModelMeterError(
                f"{self.source}: complete event {self.complete:,} ({str(event.get('name'))[:60]!r}) has the time "
                f"{short(start)} and the duration {short(length)}, not numbers of microseconds: export the trace again"
            )
        return round(start * 1000), round(length * 1000)


def _is_time(value: Any, most: float) -> TypeGuard[float]:
    return type(value) in (int, float) and -most < value < most


def _of_device(found: _Collected, device_name: str | None) -> Profile:
    kernels, ranges = found.kernels, StageRanges(found.ranges)
    on_device = StageRanges(found.device_ranges)
    launched = _launches(found)
    stages = np.full(len(kernels), UNKNOWN, dtype=np.int64)
    known = launched >= 0
    stages[known] = ranges.at(found.launches["thread"][launched[known]], found.launches["start"][launched[known]])
    lost = stages == UNKNOWN
    stages[lost] = on_device.at(kernels["thread"][lost], (kernels["start"] + kernels["length"] // 2)[lost])
    rows = _rows(found.names, kernels["name"], stages, kernels["length"], np.ones(len(kernels), bool), kernel_kind)
    return Profile(
        source=found.source,
        tool="torch",
        runs_on="gpu",
        device_name=device_name,
        kernels=rows,
        ranges=ranges.counts() or on_device.counts(),
        elapsed=_moved(kernels["start"], kernels["length"], stages),
        unfinished=found.unfinished,
    )


def _of_host(found: _Collected) -> Profile:
    operators, ranges = found.operators, StageRanges(found.ranges)
    names = found.names
    sorts = np.array([_sort(name) for name in names], dtype=np.int64)[operators["name"]]
    calls = own_times(operators["thread"], operators["start"], operators["length"], sorts)
    stages = ranges.at(operators["thread"], operators["start"])
    outside = calls.outermost & (stages == UNKNOWN)
    elapsed = ranges.own_time()
    if not ranges:
        elapsed = _moved(operators["start"][outside], operators["length"][outside], stages[outside])
    elif outside.any():
        elapsed["unknown"] = int(operators["length"][outside].sum())
    return Profile(
        source=found.source,
        tool="torch",
        runs_on="cpu",
        kernels=_rows(names, operators["name"], stages, calls.own, calls.counted, operator_kind),
        ranges=ranges.counts(),
        elapsed=elapsed,
        unfinished=found.unfinished,
    )


def _sort(name: str) -> int:
    """Operators of one kind are of one sort; those that move no data launch nothing."""
    kind = operator_kind(name)
    return NO_WORK if kind == "views" else _KINDS.index(kind)


def _launches(found: _Collected) -> NDArray[np.int64]:
    """For each kernel the place of its launch among the launches, or -1."""
    wanted, given = found.kernels["correlation"], found.launches["correlation"]
    if len(given) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.lexsort((found.launches["start"], given))  # the first of those that share a correlation
    places = np.minimum(np.searchsorted(given[order], wanted), len(order) - 1)
    matches = (given[order][places] == wanted) & (wanted != _NONE)
    return np.where(matches, order[places], -1)


def _moved(starts: NDArray[np.int64], lengths: NDArray[np.int64], stages: NDArray[np.int64]) -> dict[Stage, int]:
    """By how much each stage's events move the time at which all so far are done: adds up to first start to last end.

    As in the predicted timeline, waiting for a kernel is the kernel's.
    """
    order = np.lexsort((lengths, starts))
    done = np.maximum.accumulate((starts + lengths)[order])
    moved = np.diff(done, prepend=starts[order][:1])
    sums = [int(moved[stages[order] == i].sum()) for i in range(len(STAGES))]
    present = set(stages.tolist())
    return {name: sums[i] for i, name in enumerate(STAGES) if i in present}


def _rows(
    names: list[str],
    name: NDArray[np.int64],
    stages: NDArray[np.int64],
    lengths: NDArray[np.int64],
    counted: NDArray[np.bool_],
    kind_of: Callable[[str], Kind],
) -> tuple[KernelTime, ...]:
    """One row for each name and stage."""
    keys, places = np.unique(name * len(STAGES) + stages, return_inverse=True)
    sums, launches = np.zeros(len(keys), dtype=np.int64), np.bincount(places, weights=counted)
    np.add.at(sums, places, lengths)
    rows = []
    for key, nanoseconds, count in zip(keys.tolist(), sums.tolist(), launches.tolist(), strict=True):
        text = names[key // len(STAGES)]
        kind = kind_of(text)
        rows.append(
            KernelTime(
                name=text,
                kind=kind,
                stage=STAGES[key % len(STAGES)],
                launches=round(count),
                nanoseconds=nanoseconds,
                tensor_cores=on_tensor_cores(text, kind) if kind_of is kernel_kind else None,
            )
        )
    return tuple(merged(rows))


def _device_name(header: dict[str, Any]) -> str | None:
    """The first GPU's name, where the profiler wrote it."""
    devices = header.get("deviceProperties")
    first = devices[0] if isinstance(devices, list) and devices else None
    name = first.get("name") if isinstance(first, dict) else None
    return name if isinstance(name, str) else None
