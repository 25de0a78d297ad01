"""The KV cache: `SyntheticKVCache`, the one mutable object of a run, and `PastKV`, what one step sees of it."""

from typing import Literal, Protocol, TypeAlias

import attrs

from modelmeter.core import units
from modelmeter.core.dims import Dim, as_dim, exact_plus, exact_times, is_number
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.ops import cat, quantize_rows
from modelmeter.core.precision import BF16_CACHE, KVFormat, Precision
from modelmeter.core.pricing import move
from modelmeter.core.recorder import current
from modelmeter.core.tensor import Role, Tensor

CacheStyle: TypeAlias = Literal["concat", "in_place"]
CACHE_STYLES: tuple[CacheStyle, ...] = ("concat", "in_place")


@attrs.frozen(kw_only=True, eq=False)
class PastKV:
    """What a step finds cached in each layer: `length` tokens of `num_kv_heads * head_dim` keys and values.

    `style` "concat" builds keys and values anew at every step (transformers' DynamicCache: reads and writes all of it);
    "in_place" writes the new tokens only. `format` is how they are stored: where that is quantised, new keys and values
    are quantised into the cache, and attention reads them from there, but for those of a prefill of nothing cached.
    """

    length: Dim
    style: CacheStyle = "concat"
    format: KVFormat = BF16_CACHE

    @property
    def memo_key(self) -> tuple[Dim, str, str]:
        """What a recording with this past depends on."""
        return (self.length, self.style, self.format.dtype.name)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is cached. The integer 0 alone says so, as in every prefill.

        A 0 in a sweep over cached tokens is a cache of no tokens.
        """
        return is_number(self.length) and self.length == 0

    @property
    def keeps_first(self) -> bool:
        """Whether a cache that keeps what it is given keeps new keys and values as they are: nothing is there yet."""
        return self.style == "concat" and self.is_empty and not self.format.quantised

    @property
    def uses_new(self) -> bool:
        """Whether attention takes new keys and values as they are made: nothing else is there, and the cache rounds.

        So does vLLM: a prefill attends to its own keys and values in 16 bits.
        """
        return self.format.quantised and self.is_empty

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """[b h q d] new keys and values -> [b h past+q d] all of them, in the cache (or as given: `uses_new`).

        Quantised ones are rows of bytes, [b h past+q row_bytes]: see `KVFormat`.
        """
        if self.uses_new:
            self._quantise(key, "kv")
            self._quantise(value, "kv")
            return key, value
        return self._extend(key), self._extend(value)

    def _extend(self, new: Tensor) -> Tensor:
        if self.format.quantised:
            new = self._quantise(new, "kv" if self.style == "in_place" else "activation")
        batch, heads, tokens, width = new.shape
        shape = (batch, heads, self.length + tokens, width)
        if self.style == "in_place":
            slot = new if self.format.quantised else move("copy_", (new,), new.shape, new.dtype, role="kv")
            return slot.narrow(*shape)
        if self.is_empty:
            return cat((new,), shape, role="kv")
        old = Tensor((batch, heads, self.length, width), new.dtype, "kv")
        both = cat((old, new), shape, role="kv")
        current("PastKV").drop(old.nbytes)
        return both

    def _quantise(self, new: Tensor, role: Role) -> Tensor:
        return quantize_rows(new, self.format.row_bytes(new.shape[-1]), self.format.dtype, role=role)


class HasKVHeads(Protocol):
    """A configuration with a decoder's cache sizes."""

    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def num_key_value_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def bytes_per_value(self) -> int: ...


