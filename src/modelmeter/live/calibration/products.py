"""Cases of matrix products: by weights, by experts' weights, of activations, and convolutions."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F

from modelmeter.core import ops
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import BF16, FP32, INT32, Tensor
from modelmeter.live.calibration.cases import Case, Pool, priced
from modelmeter.live.calibration.clock import Run

VISION: Final = ((768, 768), (2304, 768), (3072, 768), (768, 3072), (1024, 1024), (4096, 1024), (1024, 4096))
DECODER: Final = ((1280, 1280), (1792, 1280), (1280, 896), (6848, 1280), (1280, 6848))
"""(n, k) of the linear layers of SAM and CLIP, and of the decoder."""
VISION_ROWS: Final = (82, 226, 452, 1058, 2304)
DECODER_ROWS: Final = (1, 2, 6, 20, 75, 211, 339, 560, 1021)
"""Rows (m): grids of patches are even, prompts of any length."""
MANY_ROWS: Final = (5000, 9800)
VOCABULARY: Final = (129280, 1280)
FEW_ROWS: Final = (1, 2, 6, 20)
ROUTED: Final = ((1792, 1280), (1280, 896))
TOKENS: Final = (1, 3, 8, 50, 180, 600)
CONVOLUTIONS: Final = ((1, 3, 768, 16, 16, 0, 768), (1, 768, 256, 1, 1, 0, 52), (1, 256, 256, 3, 1, 1, 52))
HALVING: Final = ((1, 256, 512, 3, 2, 1, 52), (2, 512, 1024, 3, 2, 1, 26))
"""(images, channels in, out, kernel, stride, padding, side): SAM's patches, neck and its two halvings."""


def product_cases(*, quick: bool, large: bool = False) -> Iterator[Case]:
    """All of them; a few with `quick`; `large` ones too, which a GPU needs to be busy."""
    for n, k in VISION[:1] if quick else VISION:
        for m in (82,) if quick else (*VISION_ROWS, *MANY_ROWS * large):
            yield linear(m, n, k, bias=True)
    for n, k in DECODER[:1] if quick else DECODER:
        for m in (1, 20) if quick else (*DECODER_ROWS, *MANY_ROWS * large):
            yield linear(m, n, k)
    for m in () if quick else FEW_ROWS:
        yield linear(m, *VOCABULARY)
    for m in (8,) if quick else (1, 12, 120, 900):
        yield gate(m, 64, 1280)
    for tokens in (2, 30) if quick else (*TOKENS, *MANY_ROWS * large):
        for n, k in ROUTED[:1] if quick else ROUTED:
            yield experts(tokens, n, k, count=8 if quick else 64)
            yield grouped(tokens, n, k, count=8 if quick else 64)
    for shape in ((4, 64, 64, 64), (2, 16, 32, 64)) if quick else BATCHED:
        yield batched(*shape)
    for sizes in CONVOLUTIONS[1:2] if quick else (*CONVOLUTIONS, *HALVING):
        yield convolution(*sizes)


BATCHED: Final = (
    (48, 560, 64, 48),
    (14, 2400, 64, 14),
    (12, 900, 64, 900),
    (12, 900, 900, 64),
    (16, 226, 64, 226),
    (16, 226, 226, 64),
    (120, 196, 64, 196),
    (10, 330, 128, 330),
    (10, 330, 330, 128),
    (10, 1, 128, 700),
    (10, 1, 700, 128),
    (40, 1, 128, 400),
    (40, 1, 400, 128),
)
"""(products, m, k, n): relative positions, scores and values of SAM, CLIP and the decoder, prefill and decode."""


def linear(m: int, n: int, k: int, *, bias: bool = False) -> Case:
    """[m k] x [n k], the weights cold."""

    def run(recorder: Recorder) -> None:
        ops.linear(recorder.take((m, k), BF16), weight(n, k), weight(n) if bias else None)

    def prepare(pool: Pool) -> Run:
        x, b = pool.take(m, k), pool.take(n) if bias else None
        return lambda: F.linear(x, pool.take(n, k), b)

    return Case(name=f"linear {m} x {k} x {n}", op=priced(run), prepare=prepare)


