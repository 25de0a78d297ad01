"""Peak activation memory against torch's MemTracker on the real model, on meta: equal to the byte."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import DynamicCache

from modelmeter import plan_views

BF16 = torch.bfloat16


def _empty(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta", dtype=BF16)


def _activation_peak(model: nn.Module, run: Callable[[], Any]) -> int:
    """Bytes of activations (and of the KV cache that `run` makes) alive at the peak; `run` makes its own inputs."""
    tracker = MemTracker()
    tracker.track_external(model)
    with torch.no_grad(), tracker:
        kept = run()
    peak = tracker.get_tracker_snapshot("peak")[torch.device("meta")]
    del kept
    return sum(size for kind, size in peak.items() if "ACT" in str(kind) or "TEMP" in str(kind))


@pytest.mark.parametrize("side", [512, 640, 1024, 1280])
@pytest.mark.parametrize("batch", [1, 2])
def test_vision(real, make_model, side, batch):
    model = make_model()
    model.set_views(plan_views(side, side, mode="base", base_size=side))
    model.start_vision(batch)
    network = real.real
    measured = _activation_peak(network, lambda: network.model.get_image_features(_empty(batch, 3, side, side)))
    assert model.activation_peak_bytes() == measured


@pytest.mark.parametrize("tokens", [100, 903])
@pytest.mark.parametrize("batch", [1, 2])
def test_dense_decoder_layer(real, make_model, tokens, batch):
    network = real.real
    layer = network.model.language_model.layers[0]

    def run() -> Any:
        return layer(
            _empty(batch, tokens, 1280),
            attention_mask=_empty(batch, 1, tokens, tokens),
            position_embeddings=(_empty(1, tokens, 128), _empty(1, tokens, 128)),
            past_key_values=DynamicCache(config=network.config.text_config),
        )

    twin = make_model().network.model.layers[0]
    twin.set_prefill_shape(tokens, batch)
    assert twin.activation_peak_bytes() + twin.kv_cache_bytes() == _activation_peak(network, run)
