"""Attention cores, eager and as one kernel, and the rotary embedding around them."""

from typing import Any, Literal, TypeAlias

from modelmeter.core import ops
from modelmeter.core.dims import Dim, floor_div, not_one, prod, same
from modelmeter.core.pricing import fused
from modelmeter.core.tensor import FP32, Role, Tensor

AttentionKind: TypeAlias = Literal["eager", "flash"]
ATTENTION_KINDS: tuple[AttentionKind, ...] = ("eager", "flash")
Causal: TypeAlias = Literal["full", "triangle"]
CAUSAL_KINDS: tuple[Causal, ...] = ("full", "triangle")


def eager_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    masks_itself: bool = False,
    products: Dim = None,
    copies: tuple[Dim, Dim, Dim] = (0, 0, 0),
    scale: Literal["mul", "div"] = "mul",
) -> tuple[Tensor, Tensor]:
    """[b h s d], [b h t d], [b h t d] -> [b h s d], weights [b h s t]: scores, scale, mask, softmax in fp32, values.

    `products` of the s * t scores are needed (a causal triangle); None is all of them. A kernel that `masks_itself`
    does the addition of a mask without reading one. `copies` are 0/1 dims: whether a product first copies q, k, v (its
    b and h become one axis); the copy lives no longer than the product. `scale` is how scores are scaled by a number.
    """
    batch, heads, _, width = q.shape
    needed = None if products is None else prod((2, batch, heads, width)) * products  # of either product
    k_copy = _transposed(_for_product(k, heads, copies[1]))
    scores = ops.bmm(ops.clone(q, when=copies[0]), k_copy, needed_flops=needed)
    del k_copy
    scores = ops.unary(scale, scores)
    if mask is not None:
        scores = ops.binary("add", scores, mask)
    elif masks_itself:
        scores = ops.unary("add", scores)
    weights = ops.cast(ops.softmax(ops.cast(scores, FP32)), q.dtype)
    return ops.bmm(weights, _for_product(v, heads, copies[2]), needed_flops=needed), weights


def _output_only(q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return eager_attention(q, as_query(k, q), as_query(v, q), *args, **kwargs)[0]


def as_query(x: Tensor, q: Tensor) -> Tensor:
    """Keys or values in the dtype and width of the query: dequantised where the cache stores them otherwise."""
    return ops.dequantize(x, q.shape[-1], q.dtype)


flash_attention = fused(_output_only, "flash_attention", recomputes=1)
"""The same FLOPs in one kernel: q, k, v (and a bias, where SDPA is given one) and the output reach memory.

Keys and values of a quantised cache are read as it stores them and dequantised inside; the products are in 16 bits
(FlashAttention 3 can also run them in fp8: not modelled).
"""


def _for_product(x: Tensor, heads: int, when: Dim) -> Tensor:
    """Keys or values as a product takes them. One head for all is copied out to them, but not of a single sequence."""
    batch, own, tokens, width = x.shape
    if own == heads:
        return ops.clone(x, when=when)
    several = not_one(batch)
    seen = 1 + (heads - 1) * several
    return x if same(batch, 1) else ops.clone(x, (batch, seen, tokens, width), when=several)


def _transposed(k: Tensor) -> Tensor:
    return k.view(*k.shape[:-2], k.shape[-1], k.shape[-2])


def causal_products(queries: Dim, keys: Dim, convention: Causal) -> Dim:
    """Scores a causal mask leaves: S_q * S_kv - S_q * (S_q - 1) / 2; None where all are counted ("full")."""
    if convention == "full":
        return None
    return queries * keys - floor_div(queries * (queries - 1), 2)


def query_copies(q: Tensor, *, alike: bool = False) -> tuple[Dim, Dim, Dim]:
    """`copies` of q [b h s d] laid out as [b s h d], with k and v from the cache: none at batch 1 or one query.

    `alike`: k and v are laid out like q, which they are until a cache has put them one after another.
    """
    batch, _, queries, _ = q.shape
    several = not_one(batch) * not_one(queries)
    return (several, several, several) if alike else (several, 0, 0)


def merge_heads(x: Tensor) -> Tensor:
    """[b h s d] -> [b s h*d]: a copy, but none with a single query."""
    batch, heads, queries, width = x.shape
    out = ops.clone(x, (batch, queries, heads, width), when=not_one(queries))
    return out.view(batch, queries, heads * width)


def repeat_kv(x: Tensor, groups: int) -> Tensor:
    """[b kv t d] -> [b kv*groups t d]: keys or values copied out to every query head; free with groups of one.

    A single KV head stays [b 1 t d]: every query head sees it as it is.
    """
    batch, heads, tokens, width = x.shape
    if groups == 1 or heads == 1:
        return x
    return ops.clone(x, (batch, heads * groups, tokens, width))


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor, role: Role = "activation") -> Tensor:
    """[b h s d] -> [b h s d]: x * cos + rotate_half(x) * sin, five kernels. cos and sin are [p s d]."""
    positions, queries, width = cos.shape
    cos = cos.view(positions, 1, queries, width)
    sin = sin.view(positions, 1, queries, width)
    return ops.binary("add", ops.binary("mul", x, cos), ops.binary("mul", _rotate_half(x), sin), role=role)


def _rotate_half(x: Tensor) -> Tensor:
    half = x.narrow(*x.shape[:-1], x.shape[-1] // 2)
    return ops.cat((ops.unary("neg", half), half), x.shape)
