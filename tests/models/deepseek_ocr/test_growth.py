"""How costs grow with the context, in prefill and in decode."""

import itertools

from support.staged import EACH_IMPLEMENTATION, EACH_PATH, started

CONTEXTS = (1, 2, 3, 10, 100, 283, 913, 1024, 4096, 8192)
GROWING = ("counted_flops", "tensor_flops", "flops", "activation_bytes", "kv_bytes", "io_bytes")


@EACH_IMPLEMENTATION
@EACH_PATH
def test_prefill_grows_with_context(implementation, attention):
    models = [started("prefill", context, implementation=implementation, attention=attention) for context in CONTEXTS]
    for short, long in itertools.pairwise(models):
        for name in GROWING:
            assert getattr(short.cost(), name) < getattr(long.cost(), name), name
        assert short.cost().weight_bytes <= long.cost().weight_bytes  # more experts are reached, until all are
        assert short.activation_peak_bytes() < long.activation_peak_bytes()
        assert short.kv_cache_bytes() < long.kv_cache_bytes()


@EACH_IMPLEMENTATION
@EACH_PATH
def test_decode_grows_with_context(implementation, attention):
    models = [started("decode", context, implementation=implementation, attention=attention) for context in CONTEXTS]
    for short, long in itertools.pairwise(models):
        for name in ("counted_flops", "tensor_flops", "flops", "kv_bytes", "io_bytes"):
            assert getattr(short.cost(), name) < getattr(long.cost(), name), name
        assert short.cost().weight_bytes == long.cost().weight_bytes
        assert short.cost().activation_bytes <= long.cost().activation_bytes
        assert short.kv_cache_bytes() < long.kv_cache_bytes()
