"""Tensors that have a shape, a dtype and a role, but no data."""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from modelmeter.core.dims import Dim, same, size_of
from modelmeter.core.errors import ModelMeterError

Role: TypeAlias = Literal["activation", "weight", "kv"]
Shape: TypeAlias = tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class DType:
    """An element type: its size in bytes, and whether a matmul in it runs on tensor cores."""

    name: str
    itemsize: int
    on_tensor_cores: bool


BF16 = DType("bf16", 2, True)
FP16 = DType("fp16", 2, True)
FP8 = DType("fp8", 1, True)
INT8 = DType("int8", 1, True)
FP32 = DType("fp32", 4, False)
INT32 = DType("int32", 4, False)
INT64 = DType("int64", 8, False)
BOOL = DType("bool", 1, False)


class Ledger(Protocol):
    """What hears of memory given back."""

    def freed(self, num_bytes: Dim) -> None:
        """`num_bytes` are free again."""


class Storage:
    """Memory that views share. Its end of life is what frees it, as in CPython the real tensor's does."""

    __slots__ = ("base", "nbytes", "recorder", "saved")

    def __init__(self, recorder: Ledger, nbytes: Dim, base: "Storage | None" = None) -> None:
        self.recorder = recorder
        self.nbytes = nbytes
        self.saved = False
        self.base = base  # memory shared with the source of a copy that some sizes do not make

    def held(self) -> Dim:
        """Bytes of this and of what it shares."""
        return self.nbytes if self.base is None else self.nbytes + self.base.held()

    def __del__(self) -> None:
        self.recorder.freed(self.nbytes)


class Tensor:
    """A shape, a dtype and a role. `storage` is None for weights and the KV cache: they are resident, not temporary.

    A copy of cached values that some sizes do not make has the role "kv" and a storage: `cached` is 1 at the sizes at
    which it is the cache itself, 0 where it is an activation. No other tensor has that attribute.
    `nbytes` is given where values are stored otherwise than one by one in the dtype (a quantised weight).
    """

    __slots__ = ("_nbytes", "_numel", "cached", "dtype", "needs_grad", "role", "shape", "storage")

    cached: Dim

    def __init__(
        self,
        shape: Shape,
        dtype: DType,
        role: Role = "activation",
        storage: Storage | None = None,
        needs_grad: bool = False,
        nbytes: Dim = None,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.role = role
        self.storage = storage
        self.needs_grad = needs_grad
        self._numel: Dim = None
        self._nbytes = nbytes

    @property
    def numel(self) -> Dim:
        """Number of elements."""
        if self._numel is None:
            self._numel = size_of(self.shape, 1)
        return self._numel

    @property
    def nbytes(self) -> Dim:
        """Bytes of this view (a slice is charged its own size)."""
        if self._nbytes is None:
            if self._numel is None:
                self._numel = size_of(self.shape, 1)
            whole, itemsize = self._numel, self.dtype.itemsize
            self._nbytes = whole * itemsize if type(whole) is int else size_of(self.shape, itemsize)
        return self._nbytes

    def view(self, *shape: Dim) -> "Tensor":
        """The same elements in another shape or order of axes; free. Raises when the numbers of elements differ."""
        out = self.narrow(*shape)
        if type(self.numel) is int and type(out.numel) is int:
            if self.numel != out.numel:
                raise ModelMeterError(f"cannot view {_show(self.shape)} as {_show(shape)}: {self.numel} != {out.numel}")
        else:
            out._numel = self._numel
        return out

    def narrow(self, *shape: Dim) -> "Tensor":
        """A part of this tensor (a slice, one of several chunks); free."""
        out = Tensor(shape, self.dtype, self.role, self.storage, self.needs_grad)
        if self.role == "kv" and self.storage is not None:
            out.cached = self.cached
        return out

    def __repr__(self) -> str:
        return f"Tensor({_show(self.shape)}, {self.dtype.name}, {self.role})"


def check_last_dim(x: Tensor, expected: int, what: str) -> None:
    """Raise unless the last axis of `x` has `expected` elements."""
    if not same(x.shape[-1], expected):
        raise ModelMeterError(f"{what} takes [... {expected}], not {_show(x.shape)}")


def _show(shape: Shape) -> str:
    return "[" + " ".join(str(dim) for dim in shape) + "]"
