"""Backward against autograd: what FlopCounterMode counts in a backward pass of the real module, as integers.

Three ways to train each layer: all of it, all of it on an input without gradient (a first layer), and a frozen layer
that passes the gradient on.
"""

import copy
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import torch
from support.reference import count, images, really_saved
from torch import nn
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.unlimited_ocr.modeling_unlimited_ocr import UnlimitedOcrTextTopkRouter

from modelmeter import Conventions, DeepseekOCRConfig, Layer
from modelmeter.models.deepseek_ocr import LMHead, clip, deepseek_v2, llama, projector, sam

CONFIG = DeepseekOCRConfig()
TWIN = Conventions(implementation="transformers")
FLASH = Conventions(implementation="transformers", attention="flash")


@attrs.frozen
class Case:
    """`ours` with its default input set; `real` of the real model, called with `x` of that shape and `more`."""

    ours: Callable[[Conventions], Layer]
    real: Callable[[Any], nn.Module]
    x: torch.Tensor
    more: Callable[[], dict[str, Any]] = dict


def sized(layer: Layer, seq_len: int, batch_size: int = 1) -> Layer:
    layer.set_seq_len(seq_len)
    layer.set_batch_size(batch_size)
    return layer


def tensor(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, dtype=torch.bfloat16, device="meta")


def sam_layer(model: Any, index: int) -> nn.Module:
    return model.model.vision_tower.sam_encoder.layers[index]


def clip_layer(model: Any) -> nn.Module:
    return model.model.vision_tower.vision_encoder.encoder.layers[0]


def decoder_layer(model: Any, index: int) -> nn.Module:
    return model.model.language_model.layers[index]


QUERIES, BATCH = 100, 2
HIDDEN = tensor(BATCH, QUERIES, 1280)


def step() -> dict[str, Any]:
    """What the model hands to a decoder layer; each call fills an empty cache of its own."""
    return {
        "position_embeddings": (tensor(1, QUERIES, 128), tensor(1, QUERIES, 128)),
        "attention_mask": tensor(BATCH, 1, QUERIES, QUERIES),
        "past_key_values": DynamicCache(),
    }


def decoder_twin(index: int) -> Callable[[Conventions], Layer]:
    return lambda c: sized(deepseek_v2.DeepseekV2DecoderLayer(CONFIG.decoder, index, c), QUERIES, BATCH)


def attention_twin(c: Conventions) -> Layer:
    kind = llama.LlamaFlashAttention2 if c.attention == "flash" else llama.LlamaAttention
    return sized(kind(CONFIG.decoder, c), QUERIES, BATCH)


CASES = {
    "SAM block in windows": Case(
        lambda c: sized(sam.Block(CONFIG.sam, 14, c), 40, 2), lambda m: sam_layer(m, 0), tensor(2, 40, 40, 768)
    ),
    "SAM block in windows, padded from 64": Case(
        lambda c: sized(sam.Block(CONFIG.sam, 14, c), 64), lambda m: sam_layer(m, 0), tensor(1, 64, 64, 768)
    ),
    "SAM global block": Case(
        lambda c: sized(sam.Block(CONFIG.sam, 0, c), 64), lambda m: sam_layer(m, 2), tensor(1, 64, 64, 768)
    ),
    "SAM global block, table resized": Case(
        lambda c: sized(sam.Block(CONFIG.sam, 0, c), 40, 2), lambda m: sam_layer(m, 2), tensor(2, 40, 40, 768)
    ),
    "SAM attention": Case(
        lambda c: sized(sam.Attention(CONFIG.sam, 14, c), 14, 25),
        lambda m: sam_layer(m, 0).attn,
        tensor(25, 14, 14, 768),
    ),
    "CLIP block": Case(
        lambda c: sized(clip.NoTPTransformerBlock(CONFIG.clip, c), 257, 2),
        clip_layer,
        tensor(2, 257, 1024),
        lambda: {"attention_mask": None},
    ),
    "CLIP attention": Case(
        lambda c: sized(clip.NoTPAttention(CONFIG.clip, c), 257, 2),
        lambda m: clip_layer(m).self_attn,
        tensor(2, 257, 1024),
    ),
    "projector": Case(
        lambda _: sized(projector.MlpProjector(CONFIG.projector), 256),
        lambda m: m.model.multi_modal_projector,
        tensor(1, 256, 2048),
    ),
    "dense decoder layer": Case(decoder_twin(0), lambda m: decoder_layer(m, 0), HIDDEN, step),
    "MoE decoder layer": Case(decoder_twin(1), lambda m: decoder_layer(m, 1), HIDDEN, step),
    "decoder attention": Case(attention_twin, lambda m: decoder_layer(m, 1).self_attn, HIDDEN, step),
    "MLP": Case(
        lambda _: sized(deepseek_v2.DeepseekV2MLP(1280, 6848), QUERIES, BATCH),
        lambda m: decoder_layer(m, 0).mlp,
        HIDDEN,
    ),
    "gate": Case(
        lambda _: sized(deepseek_v2.MoEGate(CONFIG.decoder), QUERIES, BATCH),
        lambda m: decoder_layer(m, 1).mlp.gate,
        HIDDEN,
    ),
    "MoE": Case(
        lambda c: sized(deepseek_v2.DeepseekV2MoE(CONFIG.decoder, c), QUERIES, BATCH),
        lambda m: decoder_layer(m, 1).mlp,
        HIDDEN,
    ),
    "head": Case(lambda _: sized(LMHead(1280, 129280), QUERIES, BATCH), lambda m: m.lm_head, HIDDEN),
    "SAM patches": Case(
        lambda _: sized(sam.PatchEmbed(CONFIG.sam), 640, 2), lambda m: m.model.vision_tower.sam_encoder.patch_embed,
        images(2, 640),
    ),
    "SAM neck": Case(
        lambda c: sized(sam.Neck(CONFIG.sam, c), 40, 2), lambda m: m.model.vision_tower.sam_encoder.neck,
        tensor(2, 40, 40, 768),
    ),
    "SAM encoder": Case(
        lambda c: sized(sam.ImageEncoderViT(CONFIG.sam, c), 640, 2),
        lambda m: m.model.vision_tower.sam_encoder,
        images(2, 640),
    ),
}  # fmt: skip
EACH_CASE = pytest.mark.parametrize("case", CASES.values(), ids=[name.replace(" ", "-") for name in CASES])


