"""Attention masks of transformers' UnlimitedOcr, built at every forward pass: two of them, whatever the layers use."""

from modelmeter.core import ops
from modelmeter.core.dims import Dim
from modelmeter.core.layer import Layer
from modelmeter.core.tensor import BOOL, INT64, Tensor
from modelmeter.models.deepseek_ocr.config import RELEASED, Conventions


class UnlimitedOcrMasks(Layer):
    """Attention mask [b kv] of ones -> the full mask and the reference-sliding one, as `UnlimitedOcrTextModel`'s.

    Eager cores get additive masks [b 1 q kv] in bf16. With sdpa a mask of ones is seen through and the full one left
    out. No layer of DeepSeek-OCR uses the sliding one; it is made and held all the same.
    """

    def __init__(self, conventions: Conventions = RELEASED) -> None:
        super().__init__()
        self.conventions = conventions

    def forward(self, attention_mask: Tensor, queries: Dim) -> tuple[Tensor | None, Tensor]:
        if self.conventions.attention == "flash":
            ops.unary("eq", ops.reduce("sum", ops.cast(attention_mask, BOOL), (1,), dtype=INT64), dtype=BOOL)
            return None, self._sliding(attention_mask, queries)
        full = self._additive(self._full(attention_mask, queries))
        return full, self._additive(self._sliding(attention_mask, queries))

    def _full(self, attention_mask: Tensor, queries: Dim) -> Tensor:
        """`create_causal_mask`: [b 1 q kv], keys not after the query and not padding."""
        batch, keys = attention_mask.shape
        padding, indices, q, kv = self._begin(attention_mask, queries)
        one = ops.fill("new_ones", (1,), BOOL)
        causal = ops.binary("le", kv.view(1, 1, 1, keys), q.view(1, 1, queries, 1), dtype=BOOL)
        causal = ops.binary("bitwise_and", causal, one, dtype=BOOL)
        return ops.binary("bitwise_and", causal, _picked(padding, indices, kv).view(batch, 1, 1, keys), dtype=BOOL)

    def _sliding(self, attention_mask: Tensor, queries: Dim) -> Tensor:
        """`create_reference_sliding_window_causal_mask`: [b q kv], a window of the past or any of the prefill."""
        batch, keys = attention_mask.shape
        padding, indices, q, kv = self._begin(attention_mask, queries)
        row, column = (1, keys), (queries, 1)
        ones, zeros, more_ones = [ops.fill(name, (queries,), BOOL) for name in ("new_ones", "new_zeros", "new_ones")]
        oldest = ops.unary("sub", q)
        window = ops.binary("gt", kv.view(*row), oldest.view(*column), dtype=BOOL)
        window = ops.binary("bitwise_and", window, more_ones.view(*column), dtype=BOOL)
        causal = ops.binary("le", kv.view(*row), q.view(*column), dtype=BOOL)
        window = ops.binary("bitwise_and", window, causal, dtype=BOOL)
        window = ops.binary("bitwise_or", window, zeros.view(*column), dtype=BOOL)
        last_ones = ops.fill("new_ones", (queries,), BOOL)
        prefill = ops.binary("le", kv.view(*row), q.view(*column), dtype=BOOL)
        prefill = ops.binary("bitwise_and", prefill, last_ones.view(*column), dtype=BOOL)
        early = ops.unary("lt", ops.unary("sub", kv), dtype=BOOL)
        prefill = ops.binary("bitwise_and", prefill, early.view(*row), dtype=BOOL)
        either = ops.binary("bitwise_or", window, prefill, dtype=BOOL)
        either = ops.binary("bitwise_and", either, ones.view(*column), dtype=BOOL)
        picked = _picked(padding, indices, kv).view(batch, 1, keys)
        return ops.binary("bitwise_and", either.view(1, queries, keys), picked, dtype=BOOL)

    def _begin(self, attention_mask: Tensor, queries: Dim) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The padding mask, and the indices that the conditions are written with: of sequences, queries and keys."""
        batch, keys = attention_mask.shape
        padding = ops.cast(attention_mask, BOOL)
        sequences = ops.fill("arange", (batch,), INT64)
        ops.fill("arange", (1,), INT64)  # of heads: one for all
        q = ops.unary("add", ops.fill("arange", (queries,), INT64))
        kv = ops.unary("add", ops.fill("arange", (keys,), INT64))
        return padding, sequences, q, kv

    def _additive(self, allowed: Tensor) -> Tensor:
        """0 where attention is allowed, the lowest number elsewhere: [b 1 q kv]."""
        zero, lowest = ops.fill("zeros", (1,), self.dtype), ops.fill("scalar_tensor", (1,), self.dtype)
        batch, queries, keys = allowed.shape[0], allowed.shape[-2], allowed.shape[-1]
        shape = (batch, 1, queries, keys)
        return ops.elementwise("where", (allowed, zero, lowest), shape, self.dtype, 0)[0]


def _picked(padding: Tensor, sequences: Tensor, keys: Tensor) -> Tensor:
    """The padding mask looked up at the indices of sequences and keys."""
    return ops.move("index", (padding, sequences, keys), padding.shape, BOOL, read_bytes=padding.nbytes)
