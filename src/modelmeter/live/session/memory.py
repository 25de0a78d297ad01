"""Memory: what a device has free, whether a run fits it, and what a run took at its fullest."""

import os
from pathlib import Path
from typing import Final

import attrs
import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.core.units import to_gib
from modelmeter.hardware.fit import workloads
from modelmeter.hardware.memory import DEFAULT_RESERVE, KIB, MIB, MemoryBudget, parse_reserve
from modelmeter.hardware.needs import Needs
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan

WORKSPACE_BYTES: Final = 32 * MIB
"""Of the library of matrix products on CUDA, the most that torch gives it there (`hardware.memory.workspace_bytes`)."""
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUPS: Final = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Folder, limit, use, and the use that is given back on demand: version 2, version 1 (the kernel's documentation)."""


class NotEnoughMemory(ModelMeterError):
    """A device has too little free memory for the weights, or for a run; the message says how much and what to do."""


@attrs.frozen(kw_only=True)
class Room:
    """Bytes of a run: weights still to load (0 when loaded), the most of activations and cache, and what is free.

    `free_bytes` is what is left for both once a tenth is set aside, as in `fit`, and on CUDA the workspace.
    """

    weights_bytes: int
    run_bytes: int
    free_bytes: int

    @property
    def fits(self) -> bool:
        """Whether all of it fits."""
        return self.weights_bytes + self.run_bytes <= self.free_bytes


def check_room(
    config: DeepseekOCRConfig,
    conventions: Conventions,
    device: torch.device,
    *,
    precision: Precision | None = None,
    context_len: int,
    views: ViewPlan | None = None,
    batch_size: int = 1,
    decode_tokens: int = 0,
    loaded: bool = True,
) -> Room:
    """What `batch_size` sequences of `context_len` tokens take, by the analytic model as in `fit`, beside what is free.

    Unless `loaded` the weights come on top. The analytic peak is that of tensors: what kernels allocate inside, and on
    a CPU copies in other layouts, is in the tenth that is set aside. Raises `NotEnoughMemory` where it does not fit.
    """
    model = DeepseekOCRModel.from_config(config, precision=precision, **attrs.asdict(conventions))
    (work,) = workloads(views, context_len=context_len, decode_tokens=decode_tokens)
    free = free_bytes(device)
    budget = MemoryBudget(
        memory_bytes=free,
        weights_bytes=0,
        context_bytes=0,  # a CUDA context is there already: asking for free memory makes one
        workspace_bytes=WORKSPACE_BYTES if device.type == "cuda" else 0,
        reserve_bytes=parse_reserve(DEFAULT_RESERVE, free),
    )
    room = Room(
        weights_bytes=0 if loaded else model.parameter_bytes(),
        run_bytes=Needs(model.engine, work).peak_bytes("run", batch_size),
        free_bytes=max(0, budget.free_bytes),
    )
    if not room.fits:
        raise NotEnoughMemory(_message(room, device, free, batch_size, context_len))
    return room


def check_host_room(weights_bytes: int) -> None:
    """Raises `NotEnoughMemory` where the host cannot hold the weights on their way to a device."""
    free = free_bytes(torch.device("cpu"))
    if weights_bytes > free:
        raise NotEnoughMemory(
            f"the weights take {_gib(weights_bytes)} of the host's memory on their way to the device, {_gib(free)} are "
            "free: end other programs"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on CUDA (a class of its own) or the host (what torch's allocator says there)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


def free_bytes(device: torch.device) -> int:
    """Memory of `device` that is free now. On CUDA what no process holds, and what torch's allocator keeps unused.

    On the host it is Linux's MemAvailable, less where a control group allows less; elsewhere all memory there is, as
    nothing tells what is free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if not _MEMINFO.is_file():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([_kib(_MEMINFO, "MemAvailable") * KIB, *_allowed()])


def _kib(file: Path, field: str) -> int:
    """A field of a file of /proc, in KiB as it says "kB"."""
    fields = dict(line.split(":", 1) for line in file.read_text().splitlines())
    return int(fields[field].split()[0])


def _allowed() -> list[int]:
    """What this process's control group still allows, where one limits it."""
    for folder, limit, used, given_back in _CGROUPS:
        try:
            most, now = int((folder / limit).read_text()), int((folder / used).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return [max(0, most - now + int(stat[given_back]))]
        except (OSError, KeyError, ValueError):  # not this version, or "max": no limit
            continue
    return []


def _message(room: Room, device: torch.device, free: int, batch_size: int, context_len: int) -> str:
    parts = f"activations and KV cache of {batch_size} x {context_len} tokens {_gib(room.run_bytes)}"
    if room.weights_bytes:
        parts = f"weights {_gib(room.weights_bytes)}, {parts}"
        remedy = "free memory there, take another device, or random weights with fewer decoder layers (layers=2)"
    else:
        remedy = "give a smaller batch or a shorter context, or take attention='flash', which keeps no scores"
    return (
        f"too little memory on {device}: {_gib(room.weights_bytes + room.run_bytes)} are needed ({parts}), "
        f"{_gib(room.free_bytes)} of the {_gib(free)} free can be used (a tenth is set aside): {remedy}"
    )


def _gib(number: int) -> str:
    return f"{to_gib(number):.2f} GiB"


class PeakMemory:
    """The most memory taken since `start()`: torch's allocator on CUDA, the resident set of the process on Linux.

    `bytes()` is None where it cannot be known. Starting resets the figure of the whole process (`VmHWM`).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known = False

    def start(self) -> None:
        """From now on."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # man 5 proc: resets the peak resident set
            self._known = True
        except OSError:
            self._known = False

    def bytes(self) -> int | None:
        """The most since then."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if not self._known:
            return None
        return _kib(Path("/proc/self/status"), "VmHWM") * KIB
