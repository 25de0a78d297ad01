"""The operators layers are written with, by their aten names. Each states its shapes and calls one pricing rule."""

from collections.abc import Sequence

from modelmeter.core.conventions import FLOPS_PER_ELEMENT
from modelmeter.core.dims import Dim, exact_div, floor_div, prod, same, same_shape
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.op import Op
from modelmeter.core.precision import NO_BACKWARD
from modelmeter.core.pricing import elementwise, matmul, move
from modelmeter.core.recorder import current
from modelmeter.core.tensor import FP32, INT64, DType, Role, Shape, Tensor, check_last_dim

__all__ = [
    "binary",
    "bmm",
    "broadcast",
    "cast",
    "cat",
    "clone",
    "conv2d",
    "dequantize",
    "elementwise",
    "empty",
    "fill",
    "gather",
    "grouped_linear",
    "index_add",
    "layer_norm",
    "linear",
    "matmul",
    "move",
    "quantize",
    "quantize_rows",
    "reduce",
    "resize",
    "softmax",
    "sort",
    "sync",
    "topk",
    "unary",
]

_SAVES: dict[str, tuple[int, ...]] = {
    "pow": (0,),
    "silu": (0,),
    "gelu": (0,),
    "native_layer_norm": (0,),
}
"""Inputs that an operator's backward needs (torch's derivatives.yaml); the others need none."""
_SAVES_OUTPUT = frozenset({"_softmax", "sigmoid", "sqrt", "rsqrt"})


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, role: Role = "activation", *, scales: Tensor | None = None
) -> Tensor:
    """[... k] x [n k] -> [... n]: mm, or addmm with a bias. 2 * rows * k * n FLOPs; the bias has none, as in torch.

    A quantised `x` comes with its `scales`.
    """
    n, k = weight.shape
    check_last_dim(x, k, "linear")
    rows = prod(x.shape[:-1])
    name = "mm" if bias is None else "addmm"
    return matmul(name, x, weight, (*x.shape[:-1], n), 2 * k * n * rows, extra=bias, scales=scales, role=role)


def bmm(a: Tensor, b: Tensor, *, needed_flops: Dim = None) -> Tensor:
    """[... m k] x [... k n] -> [... m n], 2 * batch * m * k * n FLOPs.

    `needed_flops` is what the cores do where a mask leaves some out (a counter still sees all).
    """
    *batch, m, k = a.shape
    if not same(b.shape[-2], k):
        raise ModelMeterError(f"bmm: inner sizes differ, {a!r} x {b!r}")
    n = b.shape[-1]
    return matmul("bmm", a, b, (*batch, m, n), prod((2, *batch, m, k, n)), needed_flops=needed_flops)


def grouped_linear(
    x: Tensor,
    weight: Tensor,
    read_bytes: Dim,
    offsets: Tensor | None = None,
    *,
    groups: Dim = 1,
    scales: Tensor | None = None,
) -> Tensor:
    """[r k] x [E n k] -> [r n], each row by one of E experts: 2 * r * k * n FLOPs, `read_bytes` of the weights.

    `groups` experts have rows. A grouped kernel also reads the `offsets` [E] at which the experts' rows end; a
    quantised `x` comes with its `scales`.
    """
    _, n, k = weight.shape
    check_last_dim(x, k, "grouped_linear")
    rows = x.shape[0]
    flops, out_shape = 2 * k * n * rows, (rows, n)
    return matmul(
        "mm", x, weight, out_shape, flops, extra=offsets, scales=scales, b_read_bytes=read_bytes, groups=groups
    )


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0) -> Tensor:
    """[b c h w] * [o c kh kw] -> [b o h' w'], 2 * b * o * h' * w' * c * kh * kw FLOPs (padding counts as work)."""
    batch, channels, height, width = x.shape
    out_channels, in_channels, kernel_h, kernel_w = weight.shape
    if not same(channels, in_channels):
        raise ModelMeterError(f"conv2d takes {in_channels} channels, not {channels}")
    out_h = _conv_side(height, kernel_h, stride, padding)
    out_w = _conv_side(width, kernel_w, stride, padding)
    out_shape = (batch, out_channels, out_h, out_w)
    flops = prod((2 * in_channels * kernel_h * kernel_w, *out_shape))
    return matmul("convolution", x, weight, out_shape, flops, extra=bias)