class SyntheticKVCache:
    """A KV cache that holds lengths instead of values: `context_len` prefilled and `decode_len` decoded tokens.

    One length is shared by all layers, as they always agree: `update` of another layer than 0 in the same step changes
    nothing. The footprint is of the tokens already cached; the next token attends to one more. A token's keys (and its
    values) take `head_dim * bytes_per_value + scale_bytes` bytes a head.
    """

    def __init__(
        self,
        batch: Dim,
        num_kv_heads: int,
        head_dim: int,
        num_layers: int = 1,
        context_len: Dim = 0,
        decode_len: Dim = 0,
        bytes_per_value: int = 2,
        scale_bytes: int = 0,
    ) -> None:
        self.batch = as_dim(batch, "batch")
        self.num_kv_heads = as_dim(num_kv_heads, "num_kv_heads")
        self.head_dim = as_dim(head_dim, "head_dim")
        self.num_layers = as_dim(num_layers, "num_layers")
        self.context_len = as_dim(context_len, "context_len", least=0)
        self.decode_len = as_dim(decode_len, "decode_len", least=0)
        self.bytes_per_value = as_dim(bytes_per_value, "bytes_per_value")
        self.scale_bytes = as_dim(scale_bytes, "scale_bytes", least=0)

    @classmethod
    def from_config(cls, config: HasKVHeads, batch: Dim = 1, precision: Precision | None = None) -> "SyntheticKVCache":
        """An empty cache for a decoder configuration, stored as `precision` says."""
        return cls(
            batch,
            config.num_key_value_heads,
            config.head_dim,
            num_layers=config.num_hidden_layers,
            bytes_per_value=config.bytes_per_value if precision is None else precision.kv_format.dtype.itemsize,
            scale_bytes=0 if precision is None else precision.kv_format.scale_bytes,
        )

    def total_len(self) -> Dim:
        """Tokens cached: prefilled and decoded."""
        return exact_plus(self.context_len, self.decode_len)

    def get_usable_length(self, layer_idx: int = 0) -> Dim:
        """Tokens a new token finds in layer `layer_idx` before its own is written."""
        self._check_layer(layer_idx)
        return self.total_len()

    def update(self, layer_idx: int = 0, num_new_tokens: Dim = 1) -> None:
        """Write `num_new_tokens` decoded tokens; counted once a step, by layer 0."""
        self._check_layer(layer_idx)
        tokens = as_dim(num_new_tokens, "num_new_tokens")
        if layer_idx == 0:
            self.decode_len = self.decode_len + tokens

    def bytes_per_token(self) -> Dim:
        """Bytes that one token of every sequence of the batch holds, in all layers (keys and values)."""
        row = self.head_dim * self.bytes_per_value + self.scale_bytes
        per_sequence = 2 * self.num_layers * self.num_kv_heads * row
        return exact_times(per_sequence, self.batch)

    def size_bytes(self) -> Dim:
        """Bytes held by all layers."""
        return exact_times(self.bytes_per_token(), self.total_len())

    def size_gb(self) -> Dim:
        """GiB held by all layers."""
        return units.to_gib(self.size_bytes())

    def _check_layer(self, layer_idx: int) -> None:
        if not 0 <= layer_idx < self.num_layers:
            raise ModelMeterError(f"layer_idx {layer_idx} is not one of the cache's {self.num_layers} layers")

    def __repr__(self) -> str:
        return (
            f"SyntheticKVCache(batch={self.batch}, num_kv_heads={self.num_kv_heads}, head_dim={self.head_dim}, "
            f"num_layers={self.num_layers}, context_len={self.context_len}, decode_len={self.decode_len})"
        )


def estimate_kv_cache_size_gb(
    batch: Dim,
    context_len: Dim,
    num_layers: int,
    num_kv_heads: int,
    head_dim: int,
    bytes_per_value: int = 2,
    scale_bytes: int = 0,
) -> Dim:
    """GiB of a KV cache of `context_len` tokens: 2 * layers * KV heads * head size * bytes * batch * tokens.

    `scale_bytes` are added for each token and head, for its keys and for its values.
    """
    sizes = {"bytes_per_value": bytes_per_value, "scale_bytes": scale_bytes}
    return SyntheticKVCache(batch, num_kv_heads, head_dim, num_layers, context_len, **sizes).size_gb()
