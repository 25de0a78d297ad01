"""The times of a report, taken from those of `time`."""

from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import PageTime, StageTime
from modelmeter.report.model_report.data import DeviceSpecification, PageTimes, RooflinePoint, StageTiming
from modelmeter.report.model_report.metrics import STAGE_NAMES
from modelmeter.report.timing.roofline_plot import roofline_points


def device_specification(machine: Machine) -> DeviceSpecification:
    """The device's rates, and how it is run."""
    device, calibration = machine.device, machine.calibration
    return DeviceSpecification(
        name=device.name,
        title=device.title,
        tensor={dtype: float(rate) for dtype, rate in device.tensor.items()},
        vector={dtype: float(rate) for dtype, rate in device.vector.items()},
        bandwidth=float(device.bandwidth),
        memory_bytes=device.memory_bytes,
        l2_bytes=device.l2_bytes,
        execution=machine.execution,
        host_seconds_per_kernel=float(machine.host_seconds),
        level="roofline" if calibration is None else "calibrated",
        calibration=None if calibration is None else {k: str(v) for k, v in calibration.provenance.items()},
    )


def page_times(time: PageTime) -> PageTimes:
    """The times of one page (of a batch of such pages)."""
    return PageTimes(
        host_seconds=time.host_seconds,
        ttft=time.ttft,
        tpot=time.tpot,
        decode_total=time.decode_total,
        total=time.total,
        tokens_per_second=float(time.tokens_per_second),
        pages_per_second=float(time.pages_per_second),
    )


def stage_timing(stage: StageTime) -> StageTiming:
    """One stage's seconds, and where they go."""
    return StageTiming(
        levels=stage.seconds,
        predicted=stage.timeline.total,
        bound_by=stage.bound_by,
        kernels=float(stage.timeline.launches),
        mfu=float(stage.mfu),
        mbu=float(stage.mbu),
        needed_flops=int(stage.floor.flops),
        compulsory_bytes=int(stage.floor.num_bytes(stage.device)),
        parts=dict(stage.parts),
    )


def roofline(time: PageTime) -> tuple[RooflinePoint, ...]:
    """The stages, then the operators with the largest shares of a stage's time."""
    return tuple(
        RooflinePoint(
            name=point.name,
            stage=next(name for name in STAGE_NAMES if name == point.stage),
            intensity=float(point.intensity),
            rate=float(point.rate),
            share=float(point.share),
            is_stage=place < len(STAGE_NAMES),
        )
        for place, point in enumerate(roofline_points(time))
    )
