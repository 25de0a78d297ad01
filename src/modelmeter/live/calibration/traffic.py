"""Cases of elementwise operators, normalisations, reductions and copies, by size."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F

from modelmeter.core import ops
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import BF16, FP32, INT64, DType, Tensor
from modelmeter.live.calibration.cases import Case, Pool, priced
from modelmeter.live.calibration.clock import Run
from modelmeter.live.calibration.products import weight

WIDTH: Final = 1280
ROWS: Final = (1, 12, 150, 1100, 9000)
"""Rows of 1280 numbers: 2.5 KB to 23 MB in 16 bits, in the caches and beyond them."""
MANY_ROWS: Final = (60000,)
_TORCH: Final = {BF16: torch.bfloat16, FP32: torch.float32}


def traffic_cases(*, quick: bool, large: bool = False) -> Iterator[Case]:
    """All of them; a few with `quick`; `large` ones too, which a GPU needs to be busy."""
    for rows in (12, 150) if quick else (*ROWS, *MANY_ROWS * large):
        yield from _arithmetic(rows)
        yield from _functions(rows)
        yield from _norms_and_reductions(rows)
        yield from _copies(rows)
    for number in (1 << 17, 20 << 20) if quick else (1 << 15, 1 << 19, 1 << 23, 1 << 26):
        yield _case("copy", lambda x: ops.cat((x,), x.shape), torch.clone, ((number,),))
        yield _case("read", lambda x: ops.reduce("sum", x, (1,)), torch.sum, ((number,),))
    for heads, side in ((4, 6), (8, 8)) if quick else ((12, 14), (108, 14), (12, 24), (12, 48), (12, 56)):
        yield spread_bias(heads, side)
        yield ordered_bias(heads, side)
    for b, tokens in ((1, 50), (2, 90)) if quick else ((1, 240), (1, 1100), (4, 700)):
        yield grown_cache(b, 10, tokens)


def _arithmetic(rows: int) -> Iterator[Case]:
    shape = (rows, WIDTH)
    yield _case("add", lambda x, y: ops.binary("add", x, y), torch.add, (shape, shape))
    yield _case("mul", lambda x, y: ops.binary("mul", x, y), torch.mul, (shape, shape))
    yield _case("mul by a number", lambda x: ops.unary("mul", x), lambda x: x * 0.125, (shape,))
    yield _case("mul fp32", lambda x, y: ops.binary("mul", x, y), torch.mul, (shape, (rows, 1)), FP32)
    yield _case("pow fp32", lambda x: ops.unary("pow", x), lambda x: x.pow(2), (shape,), FP32)


def _functions(rows: int) -> Iterator[Case]:
    shape = (rows, WIDTH)
    yield _case("silu", lambda x: ops.unary("silu", x), F.silu, (shape,))
    yield _case("gelu", lambda x: ops.unary("gelu", x), F.gelu, (shape,))
    yield _case("sigmoid", lambda x: ops.unary("sigmoid", x), torch.sigmoid, (shape,))
    yield _case("softmax fp32", ops.softmax, lambda x: torch.softmax(x, -1), (shape,), FP32)


def _norms_and_reductions(rows: int) -> Iterator[Case]:
    shape, sixth = (rows, WIDTH), max(1, rows // 6)
    one, zero = torch.ones(WIDTH, dtype=torch.bfloat16), torch.zeros(WIDTH, dtype=torch.bfloat16)

    def norm(x: Tensor) -> Tensor:
        return ops.layer_norm(x, weight(WIDTH), weight(WIDTH))

    def mean(x: Tensor) -> Tensor:
        return ops.reduce("mean", x, (rows, 1))

    def total(x: Tensor) -> Tensor:
        return ops.reduce("sum", x, (sixth, WIDTH))

    yield _case("layer_norm", norm, lambda x, w, b: F.layer_norm(x, (WIDTH,), w, b), (shape,), more=(one, zero))
    yield _case("mean fp32", mean, lambda x: x.mean(-1, keepdim=True), (shape,), FP32)
    yield _case("sum fp32", total, lambda x: x.sum(1), ((sixth, 6, WIDTH),), FP32)
    yield _case("sort", ops.sort, torch.sort, ((rows * 6,),), FP32)
    yield _case("topk fp32", lambda x: ops.topk(x, 6), lambda x: torch.topk(x, 6, sorted=False), ((rows, 64),), FP32)


def _copies(rows: int) -> Iterator[Case]:
    shape, heads = (rows, WIDTH), WIDTH // 64
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))

    def joined(x: Tensor, y: Tensor) -> Tensor:
        return ops.cat((x, y), (rows, 2 * WIDTH))

    def picked(x: Tensor) -> Tensor:
        return ops.gather(x, Tensor((rows,), INT64), shape)

    yield _case("to fp32", lambda x: ops.cast(x, FP32), lambda x: x.float(), (shape,))
    yield _case("to bf16", lambda x: ops.cast(x, BF16), lambda x: x.bfloat16(), (shape,), FP32)
    yield _case("cat", joined, lambda x, y: torch.cat((x, y), -1), (shape, shape))
    yield _case("heads merged", ops.clone, lambda x: x.transpose(0, 1).contiguous(), ((heads, rows, 64),))
    yield _case("index", picked, lambda x, i: x[i], (shape,), more=(order,))


def spread_bias(heads: int, side: int) -> Case:
    """SAM's relative positions: [h s s s 1] + [h s s 1 s] -> [h s s s s], laid out as einsum leaves them."""
    halves = ((heads, side, side, side, 1), (heads, side, side, 1, side))

    def prepare(pool: Pool) -> Run:
        rows, columns = _halves(pool, heads, side)
        return lambda: rows[..., None] + columns[..., None, :]

    op = priced(lambda r: ops.binary("add", *(r.take(shape, BF16) for shape in halves)))
    return Case(name=f"bias {heads} x {side}^4", op=op, prepare=prepare)


