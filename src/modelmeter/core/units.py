"""The only place that knows 1e12, 8 bits and 2**30. Inside, FLOPs and bytes are whole numbers."""

from modelmeter.core.dims import Dim

FLOPS_PER_TFLOP = 10**12
BITS_PER_BYTE = 8
BITS_PER_TERABIT = 10**12
BYTES_PER_GIB = 2**30


def to_tflops(flops: Dim) -> Dim:
    """FLOPs -> 1e12 FLOPs (a multiply-add is 2)."""
    return flops / FLOPS_PER_TFLOP


def to_terabits(num_bytes: Dim) -> Dim:
    """Bytes -> terabits (bytes * 8 / 1e12)."""
    return num_bytes / (BITS_PER_TERABIT // BITS_PER_BYTE)  # dividing cannot overflow an array


def to_gib(num_bytes: Dim) -> Dim:
    """Bytes -> GiB (bytes / 2**30)."""
    return num_bytes / BYTES_PER_GIB
