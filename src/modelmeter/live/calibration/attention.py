"""Cases of attention in one kernel (SDPA): SAM's windows and grids, CLIP, prefill and decode."""

from collections.abc import Iterator
from typing import Any, Final

import torch.nn.functional as F

from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import BF16, Tensor
from modelmeter.live.calibration.cases import Case, Pool, priced
from modelmeter.live.calibration.clock import Run
from modelmeter.nn.attention import causal_products, flash_attention

BIASED: Final = ((9, 12, 196, 64), (30, 12, 196, 64), (1, 12, 900, 64), (1, 12, 2304, 64))
PLAIN: Final = ((1, 16, 82, 64), (4, 16, 82, 64), (1, 16, 226, 64), (2, 16, 402, 64))
CAUSAL: Final = ((1, 10, 150, 128), (1, 10, 330, 128), (2, 10, 560, 128), (1, 10, 1100, 128), (1, 10, 1700, 128))
"""(b, heads, tokens, width): SAM's with a bias, CLIP's, the decoder's."""
STEPS: Final = ((1, 10, 240), (1, 10, 700), (1, 10, 2000), (4, 10, 330), (16, 10, 500))
"""(b, heads, cached): decode."""


def attention_cases(*, quick: bool, large: bool = False) -> Iterator[Case]:
    """All of them; a few with `quick`; `large` ones too, which a GPU needs to be busy."""
    if quick:
        yield attention(2, 4, 64, 32, biased=True)
        yield attention(1, 4, 100, 64, causal=True)
        yield attention(1, 4, 160, 64)
        yield step(1, 4, 100)
        yield step(2, 4, 300)
        return
    for shape in BIASED:
        yield attention(*shape, biased=True)
    for shape in PLAIN:
        yield attention(*shape)
    for shape in CAUSAL:
        yield attention(*shape, causal=True)
    for sizes in STEPS:
        yield step(*sizes)
    if large:
        yield attention(1, 12, 3600, 64, biased=True)
        yield attention(16, 16, 226, 64)
        yield attention(8, 10, 1700, 128, causal=True)
        yield step(64, 10, 1500)


def attention(b: int, heads: int, tokens: int, width: int, *, biased: bool = False, causal: bool = False) -> Case:
    """[b h s d] -> [b h s d]; q, k, v views of [b s h d], as a projection leaves them."""

    def run(recorder: Recorder) -> None:
        q, k, v = (recorder.take((b, heads, tokens, width), BF16) for _ in range(3))
        bias = (recorder.take((b, heads, tokens, tokens), BF16),) if biased else ()
        products = causal_products(tokens, tokens, "triangle") if causal else None
        flash_attention(q, k, v, *bias, masks_itself=causal, products=products)

    def prepare(pool: Pool) -> Run:
        q, k, v = (pool.take(b, tokens, heads, width).transpose(1, 2) for _ in range(3))
        bias = pool.take(b, heads, tokens, tokens) if biased else None
        return lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal)

    kind = "causal" if causal else "with a bias" if biased else "plain"
    return Case(name=f"attention {kind} {b} x {heads} x {tokens} x {width}", op=priced(run), prepare=prepare)


def step(b: int, heads: int, cached: int, width: int = 128) -> Case:
    """One query over cached keys and values, its own included."""

    def run(recorder: Recorder) -> None:
        k, v = (_cached(b, heads, cached + 1, width) for _ in range(2))
        flash_attention(recorder.take((b, heads, 1, width), BF16), k, v, masks_itself=True)

    def prepare(pool: Pool) -> Run:
        q, shape = pool.take(b, heads, 1, width), (b, heads, cached + 1, width)
        return lambda: F.scaled_dot_product_attention(q, pool.take(*shape), pool.take(*shape))

    return Case(name=f"attention of one query {b} x {heads} x {cached}", op=priced(run), prepare=prepare)


def _cached(*shape: Any) -> Tensor:
    return Tensor(shape, BF16, "kv")