def gate(m: int, n: int, k: int) -> Case:
    """[m k] x [n k] in fp32, as the router computes: its weights were just cast."""

    def run(recorder: Recorder) -> None:
        ops.linear(recorder.take((m, k), FP32), recorder.take((n, k), FP32))

    def prepare(pool: Pool) -> Run:
        x, w = pool.take(m, k, dtype=torch.float32), pool.take(n, k, dtype=torch.float32)
        return lambda: F.linear(x, w)

    return Case(name=f"linear fp32 {m} x {k} x {n}", op=priced(run), prepare=prepare)


def experts(tokens: int, n: int, k: int, *, count: int = 64, top_k: int = 6) -> Case:
    """Rows of `tokens` tokens through `top_k` of `count` experts each, one product an expert reached."""
    rows = _routed(tokens, count, top_k)
    hit, total = sum(r > 0 for r in rows), tokens * top_k

    def run(recorder: Recorder) -> None:
        with recorder.repeated(hit):
            ops.grouped_linear(recorder.take((total, k), BF16), weight(count, n, k), 2 * n * k * hit, groups=hit)

    def prepare(pool: Pool) -> Run:
        x = pool.take(total, k).split([r for r in rows if r])
        return lambda: [F.linear(part, pool.take(n, k)) for part in x]

    return Case(name=f"experts {tokens} tokens, {hit} of {count} x {k} x {n}", op=priced(run), prepare=prepare)


def grouped(tokens: int, n: int, k: int, *, count: int = 64, top_k: int = 6) -> Case:
    """The same in one grouped product."""
    rows = _routed(tokens, count, top_k)
    hit, total = sum(r > 0 for r in rows), tokens * top_k

    def run(recorder: Recorder) -> None:
        offsets = recorder.take((count,), INT32)
        ops.grouped_linear(recorder.take((total, k), BF16), weight(count, n, k), 2 * n * k * hit, offsets, groups=hit)

    def prepare(pool: Pool) -> Run:
        x = pool.take(total, k)
        offsets = torch.tensor(rows, device=pool.device).cumsum(0).to(torch.int32)
        return lambda: torch._grouped_mm(x, pool.take(count, n, k).transpose(1, 2), offs=offsets)

    return Case(name=f"grouped {tokens} tokens, {hit} of {count} x {k} x {n}", op=priced(run), prepare=prepare)


def _routed(tokens: int, count: int, top_k: int) -> Sequence[int]:
    """Rows of each expert, drawn uniformly."""
    generator = torch.Generator().manual_seed(tokens)
    chosen = [torch.randperm(count, generator=generator)[:top_k] for _ in range(tokens)]
    return torch.bincount(torch.cat(chosen), minlength=count).tolist()


def batched(count: int, m: int, k: int, n: int) -> Case:
    """[count m k] x [count k n] of activations."""

    def run(recorder: Recorder) -> None:
        ops.bmm(recorder.take((count, m, k), BF16), recorder.take((count, k, n), BF16))

    def prepare(pool: Pool) -> Run:
        a = pool.take(count, m, k)
        b = pool.take(count, n, k).transpose(1, 2) if k <= 128 else pool.take(count, k, n)
        return lambda: torch.bmm(a, b)

    return Case(name=f"bmm {count} x {m} x {k} x {n}", op=priced(run), prepare=prepare)


def convolution(images: int, channels: int, out: int, kernel: int, stride: int, padding: int, side: int) -> Case:
    """[b c s s] * [o c k k]."""

    def run(recorder: Recorder) -> None:
        image = recorder.take((images, channels, side, side), BF16)
        ops.conv2d(image, weight(out, channels, kernel, kernel), stride=stride, padding=padding)

    def prepare(pool: Pool) -> Run:
        x, w = pool.take(images, channels, side, side), pool.take(out, channels, kernel, kernel)
        return lambda: F.conv2d(x, w, stride=stride, padding=padding)

    return Case(name=f"conv {images} x {channels} -> {out}, {kernel}, {side}", op=priced(run), prepare=prepare)


def weight(*shape: int, dtype: Any = BF16) -> Tensor:
    """A weight without data."""
    return Tensor(shape, dtype, "weight")
