"""The decoder's attention. Twins of LlamaRotaryEmbedding, LlamaAttention and LlamaFlashAttention2 (transformers 4.46).

The vendor's decoder uses these classes. transformers 5's own attention differs in where the rotary table is computed:
once a model, elementwise (`RotaryEmbedding`), instead of inside every layer as a matrix product.
"""

from typing import Any, Literal, TypeAlias, Unpack

from modelmeter.core import ops
from modelmeter.core.dims import Dim
from modelmeter.core.kv_cache import PastKV
from modelmeter.core.layer import InputSize
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import FP32, INT64, DType, Role, Tensor
from modelmeter.models.deepseek_ocr.config import RELEASED, Conventions, DecoderConfig
from modelmeter.nn.attention import (
    apply_rotary,
    as_query,
    causal_products,
    eager_attention,
    flash_attention,
    merge_heads,
    query_copies,
    repeat_kv,
)
from modelmeter.nn.linear import Linear
from modelmeter.nn.token import CachedLayer, TokenLayer

Attended: TypeAlias = tuple[Tensor, Tensor | None]
"""The output of attention, and its weights or None."""


class LlamaRotaryEmbedding(TokenLayer):
    """Position ids [p q] -> cos, sin [p q d]: a batched product of [d/2 1] by [1 q] in fp32 that FLOP counters see."""

    def __init__(self, head_dim: int, **size: Unpack[InputSize]) -> None:
        super().__init__(head_dim, **size)
        self.head_dim = head_dim

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        seq_len, _ = sizes
        return (recorder.take((1, seq_len), INT64),)

    def forward(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        positions, queries = position_ids.shape
        half = self.head_dim // 2
        inv_freq = Tensor((positions, half, 1), FP32, "weight")  # a buffer, not a parameter
        freqs = ops.bmm(inv_freq, ops.cast(position_ids, FP32).view(positions, 1, queries))
        freqs = freqs.view(positions, queries, half)
        return _cos_sin(freqs, self.dtype)


class RotaryEmbedding(LlamaRotaryEmbedding):
    """Position ids [p q] -> cos, sin [p q d], elementwise: transformers 5's, called once a model."""

    def forward(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        positions, queries = position_ids.shape
        inv_freq = Tensor((self.head_dim // 2,), FP32, "weight")
        freqs = ops.binary("mul", ops.cast(position_ids, FP32).view(positions, queries, 1), inv_freq)
        return _cos_sin(freqs, self.dtype)


def _cos_sin(freqs: Tensor, dtype: DType) -> tuple[Tensor, Tensor]:
    emb = ops.cat((freqs, freqs), (*freqs.shape[:-1], 2 * freqs.shape[-1]))
    cos = ops.unary("mul", ops.unary("cos", emb))
    sin = ops.unary("mul", ops.unary("sin", emb))
    return ops.cast(cos, dtype), ops.cast(sin, dtype)


class LlamaAttention(CachedLayer):
    """[b q hidden] -> [b q hidden] over cached and new keys, eager: scores in memory, softmax in fp32."""

    def __init__(self, config: DecoderConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]) -> None:
        super().__init__(config.hidden_size, config.num_key_value_heads, config.head_dim, conventions.cache, **size)
        self.conventions = conventions
        self.num_heads = config.num_attention_heads
        bias, kv_width = config.attention_bias, config.num_key_value_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, config.hidden_size, bias)
        self.k_proj = Linear(config.hidden_size, kv_width, bias)
        self.v_proj = Linear(config.hidden_size, kv_width, bias)
        self.o_proj = Linear(config.hidden_size, config.hidden_size, bias)
        if conventions.implementation == "vendor":
            self.rotary_emb = LlamaRotaryEmbedding(config.head_dim)

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        queries, batch, past = sizes
        x = recorder.take((batch, queries, self.hidden_size), self.dtype)
        return x, *decoder_inputs(recorder, self, self.conventions, queries, batch, past)

    def forward(self, x: Tensor, positions: Any, mask: Tensor | None, past: PastKV | None) -> Attended:
        """The output, and the attention weights where the real module hands them on.

        `positions` are ids [p q] (vendor), or the rotary table (cos, sin) [p q d] each (transformers).
        """
        batch, queries, _ = x.shape
        q = self.q_proj(x).view(batch, self.num_heads, queries, self.head_dim)
        k = self.k_proj(x).view(batch, self.num_kv_heads, queries, self.head_dim)
        # The vendor's cache keeps the first keys and values as they are: what makes them writes the cache.
        kept = self.conventions.implementation == "vendor" and past is not None and past.keeps_first
        role: Role = "kv" if kept else "activation"
        v = self.v_proj(x, role).view(batch, self.num_kv_heads, queries, self.head_dim)
        cos, sin = self.rotary_emb(positions) if isinstance(positions, Tensor) else positions
        q, k = apply_rotary(q, cos, sin), apply_rotary(k, cos, sin, role)
        if past is not None and not kept:
            k, v = past.update(k, v)
        groups = self.num_heads // self.num_kv_heads
        as_made = kept or (past is not None and past.uses_new)
        attended, weights = self._attend(q, k, v, mask, groups, alike=as_made and groups == 1)
        return self.o_proj(attended), weights

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, groups: int, *, alike: bool) -> Attended:
        """The heads' outputs [b q h*d]. `alike`: k and v lie in memory as q does."""
        vendor = self.conventions.implementation == "vendor"
        k, v = repeat_kv(as_query(k, q), groups), repeat_kv(as_query(v, q), groups)
        products = causal_products(q.shape[2], k.shape[2], self.conventions.causal)
        copies = query_copies(q, alike=alike)
        scale: Literal["mul", "div"] = "div" if vendor else "mul"
        out, weights = eager_attention(q, k, v, mask, products=products, copies=copies, scale=scale)
        # transformers hands the weights on, and its layer holds them to its end; the vendor's drops them here.
        kept = None if vendor else weights
        del weights
        return merge_heads(out), kept


class LlamaFlashAttention2(LlamaAttention):
    """[b q hidden] -> [b q hidden] in one kernel: no mask, no scores in memory, grouped KV heads read as they are."""

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, groups: int, *, alike: bool) -> Attended:
        batch, _, queries, _ = q.shape
        keys = k.shape[2]
        products = causal_products(queries, keys, self.conventions.causal)
        # Every query head meets its group's keys: grouped heads as one product of groups * queries rows.
        heads = (batch, self.num_kv_heads, groups * queries, self.head_dim)
        grouped = None if products is None else groups * products
        out = flash_attention(q.view(*heads), k, v, masks_itself=True, products=grouped)
        return out.view(batch, queries, self.num_heads * self.head_dim), None


def decoder_inputs(
    recorder: Recorder, layer: CachedLayer, conventions: Conventions, queries: Dim, batch: Dim, past: Dim
) -> tuple[Any, ...]:
    """(positions, mask, past) that a decoder layer is given: what the model around it has computed."""
    rows = 1 if conventions.position_ids == "shared" else batch
    positions: Any = recorder.take((rows, queries), INT64)
    if conventions.implementation == "transformers":
        table = (rows, queries, layer.head_dim)
        positions = (recorder.take(table, layer.dtype), recorder.take(table, layer.dtype))
    eager = conventions.attention == "eager"
    mask = recorder.take((batch, 1, queries, past + queries), layer.dtype) if eager else None
    return positions, mask, layer.past(past)
