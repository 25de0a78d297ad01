"""What a device is and the best rates seen on it: the part of a device file that calibration measures against."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.op import Op
from modelmeter.hardware.catalogue import devices
from modelmeter.hardware.device import Device
from modelmeter.live.calibration.cases import Sample

_CPUINFO: Final = Path("/proc/cpuinfo")
_CACHES: Final = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS: Final = {"K": 2**10, "M": 2**20, "G": 2**30}
_BEYOND: Final = 2
"""What moves at least this many times the last cache's bytes shows the bandwidth of memory."""
_SOME_BYTES: Final = 2**18
"""Less than this shows what a kernel costs to start, not a bandwidth."""


def find_device(name: str) -> torch.device:
    """The device of "cpu", "cuda" or "cuda:N". Raises `ModelMeterError` for others and where there is none."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ModelMeterError(f"--device {name!r} is unknown: choose cpu or cuda:0")
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ModelMeterError(f"--device {name}: torch {torch.__version__} sees no CUDA device: choose cpu")
    index = int(name.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise ModelMeterError(f"--device {name}: there are {torch.cuda.device_count()}, the first is cuda:0")
    return torch.device("cuda", index)


def title_of(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).name
    text = _CPUINFO.read_text(encoding="utf-8") if _CPUINFO.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else "CPU"


def memory_bytes(device: torch.device) -> int:
    """Bytes of memory."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cache_bytes(device: torch.device) -> int | None:
    """Bytes of the last cache that the whole device shares; None where nothing says."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes = []
    for folder in _CACHES.glob("index*"):
        found = re.fullmatch(r"(\d+)([KMG])\s*", (folder / "size").read_text(encoding="utf-8"))
        if found and (folder / "type").read_text(encoding="utf-8").strip() != "Instruction":
            sizes.append(int(found.group(1)) * _UNITS[found.group(2)])
    return max(sizes, default=None)


def catalogued(device: torch.device) -> Device | None:
    """The catalogue's device of the same name and about the same memory: shares are of its data-sheet rates."""
    if device.type != "cuda":
        return None
    words = set(title_of(device).lower().replace("-", " ").split())
    memory = memory_bytes(device)
    alike = [d for d in devices().values() if words <= set(d.title.lower().replace("-", " ").split())]
    near = [d for d in alike if abs(d.memory_bytes / memory - 1) < 0.1]
    return min(near, key=lambda d: len(d.title), default=None)


def measured_device(device: torch.device, samples: Sequence[Sample]) -> Device:
    """The device with the best rates among `samples`: peaks by dtype, bandwidth of memory and of the last cache."""
    cache = cache_bytes(device)
    peaks: dict[str, float] = {}
    for sample in samples:
        if sample.op.kind == "matmul":
            dtype, flops = sample.op.dtype.name, sample.op.numbers[0] + sample.op.numbers[1]
            peaks[dtype] = max(peaks.get(dtype, 0.0), flops / sample.timing.seconds)
    beyond = [s for s in samples if _bytes(s.op) >= _BEYOND * (cache or 0)]
    inside = [s for s in samples if _SOME_BYTES <= _bytes(s.op) <= (cache or 0)]
    bandwidth = max((_bytes(s.op) / s.timing.seconds for s in beyond or samples), default=0.0)
    inside_bandwidth = max((_bytes(s.op) / s.timing.seconds for s in inside), default=bandwidth)
    return Device(
        name="measured",
        title=title_of(device),
        kind="cpu" if device.type == "cpu" else "gpu",
        tensor={} if device.type == "cpu" else {dtype: rate for dtype, rate in peaks.items() if dtype != "fp32"},
        vector=peaks if device.type == "cpu" else {dtype: rate for dtype, rate in peaks.items() if dtype == "fp32"},
        memory_bytes=memory_bytes(device),
        bandwidth=bandwidth,
        l2_bytes=cache,
        l2_bandwidth=max(inside_bandwidth, bandwidth) if cache else None,
    )


def _bytes(op: Op) -> int:
    return int(sum(op.numbers[3:]))


def device_for(device: torch.device, samples: Sequence[Sample]) -> tuple[Device, str | None]:
    """What shares are of: (device, name of its base in the catalogue); measured where it has none there."""
    found = catalogued(device)
    return (measured_device(device, samples), None) if found is None else (found, found.name)


def as_table(device: Device, base: str | None) -> Mapping[str, object]:
    """The fields of a device file. A device with a base takes the rest from there."""
    if base is not None:
        return {"base": base, "title": f"{device.title}, calibrated"}
    table: dict[str, object] = {"title": device.title, "kind": device.kind}
    for units, peaks in (("tensor", device.tensor), ("vector", device.vector)):
        if peaks:
            table[units] = {dtype: f"{rate / 1e9:.6g} GFLOP/s" for dtype, rate in peaks.items()}
    table |= {"memory": f"{device.memory_bytes} B", "bandwidth": f"{device.bandwidth / 1e9:.6g} GB/s"}
    if device.l2_bytes is not None and device.l2_bandwidth is not None:
        table |= {"l2": f"{device.l2_bytes} B", "l2_bandwidth": f"{device.l2_bandwidth / 1e9:.6g} GB/s"}
    return table


def rounded(device: Device) -> Device:
    """With the rates as `as_table` writes them, so that a fit holds for the file that is read back."""

    def six(value: float) -> float:
        return float(f"{value / 1e9:.6g}") * 1e9

    return attrs.evolve(
        device,
        tensor={dtype: six(rate) for dtype, rate in device.tensor.items()},
        vector={dtype: six(rate) for dtype, rate in device.vector.items()},
        bandwidth=six(device.bandwidth),
        l2_bandwidth=None if device.l2_bandwidth is None else six(device.l2_bandwidth),
    )
