"""Devices as plain data (schema `modelmeter.devices/1`) and as tables."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.hardware.device import Device
from modelmeter.report import units
from modelmeter.report.grid import Table, console_for, print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "modelmeter.devices/1"
_UNVERIFIED = "*"
_COLUMNS = ("device", "memory", "band-\nwidth", "bf16 or\nfp16", "fp8", "fp32\nvector", "L2", "SMs", "TDP,\nW")
_NOTES = (
    "Peaks are dense, in FLOP/s, with fp32 accumulation; bf16 where a device has it, else fp16.",
    f"{_UNVERIFIED} not read in the document it is from. `modelmeter devices NAME` names the document of each value.",
)


def devices_data(devices: Sequence[Device]) -> dict[str, Any]:
    """The devices as dicts, lists, strings and numbers: FLOP/s, bytes, bytes/s, watts, seconds."""
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "devices": [_device(device) for device in devices],
    }


def to_json(devices: Sequence[Device]) -> str:
    """`devices_data` as JSON text."""
    return json.dumps(devices_data(devices), indent=1, ensure_ascii=False) + "\n"


def devices_table(devices: Sequence[Device]) -> Table:
    """A row for each device."""
    return Table(title="Devices", columns=_COLUMNS, rows=tuple(_row(device) for device in devices))


def sheet(device: Device) -> Table:
    """A row for each value of a device that is known, with its source."""
    rows = []
    for field, value in device.numbers.items():
        sourced = field.removesuffix(".bandwidth")  # a link's name and bandwidth are of one document
        read = "yes" if sourced in device.verified else "no"
        rows.append((_label(field, device), _written(field, value), device.sources.get(sourced, ""), read))
    return Table(
        title=f"{device.name}: {device.title}",
        columns=("value", "", "source", "read there"),
        rows=tuple(rows),
        text_columns=4,
    )


def print_devices(devices: Sequence[Device], console: "Console | None" = None) -> None:
    """Print the table of devices, and what it means."""
    console = console_for(console)
    print_table(console, devices_table(devices))
    for note in _NOTES:
        print_line(console, note)


def print_sheets(devices: Sequence[Device], console: "Console | None" = None) -> None:
    """Print every value of each device."""
    console = console_for(console)
    for device in devices:
        print_table(console, sheet(device))
        about = [part for part in (device.vendor, device.architecture, device.kind) if part is not None]
        print_line(console, ", ".join(about))
        if device.note is not None:
            print_line(console, device.note)


def _device(device: Device) -> dict[str, Any]:
    link = device.link
    return {
        "name": device.name,
        "title": device.title,
        "vendor": device.vendor,
        "architecture": device.architecture,
        "kind": device.kind,
        "peaks": device.peaks,
        "tensor": dict(device.tensor),
        "vector": dict(device.vector),
        "memory_bytes": device.memory_bytes,
        "bandwidth": device.bandwidth,
        "l2_bytes": device.l2_bytes,
        "l2_bandwidth": device.l2_bandwidth,
        "multiprocessors": device.multiprocessors,
        "link": None if link is None else {"name": link.name, "bandwidth": link.bandwidth},
        "power_watts": device.power_watts,
        "launch_seconds": device.launch_seconds,
        "note": device.note,
        "sources": dict(device.sources),
        "verified": sorted(device.verified),
        "calibrated": device.calibration is not None,
    }


def _row(device: Device) -> tuple[str, ...]:
    half = "bf16" if "bf16" in device.peaks else "fp16"
    rates = [_peak(half, device), _peak("fp8", device), "vector.fp32"]
    fields = ["memory_bytes", "bandwidth", *rates, "l2_bytes", "multiprocessors"]
    power = _cell(device, "power_watts").replace(" W", "")  # the column says so
    return (device.name, *[_cell(device, field) for field in fields], power)


def _peak(dtype: str, device: Device) -> str:
    """The field of the larger rate."""
    return f"tensor.{dtype}" if device.tensor.get(dtype) == device.peaks.get(dtype) else f"vector.{dtype}"


def _cell(device: Device, field: str) -> str:
    value = device.numbers.get(field)
    if value is None:
        return ""
    return _written(field, value) + ("" if field in device.verified else _UNVERIFIED)


def _written(field: str, value: float) -> str:
    """A value in the unit of its field."""
    if field.endswith("bandwidth"):
        return f"{units.flops(value)}B/s"  # the same decimal prefixes
    if field.endswith("bytes"):
        return _capacity(int(value))
    if field == "power_watts":
        return f"{value:g} W"
    if field == "launch_seconds":
        return f"{value * 1e6:.3g} us"
    return f"{value}" if field == "multiprocessors" else units.flops(value)


def _capacity(num_bytes: int) -> str:
    """Bytes in the unit in which they are a whole number, as data sheets print them: 141 GB, 50 MiB."""
    for factor, unit in ((10**9, "GB"), (2**30, "GiB"), (2**20, "MiB")):
        if num_bytes % factor == 0:
            return f"{num_bytes // factor} {unit}"
    return units.size(num_bytes)


def _label(field: str, device: Device) -> str:
    group, _, dtype = field.partition(".")
    if group == "link" and device.link is not None:
        return f"link, {device.link.name}"
    unit = "OP/s" if dtype == "int8" else "FLOP/s"
    return f"{dtype} {group}, {unit}" if dtype else _LABELS[field]


_LABELS = {
    "memory_bytes": "memory",
    "bandwidth": "memory bandwidth",
    "l2_bytes": "last shared cache (L2)",
    "l2_bandwidth": "L2 bandwidth",
    "multiprocessors": "multiprocessors",
    "power_watts": "power (TDP)",
    "launch_seconds": "launch of a kernel",
}
