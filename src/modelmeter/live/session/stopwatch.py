"""Seconds of a pass from an idle device to an idle device, and of the vision parts inside it."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Protocol

import attrs
import torch

from modelmeter.live.reference.hook_points import HookPoints

PARTS: Final = ("sam", "clip", "projector")
VISION: Final = "vision"


class Ranges(Protocol):
    """Named ranges that nest."""

    def range_push(self, msg: str) -> Any:
        """Open one."""

    def range_pop(self) -> Any:
        """Close the one opened last."""


class ProfilerRanges:
    """Ranges as torch's profiler records them (`record_function`), and as NVTX on CUDA, where `nvtx` is torch's."""

    def __init__(self, nvtx: Ranges | None = None) -> None:
        self._nvtx = nvtx
        self._open: list[Any] = []

    def range_push(self, msg: str) -> None:
        """Open one."""
        if self._nvtx is not None:
            self._nvtx.range_push(msg)
        self._open.append(torch.profiler.record_function(msg))
        self._open[-1].__enter__()

    def range_pop(self) -> None:
        """Close the one opened last."""
        self._open.pop().__exit__(None, None, None)
        if self._nvtx is not None:
            self._nvtx.range_pop()


def ranges_of(device: torch.device) -> Ranges:
    """The profiler's, and NVTX's on CUDA."""
    nvtx: Any = torch.cuda.nvtx
    return ProfilerRanges(nvtx if device.type == "cuda" else None)


@contextmanager
def named_range(ranges: Ranges, name: str) -> Iterator[None]:
    """A range around what runs in here."""
    ranges.range_push(name)
    try:
        yield
    finally:
        ranges.range_pop()


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@attrs.frozen
class _Span:
    """Where a call began and ended: two device events, or two seconds of the host's clock."""

    begin: Any
    end: Any


class PartClock:
    """When sam, clip and projector run inside a prefill: device events on CUDA, the host's clock without; no waiting.

    Vision is from SAM's first start to the end of the projector's last call, of which there are `projector_calls`;
    what comes between (joining features) is in it, laying them out among the text is not. The same hooks open and
    close the ranges.
    """

    def __init__(self, points: HookPoints, device: torch.device, ranges: Ranges, projector_calls: int) -> None:
        self._modules = {"sam": points.sam, "clip": points.clip, "projector": points.projector}
        self._ranges = ranges
        self._device = device
        self._projector_calls = projector_calls
        self._spans: dict[str, list[_Span]] = {name: [] for name in (*PARTS, VISION)}
        self._open: list[tuple[str, Any]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this runs, calls are marked. What an error left open is closed."""
        with ExitStack() as stack:
            if self._projector_calls:
                for name, module in self._modules.items():
                    stack.callback(module.register_forward_pre_hook(self._before(name)).remove)
                    stack.callback(module.register_forward_hook(self._after(name)).remove)
            try:
                yield
            finally:
                while self._open:
                    self._close()

    def seconds(self) -> dict[str, float]:
        """Seconds of each part, all its calls together, and of vision; empty without images. Call it when all is done.

        Device events need no waiting then.
        """
        return {name: sum(map(self._between, spans)) for name, spans in self._spans.items() if spans}

    def _before(self, name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if name == PARTS[0] and not self._open:
                self._begin(VISION)
            self._begin(name)

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            self._close()
            if name == PARTS[-1] and len(self._spans[name]) == self._projector_calls:
                self._close()

        return hook

    def _begin(self, name: str) -> None:
        self._ranges.range_push(name)
        self._open.append((name, self._mark()))

    def _close(self) -> None:
        name, begin = self._open.pop()
        self._spans[name].append(_Span(begin, self._mark()))
        self._ranges.range_pop()

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _between(self, span: _Span) -> float:
        if self._device.type != "cuda":
            return float(span.end - span.begin)
        return float(span.begin.elapsed_time(span.end)) / 1e3
