"""FLOPs of aten's matrix products, convolutions and attention kernels: torch's own formulas and those it lacks.

Pass `FLOP_FORMULAS` as `FlopCounterMode(custom_mapping=...)` and the counter sees what `record` sees. A multiply-add is
2 FLOPs; attention is counted with full S_q * S_kv scores.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Formula = Callable[..., int]
"""The shapes of an operator's arguments (what is no tensor as it is) -> FLOPs."""
Shape = Sequence[int]

aten = torch.ops.aten


def grouped_mm(a: Shape, b: Shape, *_args: Any, **_kwargs: Any) -> int:
    """Rows, columns or the inner axis split into groups, each with a matrix of its own (transformers 5's experts).

    [r k] x [g k n], [g m k] x [k n], [g m k] x [g k n], and [m k] x [k n] whose k is split.
    """
    if len(a) == 2 and len(b) == 3:
        return 2 * a[0] * a[1] * b[2]
    if len(a) == 3 and len(b) == 2:
        return 2 * a[1] * a[2] * b[1]
    groups = a[0] if len(a) == 3 else 1
    return 2 * groups * a[-2] * a[-1] * b[-1]


def attention(query: Shape, key: Shape, value: Shape, *_args: Any, **_kwargs: Any) -> int:
    """[b h s d], [b kv t d], [b kv t e]: scores and values; grouped heads share keys, every query head counts."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[-2] * (width + value[-1])


def attention_backward(_grad: Shape, query: Shape, key: Shape, value: Shape, *_args: Any, **_kwargs: Any) -> int:
    """Scores again, then the gradients of values, weights, queries and keys: five products, as in torch's own rule."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[-2] * (3 * width + 2 * value[-1])


def flash_attn(query: Shape, key: Shape, value: Shape, *_args: Any, **_kwargs: Any) -> int:
    """The flash-attn package's layout: [b s h d], [b t kv d], [b t kv e]."""
    return attention(*(_heads_first(shape) for shape in (query, key, value)))


def flash_attn_backward(_grad: Shape, query: Shape, key: Shape, value: Shape, *_args: Any, **_kwargs: Any) -> int:
    """As `flash_attn`."""
    return attention_backward(_grad, *(_heads_first(shape) for shape in (query, key, value)))


def _heads_first(shape: Shape) -> Shape:
    batch, length, heads, width = shape
    return batch, heads, length, width


def matrix_vector(matrix: Shape, _vector: Shape, **_kwargs: Any) -> int:
    """[m k] x [k], and [k] x [k]."""
    return 2 * math.prod(matrix)


def matrices(a: Shape, b: Shape, *_args: Any, **_kwargs: Any) -> int:
    """[m k] x [k n], or [b m k] x [b k n]."""
    return 2 * math.prod(a) * b[-1]


def rows(a: Shape, b: Shape, *_args: Any, **_kwargs: Any) -> int:
    """[m k] x [n k]: a matrix stored by output."""
    return 2 * math.prod(a) * b[0]


def added(product: Formula) -> Formula:
    """`product` of all arguments but the first, which it is added to."""
    return lambda _into, *args, **kwargs: product(*args, **kwargs)


def multi_head(query: Shape, key: Shape, _value: Shape, width: int, *_args: Any, **_kwargs: Any) -> int:
    """torch's own fused self-attention [b s d]: four projections, scores and values."""
    batch, queries, keys = query[0], query[1], key[1]
    projections = 2 * width * width * batch * (2 * queries + 2 * keys)
    return projections + 4 * batch * queries * keys * width


def encoder_layer(x: Shape, width: int, *args: Any, **_kwargs: Any) -> int:
    """torch's own fused encoder layer: `multi_head` and two linear layers [f d] and [d f]."""
    up, down = args[_UP], args[_UP + 2]
    tokens = x[0] * x[1]
    return multi_head(x, x, x, width) + 2 * tokens * (math.prod(up) + math.prod(down))


_UP = 12  # where ffn_weight_1 is among the arguments after embed_dim

_WANTED: dict[str, Formula] = {
    "_addmm_activation": added(matrices),
    "_grouped_mm": grouped_mm,
    "_int_mm": matrices,
    "_native_multi_head_attention": multi_head,
    "_scaled_dot_product_flash_attention_for_cpu": attention,
    "_scaled_dot_product_flash_attention_for_cpu_backward": attention_backward,
    "_scaled_dot_product_fused_attention_overrideable": attention,
    "_scaled_dot_product_fused_attention_overrideable_backward": attention_backward,
    "_scaled_grouped_mm": grouped_mm,
    "_scaled_grouped_mm_v2": grouped_mm,
    "_scaled_mm_v2": matrices,
    "_transformer_encoder_layer_fwd": encoder_layer,
    "_weight_int8pack_mm": rows,
    "addbmm": added(matrices),
    "addbmm_": added(matrices),
    "addmm_": added(matrices),
    "addmv": added(matrix_vector),
    "addmv_": added(matrix_vector),
    "baddbmm_": added(matrices),
    "dot": matrix_vector,
    "mv": matrix_vector,
    "vdot": matrix_vector,
}

FLOP_FORMULAS: dict[Any, Formula] = {getattr(aten, name): of for name, of in _WANTED.items() if hasattr(aten, name)}
"""Operator -> formula, for what torch's counter leaves at 0. All others are torch's own."""

_OTHER_PACKAGES: dict[str, Formula] = {
    "flash_attn::_flash_attn_forward": flash_attn,
    "flash_attn::_flash_attn_backward": flash_attn_backward,
    "transformers::grouped_mm_fallback": grouped_mm,
    "transformers::grouped_mm_fallback_backward": lambda a, b, *_: 2 * grouped_mm(a, b),  # both operands' gradients
}
"""Kernels that exist only where their package is installed, by qualified name."""


class FlopCount:
    """Counts an operator with torch's formulas and ours."""

    def __init__(self) -> None:
        self._formulas = FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS).flop_registry

    def knows(self, operator: Any) -> bool:
        """Whether this operator overload has a formula: it is a product, a convolution or an attention kernel."""
        return operator.overloadpacket in self._formulas or operator.name() in _OTHER_PACKAGES

    def __call__(self, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        """FLOPs of one call of an operator that `knows`."""
        packet = operator.overloadpacket
        if packet in self._formulas:
            return self._formulas[packet](*args, **kwargs, out_val=result)
        shapes = [arg.shape if isinstance(arg, torch.Tensor) else arg for arg in args]
        return _OTHER_PACKAGES[operator.name()](*shapes)