def ordered_bias(heads: int, side: int) -> Case:
    """The same sum brought into order: [h s*s s*s]."""
    shape = (1, heads, side * side, side * side)

    def prepare(pool: Pool) -> Run:
        rows, columns = _halves(pool, heads, side)
        bias = rows[..., None] + columns[..., None, :]
        return lambda: bias.reshape(shape)

    return Case(
        name=f"bias in order {heads} x {side}^4", op=priced(lambda r: ops.clone(r.take(shape, BF16))), prepare=prepare
    )


def _halves(pool: Pool, heads: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    q, table = pool.take(heads, side, side, 64), pool.take(side, side, 64)
    return torch.einsum("bhwc,hkc->bhwk", q, table), torch.einsum("bhwc,wkc->bhwk", q, table)


def grown_cache(b: int, heads: int, cached: int, width: int = 128) -> Case:
    """Keys or values, cold, with one more: the whole cache copied."""

    def run(recorder: Recorder) -> None:
        parts = Tensor((b, heads, cached, width), BF16, "kv"), recorder.take((b, heads, 1, width), BF16)
        ops.cat(parts, (b, heads, cached + 1, width), role="kv")

    def prepare(pool: Pool) -> Run:
        new = pool.take(b, heads, 1, width)
        return lambda: torch.cat((pool.take(b, heads, cached, width), new), -2)

    return Case(name=f"cache grown {b} x {heads} x {cached}", op=priced(run), prepare=prepare)


def _case(
    name: str,
    twin: Callable[..., Any],
    call: Callable[..., Any],
    shapes: Sequence[tuple[int, ...]],
    dtype: DType = BF16,
    more: Sequence[torch.Tensor] = (),
) -> Case:
    """`call` of inputs of these shapes (and of `more` tensors); the model sees it as `twin` of the inputs."""

    def run(recorder: Recorder) -> None:
        twin(*[recorder.take(shape, dtype) for shape in shapes])

    def prepare(pool: Pool) -> Run:
        inputs = [pool.take(*shape, dtype=_TORCH[dtype]) for shape in shapes]
        inputs += [tensor.to(pool.device) for tensor in more]
        return lambda: call(*inputs)

    return Case(name=f"{name} {' x '.join(map(str, shapes[0]))}", op=priced(run), prepare=prepare)
