"""torch's element types as ours."""

from functools import cache

import torch

from modelmeter.core.tensor import BF16, BOOL, FP8, FP16, FP32, INT8, INT64, DType

_SAME = {
    torch.bfloat16: BF16,
    torch.float16: FP16,
    torch.float32: FP32,
    torch.int8: INT8,
    torch.int64: INT64,
    torch.bool: BOOL,
    torch.float8_e4m3fn: FP8,
    torch.float8_e5m2: FP8,
}


@cache
def dtype_of(dtype: torch.dtype) -> DType:
    """The element type: what is not named above has its own name and size, and runs on CUDA cores."""
    return _SAME.get(dtype) or DType(str(dtype).removeprefix("torch."), dtype.itemsize, False)