def _conv_side(side: Dim, kernel: int, stride: int, padding: int) -> Dim:
    if kernel == stride and padding == 0:
        return exact_div(side, stride, "image side")
    return floor_div(side + (2 * padding - kernel), stride) + 1


def unary(name: str, x: Tensor, *, dtype: DType | None = None) -> Tensor:
    """[...] -> [...]: an elementwise function of one tensor, or of a tensor and a number."""
    flops = _flops(name, x.numel)
    return elementwise(
        name, (x,), x.shape, dtype or x.dtype, flops, saves=_SAVES.get(name, ()), saves_output=name in _SAVES_OUTPUT
    )[0]


def binary(
    name: str,
    a: Tensor,
    b: Tensor,
    *,
    dtype: DType | None = None,
    into: Tensor | None = None,
    role: Role = "activation",
) -> Tensor:
    """[...] op [...] -> broadcast of the two, in the dtype of `a` unless given. Each is read once at its own size."""
    shape = broadcast(a.shape, b.shape)
    numel = a.numel if shape is a.shape else b.numel if shape is b.shape else prod(shape)
    flops = _flops(name, numel)
    saves = _factors(name, a, b)
    return elementwise(name, (a, b), shape, dtype or a.dtype, flops, saves=saves, into=into, role=role)[0]


def broadcast(a: Shape, b: Shape) -> Shape:
    """The shape of two tensors together: sides are equal or 1. Returns `a` or `b` itself where it covers the other."""
    if same_shape(a, b):
        return a
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    tail = long[len(long) - len(short) :]
    sides = [y if same(x, 1) else x for x, y in zip(tail, short, strict=True)]
    for x, y, side in zip(tail, short, sides, strict=True):
        if not (side is x or side is y) or not (same(y, side) or same(y, 1)):
            raise ModelMeterError(f"shapes {a} and {b} do not broadcast")
    shape = (*long[: len(long) - len(short)], *sides)
    for given in (a, b):
        if len(given) == len(shape) and all(x is y or same(x, y) for x, y in zip(given, shape, strict=True)):
            return given
    return shape


def reduce(name: str, x: Tensor, shape: Shape, *, dtype: DType | None = None) -> Tensor:
    """[...] -> `shape`: a sum, mean or maximum; its FLOPs are those of the elements read."""
    return elementwise(name, (x,), shape, dtype or x.dtype, _flops(name, x.numel), saves=_SAVES.get(name, ()))[0]


def softmax(x: Tensor) -> Tensor:
    """[... n] -> [... n] over the last axis, in the dtype of `x`."""
    return unary("_softmax", x)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[... n] -> [... n]; also writes mean and 1/std in fp32, as torch's kernel does."""
    rows = (*x.shape[:-1], 1)
    flops = _flops("native_layer_norm", x.numel)
    more = ((rows, FP32), (rows, FP32))
    return elementwise("native_layer_norm", (x, weight, bias), x.shape, x.dtype, flops, saves=(0,), more=more)[0]


