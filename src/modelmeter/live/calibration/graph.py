"""A call captured as a CUDA graph: the device's part of it, without the host's."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import torch

from modelmeter.core.errors import ModelMeterError

_SAME = 0.05  # of the norm: bf16 sums in another order, a router's near tie among them

_FAILED: Final[list[torch.cuda.CUDAGraph]] = []
"""Graphs whose capture failed: torch's allocator goes on asking them whether they are capturing."""


@contextmanager
def capturing(graph: torch.cuda.CUDAGraph) -> Iterator[None]:
    """`torch.cuda.graph` that leaves a usable device when the capture fails. Raises what that raises.

    torch (2.11 to 2.13) then stays on the capture's stream, and its random numbers fail from there on: a capture that
    ends well brings them back.
    """
    before = torch.cuda.current_stream()
    try:
        with _no_collection(), torch.cuda.graph(graph):
            yield
    except RuntimeError:
        _FAILED.append(graph)
        with suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph()):
            torch.zeros(1, device=before.device)
        torch.cuda.set_stream(before)
        raise


@contextmanager
def _no_collection() -> Iterator[None]:
    """While this runs Python collects no garbage: an old graph among it ends a capture (pytorch/pytorch#161037)."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def captured(
    step: Callable[[], torch.Tensor], warm_up: Callable[[], torch.Tensor], device: torch.device
) -> tuple[Callable[[], None], torch.Tensor]:
    """(replay, its result) of `step`: each replay reads and writes the same memory.

    `warm_up` runs before the capture, on a stream of its own, so that libraries have initialised themselves. Whatever
    `step` reads has to be kept alive as long as it is replayed. Raises `ModelMeterError` where there is no CUDA, or
    where the step waits for the device.
    """
    if device.type != "cuda":
        raise ModelMeterError("a CUDA graph needs a CUDA device")
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        warm_up()
    torch.cuda.current_stream(device).wait_stream(side)
    try:
        with capturing(graph):
            result = step()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ModelMeterError(f"a decode step cannot be captured as a CUDA graph: {reason}") from error
    return graph.replay, result


def check_same(replayed: torch.Tensor, eager: torch.Tensor) -> None:
    """Raises `ModelMeterError` where a replay has other results than the step itself: then it is no valid step."""
    distance = (replayed.float() - eager.float()).norm()
    if not distance <= _SAME * eager.float().norm():  # NaN is no number up to a bound
        raise ModelMeterError("a replayed decode step gives other logits than the step itself: its time means nothing")
