"""The predicted timeline of a page as a Chrome trace: open it in Perfetto or chrome://tracing.

Trace Event Format (Google, "Trace Event Format", 2016): complete events ("X") with times in microseconds. Three rows:
what the host does, what the device runs, and the modules these belong to.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.hardware.page_time import PageTime
from modelmeter.hardware.timeline import OperatorTime, Timeline
from modelmeter.report.timing.timing import PageTiming, Timing

_HOST, _DEVICE, _MODULES = 1, 2, 10
SCHEMA: Final = "modelmeter.chrome-trace/1"
_ROWS: Final = {_HOST: "host", _DEVICE: "device", _MODULES: "modules"}
_MICRO: Final = 1e6


def to_chrome_trace(timing: Timing) -> str:
    """The trace of the first page, as JSON text."""
    return chrome_trace(timing.pages[0])


def chrome_trace(page: PageTiming) -> str:
    """JSON text: reading the page, vision and prefill, and the first decode step."""
    events = list(_events(page.time))
    data = {
        "schema": SCHEMA,  # viewers take fields that they do not know for metadata
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "traceEvents": [*_names(page, {event["tid"] for event in events}), *events],
        "displayTimeUnit": "ms",
        "otherData": {
            "device": page.time.machine.device.name,
            "execution": page.time.machine.execution,
            "level": page.time.prefill.timeline.level,
            "predicted": True,
        },
    }
    return json.dumps(data, ensure_ascii=False) + "\n"


def _events(time: PageTime) -> Iterator[dict[str, Any]]:
    start = time.host_seconds
    if start:
        yield _event("read and resize", _HOST, 0.0, start)
    for name, stage in (("prefill", time.prefill), ("decode step", time.decode)):
        timeline = stage.timeline
        yield _event(name, _MODULES, start, float(timeline.seconds))
        yield from _operators(timeline, start)
        start += float(timeline.seconds)


def _operators(timeline: Timeline, start: float) -> Iterator[dict[str, Any]]:
    open_modules: list[tuple[str, float]] = []
    end = 0.0
    for item in timeline.operators():
        names = item.path.split(".") if item.path else []
        while open_modules and [name for name, _ in open_modules] != names[: len(open_modules)]:
            yield _closed(open_modules, start, end)
        for name in names[len(open_modules) :]:
            open_modules.append((name, item.start))
        end = item.start + item.seconds
        if item.host_seconds:
            yield _event(item.op.name, _HOST, start + item.host_start, item.host_seconds, {"module": item.path})
        if item.busy:
            yield _event(item.op.name, _DEVICE, start + end - item.busy, item.busy, _arguments(item))
    while open_modules:
        yield _closed(open_modules, start, end)


def _closed(open_modules: list[tuple[str, float]], start: float, end: float) -> dict[str, Any]:
    depth = len(open_modules)
    path = ".".join(name for name, _ in open_modules)
    name, begun = open_modules.pop()
    return _event(name, _MODULES + depth, start + begun, end - begun, {"path": path})


def _arguments(item: OperatorTime) -> dict[str, Any]:
    cost = item.op.cost
    return {
        "module": item.path,
        "binds": item.binds,
        "kernels": float(item.op.launches),
        "shape": [float(side) for side in item.op.shape],
        "dtype": item.op.dtype.name,
        "flops": int(cost.flops),
        "bytes": int(cost.io_bytes),
        "tensor_us": item.tensor * _MICRO,
        "vector_us": item.vector * _MICRO,
        "memory_us": item.memory * _MICRO,
    }


def _event(name: str, row: int, start: float, seconds: float, args: dict[str, Any] | None = None) -> dict[str, Any]:
    event = {"name": name, "ph": "X", "pid": 1, "tid": row, "ts": start * _MICRO, "dur": seconds * _MICRO}
    return event if args is None else {**event, "args": args}


def _names(page: PageTiming, rows: set[int]) -> list[dict[str, Any]]:
    title = f"{page.page.label} on {page.time.machine.device.name} (predicted)"
    events = [{"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": title}}]
    for row in sorted(rows):
        name = _ROWS.get(row, f"modules, level {row - _MODULES}")
        events.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": row, "args": {"name": name}})
        events.append({"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": row, "args": {"sort_index": row}})
    return events