def topk(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """[r n] -> values [r k] and int64 indices [r k]."""
    shape = (x.shape[0], k)
    values, indices = elementwise("topk", (x,), shape, x.dtype, _flops("topk", x.numel), more=((shape, INT64),))
    return values, indices


def sort(x: Tensor) -> tuple[Tensor, Tensor]:
    """[n] -> values [n] and int64 indices [n]."""
    values, indices = elementwise("sort", (x,), x.shape, x.dtype, _flops("sort", x.numel), more=((x.shape, INT64),))
    return values, indices


def resize(name: str, x: Tensor, shape: Shape) -> Tensor:
    """Interpolation of `x` to `shape` (bicubic with antialiasing, or linear); FLOPs of the elements written."""
    return elementwise(name, (x,), shape, x.dtype, _flops(name, prod(shape)))[0]


def cast(x: Tensor, dtype: DType) -> Tensor:
    """`x.to(dtype)`: a copy, or `x` itself where it is of that dtype."""
    return x if x.dtype is dtype else move("_to_copy", (x,), x.shape, dtype)


def quantize(x: Tensor, dtype: DType) -> tuple[Tensor, Tensor]:
    """[... k] -> values [... k] in an 8-bit `dtype`, and an fp32 scale for each row [... 1]."""
    _refuse_backward()
    flops, scale = _flops("quantize", x.numel), ((*x.shape[:-1], 1), FP32)
    values, scales = elementwise("quantize", (x,), x.shape, dtype, flops, more=(scale,))
    return values, scales


def quantize_rows(x: Tensor, row_bytes: int, dtype: DType, *, role: Role) -> Tensor:
    """[... k] -> [... row_bytes] of an 8-bit `dtype`: values, with each row's scale behind it.

    A row of k bytes has no scale of its own: one that is known divides all rows.
    """
    _refuse_backward()
    name = "quantize" if row_bytes > x.shape[-1] else "quantize_static"
    return elementwise(name, (x,), (*x.shape[:-1], row_bytes), dtype, _flops(name, x.numel), role=role)[0]


def dequantize(x: Tensor, width: int, dtype: DType) -> Tensor:
    """Rows as `quantize_rows` gives them -> [... width] in `dtype`: a copy, or `x` itself where it is of that dtype."""
    return x if x.dtype is dtype else move("dequantize", (x,), (*x.shape[:-1], width), dtype)


def clone(x: Tensor, shape: Shape | None = None, *, when: Dim = 1) -> Tensor:
    """A contiguous copy, where the real code makes one (`when` is 0 at the sizes at which it does not)."""
    return move("clone", (x,), x.shape if shape is None else shape, x.dtype, when=when)


def cat(parts: Sequence[Tensor], shape: Shape, *, role: Role = "activation") -> Tensor:
    """Concatenation of `parts` to `shape`: reads all, writes all."""
    return move("cat", parts, shape, parts[0].dtype, role=role)


def gather(x: Tensor, indices: Tensor, shape: Shape, *, read_bytes: Dim = None, name: str = "index") -> Tensor:
    """Rows of `x` picked by int64 `indices`: reads what it writes (and the indices), not the whole table."""
    read = prod(shape) * x.dtype.itemsize if read_bytes is None else read_bytes
    return move(name, (x, indices), shape, x.dtype, read_bytes=read, saves=(1,))


def index_add(into: Tensor, rows: Tensor) -> Tensor:
    """Add `rows` [r n] to the rows of `into` [t n] that they belong to, in place: these are read and written too."""
    same_rows = rows.narrow(*rows.shape)
    flops = _flops("index_add", rows.numel)
    elementwise("index_add", (same_rows, rows), rows.shape, into.dtype, flops, into=same_rows, saves=(1,))
    return into


def fill(name: str, shape: Shape, dtype: DType) -> Tensor:
    """A new tensor written without reading any (zeros, arange, full)."""
    return move(name, (), shape, dtype)


def empty(shape: Shape, dtype: DType) -> Tensor:
    """A new tensor, not written."""
    return move("empty_like", (), shape, dtype, write_bytes=0, launches=0)


def sync() -> None:
    """The host reads what the last operator gave (`.item()`, `.cpu()`): it waits for the device."""
    last = current("sync").open.items[-1]
    if isinstance(last, Op):
        last.syncs = True


def _refuse_backward() -> None:
    if current("quantize").options.grad:
        raise ModelMeterError(NO_BACKWARD)


def _flops(name: str, elements: Dim) -> Dim:
    if name not in FLOPS_PER_ELEMENT:
        raise ModelMeterError(f"operator {name!r} has no declared FLOPs: add it to core/conventions.py with its reason")
    per_element = FLOPS_PER_ELEMENT[name]
    return elements if per_element == 1 else 0 if per_element == 0 else elements * per_element


def _factors(name: str, a: Tensor, b: Tensor) -> tuple[int, ...]:
    """What a product or quotient keeps: each operand is needed for the other's gradient, a divisor for its own too."""
    if name == "mul":
        return tuple(i for i, other in ((0, b), (1, a)) if other.needs_grad)
    if name == "div":
        return (0, 1) if b.needs_grad else (1,)
    return ()
