"""Seconds of the host a kernel: what Python, torch's dispatch and the modules' code take beside the kernels."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Final

import attrs
import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.device import Device
from modelmeter.hardware.efficiency import Calibration, Efficiency
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.timeline import Timeline
from modelmeter.live.calibration.cases import Pool
from modelmeter.live.calibration.clock import Clock
from modelmeter.live.installed import check_import
from modelmeter.live.reference.choose import check_transformers, quietly

_CODE: Final = "transformers.models.unlimited_ocr.modeling_unlimited_ocr"
READ_BYTES: Final = 4 << 20
STEPS: Final = ((1, 24), (1, 200), (3, 40))
"""(batch, context) before decode steps of a model so small that the host is most of their time."""


@attrs.frozen
class HostTime:
    """Host seconds a kernel, what they were measured on, and the lowest and highest of its steps."""

    seconds: float
    measured_on: str
    low: float
    high: float


def host_time(
    clock: Clock, device: Device, classes: Mapping[str, Efficiency], pool: Pool, *, repeats: int = 25
) -> HostTime:
    """Of the real model's code where transformers has it and can be imported, else of a single module."""
    try:
        check_transformers()
        check_import(_CODE, "pip install transformers")
    except ModelMeterError:
        return _module_time(clock, repeats)
    calibration = Calibration(classes=classes, host_seconds=0.0)
    machine = Machine(device=attrs.evolve(device, calibration={}), execution="graph", calibration=calibration)
    with quietly():
        found = list(_small_model_times(clock, machine, pool, repeats))
    return HostTime(statistics.median(found), "a model of 4 narrow layers", min(found), max(found))


def _module_time(clock: Clock, repeats: int) -> HostTime:
    module = torch.nn.Linear(8, 8, device=clock.device)
    x = torch.zeros(1, 8, device=clock.device)
    times = [clock.stage(lambda: module(x)) for _ in range(2 + repeats)][2:]
    return HostTime(statistics.median(times), "one linear module", min(times), max(times))


def _small_model_times(clock: Clock, machine: Machine, pool: Pool, repeats: int) -> Iterator[float]:
    """Seconds a kernel of each step: beside the kernels where the host waits for them, else of the whole."""
    from modelmeter.live.calibration.stages import Stages
    from modelmeter.live.verification.real_run import SMALL

    stages = Stages(SMALL, clock)
    reads = _Reads(stages.model, pool) if machine.synchronous else None
    for batch, context in STEPS:
        run = stages.decode(batch, context, repeats)
        timeline = Timeline(run.twin.trace(), machine)
        beside = 0.0 if reads is None else float(timeline.seconds) + reads.seconds(clock, repeats)
        yield max(0.0, run.timing.seconds - beside) / float(timeline.launches)


class _Reads:
    """Before each linear layer some megabytes are read, as the weights of a large one would be: they drive Python's
    own data out of the caches, without which it runs several times faster than beside a real model.
    """

    def __init__(self, model: torch.nn.Module, pool: Pool) -> None:
        decoder = model.get_submodule("model.language_model")
        layers = [module for module in decoder.modules() if isinstance(module, torch.nn.Linear)]
        self._number = len(layers)
        self._read = lambda: pool.take(READ_BYTES // 2).sum()
        for layer in layers:
            layer.register_forward_pre_hook(lambda *_: self._once())

    def _once(self) -> None:
        self._read()

    def seconds(self, clock: Clock, repeats: int) -> float:
        """Seconds of the reads of one forward pass, by themselves."""
        times = [clock.stage(lambda: [self._read() for _ in range(self._number)]) for _ in range(1 + repeats)][1:]
        return statistics.median(times)
