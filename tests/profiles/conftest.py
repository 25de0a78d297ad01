"""Traces made by hand in the layout of a torch profiler's export, and files of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Event = dict[str, Any]
Write = Callable[..., Path]


def event(category: str, name: str, start: float, length: float, *, thread: int = 1, **args: Any) -> Event:
    """A complete event of `thread`; times in microseconds."""
    return {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": thread, "ts": start, "dur": length, "args": args}


def kernel(name: str, start: float, length: float, correlation: int, category: str = "kernel") -> Event:
    """A kernel of stream 7 of device 0, with the arguments that a profiler writes."""
    args = {"device": 0, "context": 1, "stream": 7, "correlation": correlation, "grid": [1, 1, 1], "block": [128, 1, 1]}
    return {**event(category, name, start, length, thread=7, **args), "pid": 0}


def launch(start: float, correlation: int, *, thread: int = 1, length: float = 4.0) -> Event:
    """The host's launch of a kernel."""
    return event("cuda_runtime", "cudaLaunchKernel", start, length, thread=thread, cbid=211, correlation=correlation)


@pytest.fixture
def trace(tmp_path: Path) -> Write:
    """trace(*events) writes a trace and returns its path."""

    def write(*events: Event, name: str = "trace.json", **header: Any) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({"schemaVersion": 1, **header, "traceEvents": list(events)}), encoding="utf-8")
        return path

    return write
