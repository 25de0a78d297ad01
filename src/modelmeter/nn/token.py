"""Layers over tokens: their default input, and the state of those that attend to a cache."""

from typing import Any, Literal, TypeAlias, Unpack

from modelmeter.core.dims import Dim, as_dim, check_sweep, exact_times, same
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.kv_cache import CacheStyle, PastKV, SyntheticKVCache
from modelmeter.core.layer import InputSize, Layer
from modelmeter.core.precision import BF16_CACHE, KVFormat
from modelmeter.core.recorder import Recorder

AttentionMode: TypeAlias = Literal["prefill", "decode"]


class TokenLayer(Layer):
    """A layer whose input is [b s hidden]; `seq_len` and `batch_size` set the default input."""

    def __init__(self, hidden_size: int, **size: Unpack[InputSize]) -> None:
        super().__init__(**size)
        self.hidden_size = hidden_size

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        seq_len, batch_size = sizes
        return (recorder.take((batch_size, seq_len, self.hidden_size), self.dtype),)


class CachedLayer(TokenLayer):
    """A layer that attends to a KV cache: `seq_len` query tokens after `past` cached ones.

    A new layer is in prefill mode with nothing cached. `set_*` and `step_decode` move its state; nothing else does.
    """

    def __init__(
        self,
        hidden_size: int,
        num_kv_heads: int,
        head_dim: int,
        cache: CacheStyle = "concat",
        **size: Unpack[InputSize],
    ) -> None:
        super().__init__(hidden_size, **size)
        self.num_kv_heads = num_kv_heads
        self.head_dim = head_dim
        self.cache_style = cache
        self.kv_format = BF16_CACHE
        self._mode: AttentionMode = "prefill"
        self._past: Dim = 0
        self._cache: SyntheticKVCache | None = None

    @property
    def operation_mode(self) -> AttentionMode:
        """ "prefill" or "decode"."""
        return self._mode

    @property
    def operation_stage(self) -> AttentionMode:
        """The same, under the name that decoder layers use."""
        return self._mode

    @property
    def kv_cache(self) -> SyntheticKVCache | None:
        """The cache of `set_prefill_state` or `set_decode_state`; None before."""
        return self._cache

    def set_prefill_shape(self, seq_len: Dim, batch_size: Dim = None) -> None:
        """`seq_len` query tokens, nothing cached."""
        seq_len, batch_size = as_dim(seq_len, "seq_len"), self._batch(batch_size)
        check_sweep(seq_len=seq_len, batch_size=batch_size)
        self._move("prefill", seq_len, batch_size, 0, None)

    def set_decode_shape(self, context_len: Dim, batch_size: Dim = None) -> None:
        """One query token that reads `context_len` keys, its own included."""
        context_len, batch_size = as_dim(context_len, "context_len"), self._batch(batch_size)
        check_sweep(context_len=context_len, batch_size=batch_size)
        self._move("decode", 1, batch_size, context_len - 1, None)

    def set_prefill_state(
        self, context_len: Dim, batch_size: Dim = None, kv_cache: SyntheticKVCache | None = None
    ) -> None:
        """Prefill of `context_len` tokens into `kv_cache` (adopted) or a new cache, which then holds them."""
        context_len, batch_size = as_dim(context_len, "context_len"), self._batch(batch_size)
        check_sweep(context_len=context_len, batch_size=batch_size)
        cache = self._adopt(kv_cache, batch_size)
        cache.context_len, cache.decode_len = context_len, 0
        self._move("prefill", context_len, batch_size, 0, cache)

    def set_decode_state(
        self, context_len: Dim, decode_len: Dim, batch_size: Dim = None, kv_cache: SyntheticKVCache | None = None
    ) -> None:
        """The next token after `context_len` prefilled and `decode_len` decoded ones."""
        context_len = as_dim(context_len, "context_len")
        decode_len = as_dim(decode_len, "decode_len", least=0)
        batch_size = self._batch(batch_size)
        check_sweep(context_len=context_len, decode_len=decode_len, batch_size=batch_size)
        cache = self._adopt(kv_cache, batch_size)
        cache.context_len, cache.decode_len = context_len, decode_len
        self._move("decode", 1, batch_size, context_len + decode_len, cache)

    def step_decode(self, batch_size: Dim = None) -> None:
        """Write one decoded token to the cache; after a prefill this enters decode mode."""
        batch_size = self._batch(batch_size)
        if self._cache is None:
            raise ModelMeterError(
                "step_decode() needs a KV cache: call set_prefill_state() or set_decode_state() first"
            )
        if not same(batch_size, self._cache.batch):
            raise ModelMeterError(f"step_decode() got batch_size {batch_size}, but the cache holds {self._cache.batch}")
        self._cache.update()
        self._move("decode", 1, batch_size, self._cache.total_len(), self._cache)

    def kv_cache_bytes(self) -> Dim:
        """Bytes this layer holds: after a prefill its tokens, in decode those cached before the next one."""
        _, _, past = self._sizes()
        cached = past + self.seq_len if self._mode == "prefill" else past
        return exact_times(exact_times(self.kv_bytes_per_token(), cached), self.batch_size)

    def kv_bytes_per_token(self) -> int:
        """Bytes that one token of one sequence holds in this layer: keys and values."""
        return 2 * self.num_kv_heads * self.kv_format.row_bytes(self.head_dim)

    def past(self, length: Dim) -> PastKV:
        """What a step finds cached."""
        return PastKV(length=length, style=self.cache_style, format=self.kv_format)

    def _sizes(self) -> tuple[Dim, ...]:
        past = self._past
        if self._mode == "decode" and self._cache is not None:
            past = self._cache.total_len()
        return (self.seq_len, self.batch_size, past)

    def _batch(self, batch_size: Dim) -> Dim:
        return self.batch_size if batch_size is None else as_dim(batch_size, "batch_size")

    def set_seq_len(self, seq_len: Dim) -> None:
        """A prefill of `seq_len` tokens with nothing cached, as `set_prefill_shape`."""
        self.set_prefill_shape(seq_len)

    def set_batch_size(self, batch_size: Dim) -> None:
        """Set the sequences, in either mode. Raises where a cache holds another number."""
        batch_size = self._batch(batch_size)
        if self._cache is not None and not same(self._cache.batch, batch_size):
            raise ModelMeterError(
                f"set_batch_size({batch_size}): the KV cache holds {self._cache.batch} sequences; "
                "call set_prefill_state() or set_decode_state() with another"
            )
        super().set_batch_size(batch_size)

    def _move(self, mode: AttentionMode, seq_len: Dim, batch: Dim, past: Dim, cache: SyntheticKVCache | None) -> None:
        self.seq_len, self.batch_size = seq_len, batch
        self._mode, self._past, self._cache = mode, past, cache

    def _adopt(self, given: SyntheticKVCache | None, batch: Dim) -> SyntheticKVCache:
        wanted = new_cache(self.kv_format, batch, self.num_kv_heads, self.head_dim)
        if given is None:
            return wanted
        check_cache(given, wanted, type(self).__name__)
        return given