class ForwardAndBackward(nn.Module):
    """A module's call and then its backward pass."""

    def __init__(self, module: nn.Module, x: torch.Tensor, more: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self.module, self.x, self.more = module, x, more

    def forward(self, backward: bool) -> None:
        out = self.module(self.x, **self.more())
        # What the model goes on with: attention also gives its probabilities, the gate (logits, weights, indices).
        if isinstance(out, BaseModelOutput):
            used = out.last_hidden_state
        elif isinstance(out, tuple):
            used = out[1] if isinstance(self.module, UnlimitedOcrTextTopkRouter) else out[0]
        else:
            used = out
        if backward:
            used.backward(torch.empty_like(used))


def real_backward(case: Case, model: Any, *, frozen: bool, input_grad: bool) -> int:
    """FLOPs counted in forward and backward, less those of the forward pass."""
    module = copy.deepcopy(case.real(model)).requires_grad_(not frozen)
    x = case.x.clone().requires_grad_(input_grad)
    runs = ForwardAndBackward(module, x, case.more)
    return count(runs, True, grad=True).total - count(runs, False, grad=True).total


@EACH_CASE
def test_all_weights_and_the_input(real, case):
    ours = case.ours(TWIN).backward_cost().counted_flops
    assert ours == real_backward(case, real.real, frozen=False, input_grad=True)


@EACH_CASE
def test_an_input_without_gradient(real, case):
    ours = case.ours(TWIN).backward_cost(input_grad=False).counted_flops
    assert ours == real_backward(case, real.real, frozen=False, input_grad=False)


@EACH_CASE
def test_frozen_weights(real, case):
    ours = case.ours(TWIN).backward_cost(frozen_weights=True).counted_flops
    assert ours == real_backward(case, real.real, frozen=True, input_grad=True)


# "batched_mm" keeps a copy of an expert's weights for each row, which no real run does: its cases are left out.
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items() if "MoE" not in name])
@pytest.mark.parametrize(("frozen", "input_grad"), [(False, True), (False, False), (True, True)])
def test_saved_bytes(real, case, frozen, input_grad):
    """What autograd keeps of the forward pass, beside weights and cache."""
    module = copy.deepcopy(case.real(real.real)).requires_grad_(not frozen)
    x = case.x.clone().requires_grad_(input_grad)
    with torch.enable_grad():
        kept = really_saved(module, x, **case.more())
    assert case.ours(TWIN).saved_bytes(frozen_weights=frozen, input_grad=input_grad) == kept


@EACH_CASE
def test_nothing_to_train(case):
    """Frozen and without an input gradient there is no backward pass (autograd refuses it)."""
    cost = case.ours(TWIN).backward_cost(frozen_weights=True, input_grad=False)
    assert cost == cost * 0


@EACH_CASE
def test_forward_is_the_same_in_training(case):
    layer = case.ours(TWIN)
    assert layer.trace(grad=True).total == layer.trace().total == layer.cost()


# Each product and convolution with a gradient for both operands costs twice its forward.


@pytest.mark.parametrize("name", ["CLIP block", "dense decoder layer", "MoE decoder layer", "MLP", "head"])
def test_twice_the_forward(name):
    layer = CASES[name].ours(TWIN)
    assert layer.backward_cost().counted_flops == 2 * layer.cost().counted_flops


@pytest.mark.parametrize("name", ["MLP", "head", "projector"])
def test_frozen_linears_cost_the_forward_once(name):
    """Only d(input) is left: one product for each."""
    layer = CASES[name].ours(TWIN)
    assert layer.backward_cost(frozen_weights=True).counted_flops == layer.cost().counted_flops


@pytest.mark.parametrize(
    ("name", "core"),
    [
        ("CLIP block", (2, 16, 257, 64)),
        ("dense decoder layer", (BATCH, 10, QUERIES, 128)),
        ("decoder attention", (BATCH, 10, QUERIES, 128)),
        ("SAM attention", (25, 12, 14 * 14, 64)),
    ],
)
def test_flash_computes_the_scores_again(name, core):
    """A flash kernel keeps no scores: its backward has five products, the eager core's four (torch's formula)."""
    eager, flash = CASES[name].ours(TWIN), CASES[name].ours(FLASH)
    forward, backward = sdpa_flop_count(core, core, core), sdpa_backward_flop_count(core, core, core, core)
    assert eager.cost().counted_flops == flash.cost().counted_flops
    assert flash.backward_cost().counted_flops == eager.backward_cost().counted_flops - 2 * forward + backward
    batch, heads, tokens, width = core
    scores = 2 * batch * heads * tokens * tokens * width
    assert (forward, backward) == (2 * scores, 5 * scores)
