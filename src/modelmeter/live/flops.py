"""FLOPs of aten's matrix products, convolutions and attention kernels: torch's own formulas and those it lacks.

Pass `FLOP_FORMULAS` as `FlopCounterMode(custom_mapping=...)` and the counter sees what `record` sees. A multiply-add is
2 FLOPs; attention is counted with full S_q * S_kv scores.
"""

from collections.abc import Callable, Sequence
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
    batch, queries, heads, width = query
    return 2 * batch * heads * queries * key[1] * (width + value[-1])


def _beyond_torch() -> dict[Any, Formula]:
    wanted: dict[str, Formula] = {
        "_grouped_mm": grouped_mm,
        "_scaled_grouped_mm": grouped_mm,
        "_scaled_dot_product_flash_attention_for_cpu": attention,
        "_scaled_dot_product_flash_attention_for_cpu_backward": attention_backward,
        "_scaled_dot_product_fused_attention_overrideable": attention,
        "_scaled_dot_product_fused_attention_overrideable_backward": attention_backward,
    }
    return {getattr(aten, name): formula for name, formula in wanted.items() if hasattr(aten, name)}


FLOP_FORMULAS: dict[Any, Formula] = _beyond_torch()
"""Operator -> formula, for what torch's counter leaves at 0. All others are torch's own."""

_OTHER_PACKAGES: dict[str, Formula] = {"flash_attn::_flash_attn_forward": flash_attn}
"""Kernels that exist only where their package is installed, by qualified name."""


class FlopCount:
    """Counts an operator with torch's formulas and ours."""

    def __init__(self) -> None:
        self._formulas = FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS).flop_registry

    def knows(self, operator: Any) -> bool:
        """Whether this operator overload has a formula: it is a product, a convolution or an attention kernel."""
        return operator.overloadpacket in self._formulas or operator.name() in _OTHER_PACKAGES

    def __call__(self, operator: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> int:
        """FLOPs of one call of an operator that `knows`."""
        packet = operator.overloadpacket
        if packet in self._formulas:
            return self._formulas[packet](*args, **kwargs, out_val=result)
        shapes = [arg.shape if isinstance(arg, torch.Tensor) else arg for arg in args]
        return _OTHER_PACKAGES[operator.name()](*shapes)
