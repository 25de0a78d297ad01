"""A case to measure: a kernel to call, and the operator that prices it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import torch

from modelmeter.core.op import Op
from modelmeter.core.recorder import Recorder, RecordOptions, record
from modelmeter.core.trace import Trace
from modelmeter.hardware.efficiency import OperatorClass, class_of
from modelmeter.live.calibration.clock import Clock, Run, Timing

BF16: Final = torch.bfloat16
_STEP: Final = 4096  # elements; views begin at whole pages


class Pool:
    """Random numbers on a device, handed out as views: inputs without the time of making them.

    `take` goes through the pool: what comes back after `num_bytes` has left the caches.
    """

    def __init__(self, device: torch.device, num_bytes: int) -> None:
        self.device = device
        generator = torch.Generator(device).manual_seed(0)
        self._pools = {
            dtype: torch.randn(num_bytes // dtype.itemsize, dtype=dtype, device=device, generator=generator)
            for dtype in (BF16, torch.float32)
        }
        self._next = dict.fromkeys(self._pools, 0)

    def take(self, *shape: int, dtype: torch.dtype = BF16) -> torch.Tensor:
        """The next numbers, in this shape."""
        pool, size = self._pools[dtype], math.prod(shape)
        if size > pool.numel():
            raise ValueError(f"the pool holds {pool.numel()} numbers, not {size}")
        start = self._next[dtype]
        if start + size > pool.numel():
            start = 0
        self._next[dtype] = -(-(start + size) // _STEP) * _STEP
        return pool[start : start + size].view(shape)


@attrs.frozen(kw_only=True)
class Case:
    """A kernel: `prepare` makes its inputs and gives the call; `op` is how the analytic model sees it."""

    name: str
    op: Op
    prepare: Callable[[Pool], Run]

    @property
    def kind(self) -> OperatorClass:
        """The class of its operator."""
        return class_of(self.op)


@attrs.frozen(kw_only=True)
class Sample:
    """A measured case: seconds of one call."""

    name: str
    op: Op
    timing: Timing

    @property
    def kind(self) -> OperatorClass:
        """The class of its operator."""
        return class_of(self.op)


def priced(run: Callable[[Recorder], Any]) -> Op:
    """The operator that `run` records: exactly one, but for allocations."""
    found = [op for _, op in Trace(record(run, RecordOptions())).operators() if any(op.numbers)]
    if len(found) != 1:
        raise ValueError(f"a case is one operator, not {found}")
    return found[0]


def measure(
    cases: Sequence[Case], clock: Clock, pool: Pool, *, rounds: int, seconds: float, say: Callable[[str], None]
) -> list[Sample]:
    """Every case in each of `rounds`, for `seconds` a case and round: a disturbance touches one round of a case."""
    found: list[list[float]] = [[] for _ in cases]
    for number in range(rounds):
        for case, times in zip(cases, found, strict=True):
            say(f"round {number + 1} of {rounds}: {case.kind}, {case.name}")
            times.extend(clock.sample(case.prepare(pool), seconds))
    return [Sample(name=c.name, op=c.op, timing=Timing.of(times)) for c, times in zip(cases, found, strict=True)]
