"""A device's memory before any page: what the runtime and the weights take, what is set aside, what is left."""

import math
import operator
import re
from fractions import Fraction
from typing import Final, TypeAlias

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.device import Device
from modelmeter.hardware.quantities import BYTES, parse_quantity

KIB: Final = 2**10
MIB: Final = 2**20

CUDA_CONTEXT_BYTES: Final = 500 * MIB
"""Assumed for the context of one process: kernels loaded, driver, stacks; 250 MiB to 1 GiB are met.

256 MiB on an RTX 3090 (invoke-ai/InvokeAI#9413), about 300 and 400 MB with modules loaded lazily, CUDA 11.7 and later
(pytorch/pytorch#107667, #109888), 426 MiB on an RTX 6000 Ada with CUDA 13 (unslothai/unsloth-zoo#1053), beyond 1,000 MB
before. They grow with the kernels used; another figure is an argument of `memory_budget`.
"""

DEFAULT_RESERVE: Final = "10%"
"""About what engines leave by default: vLLM's `gpu_memory_utilization` is 0.92 (0.9 before), TensorRT-LLM's
`free_gpu_memory_fraction` for its cache 0.9."""

Size: TypeAlias = str | int
"""Bytes as an int, or a text with its unit: "500 MiB"."""
Share: TypeAlias = str | int | float
"""A `Size`, or a share of the memory: "10%" or 0.1."""

_PERCENT: Final = re.compile(r"\s*([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)\s*%\s*")
_ZERO: Final = re.compile(r"\s*0+(?:\.0*)?\s*(?:[kMGT]?i?B)?\s*")


@attrs.frozen(kw_only=True)
class MemoryBudget:
    """Bytes of a device's memory: what is taken before the first page, and what is free for pages.

    `free_bytes` is negative where the memory does not hold the weights beside the rest.
    """

    memory_bytes: int
    weights_bytes: int
    context_bytes: int
    workspace_bytes: int
    reserve_bytes: int

    @property
    def free_bytes(self) -> int:
        """For activations and KV cache."""
        return self.memory_bytes - self.reserve_bytes - self.context_bytes - self.workspace_bytes - self.weights_bytes

    @property
    def missing_bytes(self) -> int:
        """What the weights lack; 0 where they fit."""
        return max(0, -self.free_bytes)


def memory_budget(
    device: Device, weights_bytes: int, *, reserve: Share = DEFAULT_RESERVE, cuda_context: Size | None = None
) -> MemoryBudget:
    """The budget of `device` holding `weights_bytes`.

    `reserve` is set aside for what is not counted: the allocator's fragmentation and rounding, other libraries.
    `cuda_context` replaces the assumed `CUDA_CONTEXT_BYTES`. Neither a context nor a workspace is counted on a CPU.
    Raises `ModelMeterError` for what is no size, or a reserve of the whole memory.
    """
    if cuda_context is None:
        context = 0 if device.kind == "cpu" else CUDA_CONTEXT_BYTES
    else:
        context = parse_size(cuda_context, "cuda_context")
    return MemoryBudget(
        memory_bytes=device.memory_bytes,
        weights_bytes=weights_bytes,
        context_bytes=context,
        workspace_bytes=workspace_bytes(device),
        reserve_bytes=parse_reserve(reserve, device.memory_bytes),
    )


def workspace_bytes(device: Device) -> int:
    """The workspace that torch gives the library of matrix products, for one handle and one stream.

    `getChosenWorkspaceSize` in torch's ATen/cuda/CublasHandlePool.cpp: 2 x 4096 KiB + 8 x 16 KiB, 32 MiB on Hopper and
    Blackwell; with ROCm 32 MiB, 128 MiB on CDNA 3 and 4 (gfx94x, gfx95x). Other makers' are taken to be like the first.
    Not counted: a workspace of cuBLASLt's own (at most as much again), those of convolutions.
    """
    architecture = (device.architecture or "").replace(" ", "").lower()
    if device.kind == "cpu":
        return 0
    if device.vendor == "AMD":
        return (128 if architecture.startswith(("cdna3", "cdna4")) else 32) * MIB
    if "hopper" in architecture or "blackwell" in architecture:
        return 32 * MIB
    return 2 * 4096 * KIB + 8 * 16 * KIB


def parse_size(size: Size, name: str) -> int:
    """Whole bytes of "500 MiB", "4GiB" or an int; 0 is a size. Raises `ModelMeterError` naming `name`."""
    if isinstance(size, str):
        return 0 if _ZERO.fullmatch(size) else round(parse_quantity(size, BYTES, name))
    if isinstance(size, bool | float):
        raise ModelMeterError(f'{name}: {size!r} is no size: write bytes like "500 MiB", or a whole number of them')
    number = operator.index(size)
    if number < 0:
        raise ModelMeterError(f"{name}: {number} is less than zero: give 0 bytes or more")
    return number


def parse_reserve(reserve: Share, memory_bytes: int) -> int:
    """Whole bytes of a share of the memory ("10%" or 0.1, rounded up) or of a size ("4 GiB", an int).

    Raises `ModelMeterError` for a share outside 0 to 100%, or a size that leaves nothing.
    """
    text = _PERCENT.fullmatch(reserve) if isinstance(reserve, str) else None
    if text or isinstance(reserve, float):
        share = Fraction(text[1]) / 100 if text else _fraction(reserve)
        if not 0 <= share < 1:
            raise ModelMeterError(f"reserve: {reserve} is no share of the memory: give 0% or more, and less than 100%")
        return math.ceil(share * memory_bytes)
    size = parse_size(reserve, "reserve")
    if size >= memory_bytes:
        raise ModelMeterError(
            f"reserve: {reserve} is all of the memory ({memory_bytes / 2**30:.1f} GiB) or more: give less, or a share "
            "such as 10%"
        )
    return size


def _fraction(share: Share) -> Fraction:
    """A float as the decimal number that it is written as."""
    if not math.isfinite(float(share)):
        raise ModelMeterError(f"reserve: {share} is no share of the memory: give a number from 0 to 1")
    return Fraction(repr(float(share)))
