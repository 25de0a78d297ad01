"""From a trace and the name of a device to a timeline."""

from pathlib import Path
from typing import TypeAlias, cast

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision, WeightKind
from modelmeter.core.trace import Trace
from modelmeter.hardware.catalogue import get_device
from modelmeter.hardware.device import Device
from modelmeter.hardware.efficiency import Calibration
from modelmeter.hardware.machine import Execution, Machine
from modelmeter.hardware.timeline import Timeline

AnyDevice: TypeAlias = Device | str | Path


def machine_of(
    device: AnyDevice, *files: str | Path, execution: Execution = "eager", host_seconds: float | None = None
) -> Machine:
    """A device (by name, by its file, or itself) with its calibration, if it has one, and how it is run.

    `files` are device files to look in; `host_seconds` replaces the host's time a kernel of eager execution.
    """
    found = get_device(device, *files)
    calibration = None if found.calibration is None else Calibration.from_table(found.calibration, found.name)
    return Machine(device=found, execution=execution, calibration=calibration, given_host_seconds=host_seconds)


def roofline(
    trace: Trace, device: AnyDevice, *, precision: Precision | str | None = None, execution: Execution = "eager"
) -> Timeline:
    """`trace` operator by operator at data-sheet rates; in another `precision` it is recorded again.

    A precision by name ("int4") is that of the weights.
    """
    machine = machine_of(device, execution=execution)
    bare = Machine(device=machine.device, execution=execution)
    return Timeline(_in_precision(trace, precision), bare)


def calibrated(
    trace: Trace, device: AnyDevice, *, precision: Precision | str | None = None, execution: Execution = "eager"
) -> Timeline:
    """`trace` at the rates that kernels reach on a calibrated device. Raises for one that is not."""
    machine = machine_of(device, execution=execution)
    if machine.calibration is None:
        raise ModelMeterError(
            f"device {machine.device.name} is not calibrated: give the file that `modelmeter calibrate` wrote"
        )
    return Timeline(_in_precision(trace, precision), machine)


def _in_precision(trace: Trace, wanted: Precision | str | None) -> Trace:
    if wanted is None:
        return trace
    precision = Precision(weights=cast("WeightKind", wanted)) if isinstance(wanted, str) else wanted
    if trace.retrace is None and precision == Precision():
        return trace
    if trace.retrace is None:
        raise ModelMeterError("only a model's trace can be taken in another precision: build the layer in it")
    return trace.retrace(precision)