def new_cache(stored: KVFormat, batch: Dim, num_kv_heads: int, head_dim: int, num_layers: int = 1) -> SyntheticKVCache:
    """An empty cache of a format."""
    sizes = {"bytes_per_value": stored.dtype.itemsize, "scale_bytes": stored.scale_bytes}
    return SyntheticKVCache(batch, num_kv_heads, head_dim, num_layers, **sizes)


def check_is_cache(cache: object) -> None:
    """Raise `ModelMeterError` unless it is a cache."""
    if not isinstance(cache, SyntheticKVCache):
        raise ModelMeterError(f"kv_cache must be a SyntheticKVCache, not {cache!r}")


def check_cache(cache: SyntheticKVCache, fitting: SyntheticKVCache, who: str) -> None:
    """Raise `ModelMeterError` naming what differs when `cache` is not as the `fitting` one is."""
    check_is_cache(cache)
    pairs = {
        "num_kv_heads": (cache.num_kv_heads, fitting.num_kv_heads),
        "head_dim": (cache.head_dim, fitting.head_dim),
        "bytes_per_value": (cache.bytes_per_value, fitting.bytes_per_value),
        "scale_bytes": (cache.scale_bytes, fitting.scale_bytes),
        "batch": (cache.batch, fitting.batch),
    }
    for name, (found, wanted) in pairs.items():
        if not same(found, wanted):
            raise ModelMeterError(f"the KV cache has {name} {found}, {who} needs {wanted}: pass a cache that matches")
