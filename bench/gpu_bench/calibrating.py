"""Calibration of the device: best rates seen, what kinds of operators reach of them, the host's time a kernel."""

from collections.abc import Iterator

import attrs

from gpu_bench.bench import Bench, Row
from modelmeter.hardware.roofline import machine_of
from modelmeter.live.calibration.calibrate import Calibrated, calibrate
from modelmeter.live.calibration.write import write_device_file

NAME = "calibration"
FULL_SECONDS = 90.0
"""Less than this left: a few operators only, so that there is a calibration at all."""


def calibration(bench: Bench) -> Iterator[Row]:
    """Calibrates, writes the device file, and has all that was measured predicted with it."""
    quick = bench.quick or bench.budget.left < FULL_SECONDS
    if quick and not bench.quick:
        bench.say("  little time is left: few operators are measured")
    found = calibrate(str(bench.device), quick=quick)
    write_device_file(found, bench.device_file)
    bench.predictions.machine = machine_of(bench.device_file)
    yield _device(bench, found, quick=quick)
    for kind, one in found.fitted.items():
        quality = {"operators": one.operators, "median_error": one.median_error, "worst_error": one.worst_error}
        yield {"name": kind.replace("_", " "), "shares": attrs.asdict(one.efficiency), **quality, "spread": one.spread}


def _device(bench: Bench, found: Calibrated, *, quick: bool) -> Row:
    """Rates and the host's time; of a catalogued device the rates are its data sheet's."""
    device = found.device
    return {
        "name": device.title,
        "file": bench.device_file.name,
        "base": found.base,
        "quick": quick,
        "peaks_flops": dict(device.peaks),
        "bandwidth_bytes": device.bandwidth,
        "host_seconds": attrs.asdict(found.host),
        "provenance": dict(found.provenance),
    }
