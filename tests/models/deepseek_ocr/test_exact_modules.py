"""Every twin alone against its real module: counted FLOPs and number of weights, as integers."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import torch
from support.compare import counted_by_operator
from support.harness import tensors, trace_call
from support.reference import bf16_on_meta, count, image_arguments, images, parameters, token_ids
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.models.unlimited_ocr.configuration_unlimited_ocr import UnlimitedOcrTextConfig
from transformers.models.unlimited_ocr.modeling_unlimited_ocr import UnlimitedOcrTextExperts

import modelmeter.models.deepseek_ocr as twins
from modelmeter import Conventions, DeepseekOCRConfig, DeepseekOCRModel, Layer, ViewPlan
from modelmeter.core.kv_cache import PastKV
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import BF16, FP32, INT64
from modelmeter.models.deepseek_ocr import clip, deepseek_v2, llama, network, projector, sam
from modelmeter.models.deepseek_ocr import head as head_of
from modelmeter.models.deepseek_ocr.config import ProjectorConfig
from modelmeter.nn.conv import Conv2d
from modelmeter.nn.embedding import Embedding

CONFIG = DeepseekOCRConfig()
SAM, CLIP, DECODER = CONFIG.sam, CONFIG.clip, CONFIG.decoder
UNUSED_PATCH_CONVOLUTION = 1024 * 3 * 14 * 14  # the vendor's CLIP carries it, nothing calls it

# How each side runs: our conventions, and the attention with which the real model is built. The vendor's vision always
# runs scaled_dot_product_attention, its decoder here the eager core.
EAGER = Conventions(implementation="transformers")
FLASH = Conventions(implementation="transformers", attention="flash")
VENDOR = Conventions(implementation="vendor")


@attrs.frozen
class Case:
    """One twin at one size: `ours` is recorded on `sizes` (of its example inputs) or on `inputs`; `call` runs the real.

    `vendor_flops` and `vendor_parameters` are what the vendor's code has beyond transformers'.
    """

    name: str
    ours: Callable[[Conventions], Layer]
    real: Callable[[PreTrainedModel], Any]
    call: Callable[[Any], Any]
    sizes: tuple[int, ...] = ()
    inputs: Callable[[Recorder, Conventions], tuple[Any, ...]] | None = None
    vision: bool = True
    vendor_flops: int = 0
    vendor_parameters: int = 0


def tensor(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


# Vision ---------------------------------------------------------------------------------------------------------------


def real_sam(model: PreTrainedModel) -> nn.Module:
    return model.model.vision_tower.sam_encoder


def real_clip(model: PreTrainedModel) -> nn.Module:
    return model.model.vision_tower.vision_encoder


def at_grid(name: str, *grids: tuple[int, int], width: int, make: Callable[..., Case]) -> list[Case]:
    """Cases of a layer over grids [b side side width], for each (side, b)."""
    return [
        make(f"{name} {side} x{batch}", sizes=(side, batch), call=lambda m, s=side, b=batch: m(tensor(b, s, s, width)))
        for side, batch in grids
    ]


def windowed_attention(name: str, **case: Any) -> Case:
    return Case(name, lambda c: sam.Attention(SAM, 14, c), lambda m: real_sam(m).layers[0].attn, **case)


def global_attention(name: str, **case: Any) -> Case:
    return Case(name, lambda c: sam.Attention(SAM, 64, c), lambda m: real_sam(m).layers[2].attn, **case)


def windowed_block(name: str, **case: Any) -> Case:
    return Case(name, lambda c: sam.Block(SAM, 14, c), lambda m: real_sam(m).layers[0], **case)


def global_block(name: str, **case: Any) -> Case:
    return Case(name, lambda c: sam.Block(SAM, 0, c), lambda m: real_sam(m).layers[2], **case)


def mlp_block(name: str, **case: Any) -> Case:
    return Case(name, lambda _: sam.MLPBlock(768, 3072), lambda m: real_sam(m).layers[0].mlp, **case)


def neck(side: int, batch: int) -> Case:
    """The real neck takes [b h w c] and turns it itself."""
    return Case(
        f"neck {side} x{batch}",
        lambda c: sam.Neck(SAM, c),
        lambda m: real_sam(m).neck,
        lambda m: m(tensor(batch, side, side, 768)),
        sizes=(side, batch),
    )


def channels_first_norm(side: int, batch: int) -> Case:
    return Case(
        f"norm {side} x{batch}",
        lambda c: sam.LayerNorm2d(256, c),
        lambda m: real_sam(m).neck.layer_norm1,
        lambda m: m(tensor(batch, 256, side, side)),
        sizes=(side, batch),
    )


def downsampling(which: str, side: int, batch: int) -> Case:
    """net_2 and net_3: strided 3x3 convolutions (proj.conv1 and proj.conv2 there)."""
    channels, real_name = {"net_2": (256, "conv1"), "net_3": (512, "conv2")}[which]
    return Case(
        f"{which} {side} x{batch}",
        lambda c: getattr(sam.ImageEncoderViT(SAM, c), which),
        lambda m: getattr(real_sam(m).proj, real_name),
        lambda m: m(tensor(batch, channels, side, side)),
        inputs=lambda recorder, _: tensors((batch, channels, side, side))(recorder),
    )


def patch_embed(side: int, batch: int) -> Case:
    return Case(
        f"patches {side} x{batch}",
        lambda _: sam.PatchEmbed(SAM),
        lambda m: real_sam(m).patch_embed,
        lambda m: m(images(batch, side)),
        sizes=(side, batch),
    )


def sam_encoder(side: int, batch: int) -> Case:
    return Case(
        f"sam {side} x{batch}",
        lambda c: sam.ImageEncoderViT(SAM, c),
        real_sam,
        lambda m: m(images(batch, side)),
        sizes=(side, batch),
    )


def clip_embeddings(side: int, batch: int) -> Case:
    return Case(
        f"embeddings {side} x{batch}",
        lambda c: clip.CLIPVisionEmbeddings(CLIP, c),
        lambda m: real_clip(m).embeddings,
        lambda m: m(tensor(batch, 1024, side, side)),
        sizes=(side, batch),
        vendor_parameters=UNUSED_PATCH_CONVOLUTION,
    )


def vit_model(side: int, batch: int) -> Case:
    return Case(
        f"clip {side} x{batch}",
        lambda c: clip.VitModel(CLIP, c),
        real_clip,
        lambda m: m(tensor(batch, 1024, side, side)),
        sizes=(side, batch),
        vendor_parameters=UNUSED_PATCH_CONVOLUTION,
    )


CLIP_LAYERS: dict[str, tuple[Callable[[Conventions], Layer], Callable[[nn.Module], Any], dict[str, Any]]] = {
    "NoTPAttention": (lambda c: clip.NoTPAttention(CLIP, c), lambda m: m.encoder.layers[0].self_attn, {}),
    "NoTPFeedForward": (lambda _: clip.NoTPFeedForward(1024, 4096), lambda m: m.encoder.layers[0].mlp, {}),
    "NoTPTransformerBlock": (
        lambda c: clip.NoTPTransformerBlock(CLIP, c),
        lambda m: m.encoder.layers[0],
        {"attention_mask": None},
    ),
    "NoTPTransformer": (lambda c: clip.NoTPTransformer(CLIP, c), lambda m: m.encoder, {}),
}


def clip_layers(kind: str) -> list[Case]:
    """A CLIP layer over 257 tokens (1024 px), and 3 x 101 (640 px)."""
    ours, real, kwargs = CLIP_LAYERS[kind]
    return [
        Case(
            f"{kind} {tokens} x{batch}",
            ours,
            lambda m: real(real_clip(m)),
            lambda m, t=tokens, b=batch: m(tensor(b, t, 1024), **kwargs),
            sizes=(tokens, batch),
        )
        for tokens, batch in ((257, 1), (101, 3))
    ]


def linear_projector(tokens: int, batch: int) -> Case:
    return Case(
        f"linear {tokens} x{batch}",
        lambda _: projector.MlpProjector(CONFIG.projector),
        lambda m: m.model.multi_modal_projector,
        lambda m: m(tensor(batch, tokens, 2048)),
        sizes=(tokens, batch),
    )


def built(make: Callable[[], nn.Module]) -> nn.Module:
    with bf16_on_meta():
        return make()


def other_projector(kind: str, config: ProjectorConfig, real: Callable[[], nn.Module]) -> Case:
    """The vendor's other kinds, against the torch modules they are made of (its build_projector)."""
    return Case(
        kind,
        lambda _: projector.MlpProjector(config),
        lambda _: built(real),
        lambda m: m(tensor(2, 100, 2048)),
        sizes=(100, 2),
    )


def gelu_projector() -> nn.Module:
    """mlp_gelu of depth 3: a linear, then GELU and a linear twice."""
    layers: list[nn.Module] = [nn.Linear(2048, 1280)]
    for _ in range(2):
        layers += [nn.GELU(), nn.Linear(1280, 1280)]
    return nn.Sequential(*layers)


def vision_tower(side: int, batch: int) -> Case:
    """SAM, CLIP and the projector; there the projector is called by the model, not by the tower."""
    return Case(
        f"tower {side} x{batch}",
        lambda c: network.VisionTower(CONFIG, c),
        lambda m: nn.ModuleList([m.model.vision_tower, m.model.multi_modal_projector]),
        lambda m: m[1](m[0](images(batch, side)).last_hidden_state),
        sizes=(side, batch),
        vendor_parameters=UNUSED_PATCH_CONVOLUTION,
    )


# Decoder --------------------------------------------------------------------------------------------------------------

TOKENS = ((1, 1), (100, 1), (283, 4))
# Query tokens, batch, cached tokens: prefills, chunks onto a cache, decode steps.
STEPS = ((1, 1, 0), (100, 1, 0), (64, 4, 0), (28, 1, 100), (7, 3, 50), (1, 1, 913), (1, 4, 1024))


def real_decoder(model: PreTrainedModel) -> nn.Module:
    return model.model.language_model


def over_tokens(
    name: str, ours: Callable[[Conventions], Layer], real: Callable[[nn.Module], Any], width: int = 1280
) -> list[Case]:
    """Cases of a decoder layer over [b s width]."""
    return [
        Case(
            f"{name} {tokens} x{batch}",
            ours,
            lambda m: real(real_decoder(m)),
            lambda m, t=tokens, b=batch: m(tensor(b, t, width)),
            sizes=(tokens, batch),
            vision=False,
        )
        for tokens, batch in TOKENS
    ]


def step_arguments(queries: int, batch: int, past: int, layer_index: int) -> dict[str, Any]:
    """What the real model hands to a decoder layer and its attention."""
    cache = DynamicCache()
    if past:
        for index in range(layer_index + 1):
            cache.update(tensor(batch, 10, past, 128), tensor(batch, 10, past, 128), index)
    return {
        "hidden_states": tensor(batch, queries, 1280),
        "position_embeddings": (tensor(1, queries, 128), tensor(1, queries, 128)),
        "attention_mask": tensor(batch, 1, queries, past + queries),
        "past_key_values": cache,
    }


def rotary_product(queries: int) -> int:
    """The vendor's rotary table, in every layer: [64 1] by [1 q], once for the whole batch."""
    return 2 * 64 * 1 * queries


def over_steps(
    name: str, ours: Callable[[Conventions], Layer], real: Callable[[nn.Module], Any], index: int
) -> list[Case]:
    """Cases of a layer that attends to a cache."""
    return [
        Case(
            f"{name} {queries} x{batch} after {past}",
            ours,
            lambda m: real(m.model.language_model.layers[index]),
            lambda m, step=(queries, batch, past): m(**step_arguments(*step, index)),
            sizes=(queries, batch, past),
            vision=False,
            vendor_flops=rotary_product(queries),
        )
        for queries, batch, past in STEPS
    ]


def attention_of(c: Conventions) -> Layer:
    kind = llama.LlamaFlashAttention2 if c.attention == "flash" else llama.LlamaAttention
    return kind(DECODER, c)


class RotaryOfTransformers446(nn.Module):
    """The arithmetic of transformers 4.46's LlamaRotaryEmbedding.forward, the vendor's: a batched product in fp32."""

    def forward(self, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inv_freq = torch.empty(64, dtype=torch.float32, device="meta")
        inv_freq_expanded = inv_freq[None, :, None].float().expand(position_ids.shape[0], -1, 1)
        position_ids_expanded = position_ids[:, None, :].float()
        freqs = (inv_freq_expanded.float() @ position_ids_expanded.float()).transpose(1, 2)
        emb = torch.cat((freqs, freqs), dim=-1)
        return emb.cos().to(torch.bfloat16), emb.sin().to(torch.bfloat16)


def vendor_rotary(positions: int, queries: int) -> Case:
    return Case(
        f"rotary {queries} x{positions}",
        lambda _: llama.LlamaRotaryEmbedding(128),
        lambda _: RotaryOfTransformers446(),
        lambda m: m(token_ids(positions, queries)),
        inputs=lambda recorder, _: tensors((positions, queries), dtype=INT64)(recorder),
        vision=False,
    )


def rotary(queries: int) -> Case:
    return Case(
        f"rotary {queries}",
        lambda _: llama.RotaryEmbedding(128),
        lambda m: real_decoder(m).rotary_emb,
        lambda m: m(tensor(1, queries, 1280), token_ids(1, queries)),
        sizes=(queries, 1),
        vision=False,
    )


def experts(tokens: int) -> Case:
    """The routed experts alone; indices are whole numbers, routing does not change the FLOPs."""
    return Case(
        f"experts {tokens}",
        lambda c: deepseek_v2.Experts(DECODER, c),
        lambda m: real_decoder(m).layers[1].mlp.experts,
        lambda m: m(tensor(tokens, 1280), token_ids(tokens, 6), tensor(tokens, 6, dtype=torch.float32)),
        inputs=lambda recorder, _: (
            recorder.take((tokens, 1280), BF16),
            recorder.take((tokens, 6), FP32),
            recorder.take((tokens, 6), INT64),
        ),
        vision=False,
    )


def embedding(tokens: int, batch: int) -> Case:
    return Case(
        f"embedding {tokens} x{batch}",
        lambda _: Embedding(129280, 1280),
        lambda m: real_decoder(m).embed_tokens,
        lambda m: m(token_ids(batch, tokens)),
        sizes=(tokens, batch),
        vision=False,
    )


def head(tokens: int, batch: int) -> Case:
    return Case(
        f"head {tokens} x{batch}",
        lambda _: head_of.LMHead(1280, 129280),
        lambda m: m.lm_head,
        lambda m: m(tensor(batch, tokens, 1280)),
        sizes=(tokens, batch),
        vision=False,
    )


# The whole ------------------------------------------------------------------------------------------------------------


def network_of(c: Conventions) -> network.DeepseekOCRForCausalLM:
    return DeepseekOCRModel.from_config(**attrs.asdict(c)).network


def network_inputs(recorder: Recorder, _: Conventions) -> tuple[Any, ...]:
    """ids, attention mask, past and grid of 2 x 28 text tokens after 100."""
    return recorder.take((2, 28), INT64), recorder.take((2, 128), INT64), PastKV(length=100), (1, 1)


def call_network(module: nn.Module) -> Any:
    cache = DynamicCache()
    for index in range(12):
        cache.update(tensor(2, 10, 100, 128), tensor(2, 10, 100, 128), index)
    return module(input_ids=token_ids(2, 28), past_key_values=cache, use_cache=True)


def whole(name: str, ours: Callable[[Conventions], Layer], real: Callable[[PreTrainedModel], Any]) -> Case:
    return Case(
        name,
        ours,
        real,
        call_network,
        inputs=network_inputs,
        vision=False,
        vendor_flops=12 * rotary_product(28),
        vendor_parameters=UNUSED_PATCH_CONVOLUTION,
    )


class ImageFeatures(nn.Module):
    """The real vision method as a module: towers, projector, newlines, separator. Its weights: all of `model`."""

    def __init__(self, real: PreTrainedModel) -> None:
        super().__init__()
        self.real = real

    def forward(self, plan: ViewPlan, batch: int) -> Any:
        return self.real.get_image_features(**image_arguments(plan, batch))


def vision_stage(name: str, ours: Callable[[network.Backbone], Layer]) -> Case:
    plan, batch = ViewPlan.from_grid((2, 3)), 2
    return Case(
        name,
        lambda c: ours(network_of(c).model),
        lambda m: ImageFeatures(m.model),
        lambda m: m(plan, batch),
        inputs=lambda recorder, _: (
            plan.grid,
            batch,
            *[recorder.take((batch * number, 3, side, side), BF16) for number, side in plan.views],
        ),
        vendor_parameters=UNUSED_PATCH_CONVOLUTION,
    )


CASES: dict[type[Layer], list[Case]] = {
    sam.PatchEmbed: [patch_embed(1024, 1), patch_embed(640, 6)],
    sam.MLPBlock: at_grid("mlp", (64, 1), (40, 3), width=768, make=mlp_block),
    sam.Attention: [
        *at_grid("windows", (14, 25), (14, 9), width=768, make=windowed_attention),
        *at_grid("global", (64, 1), (40, 6), (80, 1), width=768, make=global_attention),
    ],
    sam.Block: [
        *at_grid("windowed", (64, 1), (40, 6), (70, 1), width=768, make=windowed_block),
        *at_grid("global", (64, 1), (40, 6), width=768, make=global_block),
    ],
    sam.LayerNorm2d: [channels_first_norm(64, 1), channels_first_norm(40, 6)],
    sam.Neck: [neck(64, 1), neck(40, 6)],
    sam.ImageEncoderViT: [sam_encoder(1024, 1), sam_encoder(640, 6)],
    Conv2d: [
        downsampling(which, side, batch) for which in ("net_2", "net_3") for side, batch in ((64, 1), (20, 6), (7, 2))
    ],
    clip.CLIPVisionEmbeddings: [clip_embeddings(16, 1), clip_embeddings(10, 6)],
    clip.NoTPAttention: clip_layers("NoTPAttention"),
    clip.NoTPFeedForward: clip_layers("NoTPFeedForward"),
    clip.NoTPTransformerBlock: clip_layers("NoTPTransformerBlock"),
    clip.NoTPTransformer: clip_layers("NoTPTransformer"),
    clip.VitModel: [vit_model(16, 1), vit_model(10, 6)],
    projector.MlpProjector: [
        linear_projector(256, 1),
        linear_projector(100, 6),
        other_projector("identity", ProjectorConfig(kind="identity", n_embed=2048), nn.Identity),
        other_projector("mlp_gelu", ProjectorConfig(kind="mlp_gelu", depth=3), gelu_projector),
    ],
    network.VisionTower: [vision_tower(1024, 1), vision_tower(640, 6)],
    llama.LlamaRotaryEmbedding: [vendor_rotary(1, 1), vendor_rotary(1, 913), vendor_rotary(4, 283)],
    llama.RotaryEmbedding: [rotary(1), rotary(913)],
    llama.LlamaAttention: over_steps("attention", attention_of, lambda layer: layer.self_attn, 0),
    # With attention "flash" the same cases record this class (see attention_of); a few more of its own.
    llama.LlamaFlashAttention2: over_steps("attention", attention_of, lambda layer: layer.self_attn, 1)[-2:],
    deepseek_v2.DeepseekV2RMSNorm: over_tokens("norm", lambda _: deepseek_v2.DeepseekV2RMSNorm(1280), lambda m: m.norm),
    deepseek_v2.DeepseekV2MLP: [
        *over_tokens("dense", lambda _: deepseek_v2.DeepseekV2MLP(1280, 6848), lambda m: m.layers[0].mlp),
        *over_tokens(
            "shared", lambda _: deepseek_v2.DeepseekV2MLP(1280, 1792), lambda m: m.layers[1].mlp.shared_experts
        ),
    ],
    deepseek_v2.MoEGate: over_tokens("gate", lambda _: deepseek_v2.MoEGate(DECODER), lambda m: m.layers[1].mlp.gate),
    deepseek_v2.Experts: [experts(1), experts(100), experts(903)],
    deepseek_v2.DeepseekV2MoE: over_tokens(
        "moe", lambda c: deepseek_v2.DeepseekV2MoE(DECODER, c), lambda m: m.layers[1].mlp
    ),
    deepseek_v2.DeepseekV2DecoderLayer: [
        *over_steps("dense", lambda c: deepseek_v2.DeepseekV2DecoderLayer(DECODER, 0, c), lambda layer: layer, 0),
        *over_steps("moe", lambda c: deepseek_v2.DeepseekV2DecoderLayer(DECODER, 1, c), lambda layer: layer, 1),
    ],
    Embedding: [embedding(1, 1), embedding(913, 4)],
    head_of.LMHead: [head(1, 1), head(283, 4)],
    network.Backbone: [
        attrs.evolve(
            whole("backbone", lambda c: network_of(c).model, lambda m: m.model), vendor_flops=12 * rotary_product(28)
        )
    ],
    network.DeepseekOCRForCausalLM: [whole("network", network_of, lambda m: m)],
    network.VisionStage: [vision_stage("stage", network.VisionStage)],
}

WITHOUT_A_REAL_MODULE = {
    "sam._GridLayer": "abstract: the default input of SAM's layers",
    "network.ImageTokens": "inline in get_image_features: copies only; its two vectors are counted in parameters tests",
    "network.ImageTokenSplice": "inline in the real forward: comparisons and copies",
    "head.Head": "`lm_head` and a cast of the logits that the real forward makes inline",
    "network.CausalMask": "a function there (create_causal_mask): comparisons and copies",
    "masks.UnlimitedOcrMasks": "functions there (create_causal_mask and its reference-sliding kin): no products",
    "network.VisionBackbone": "the child of VisionStage that calls Backbone.encode; VisionStage's case runs it",
}


EACH_CASE = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{twin.__name__}-{case.name.replace(' ', '-')}")
        for twin, cases in CASES.items()
        for case in cases
    ],
)


def twin_trace(case: Case, conventions: Conventions) -> tuple[int, int]:
    """(counted FLOPs, parameters) of our side."""
    layer = case.ours(conventions)
    if case.inputs is None:
        trace = layer.trace_at(*case.sizes)
    else:
        trace = trace_call(layer, lambda recorder: case.inputs(recorder, conventions))
    return trace.total.counted_flops, layer.parameter_count()


def real_numbers(case: Case, model: PreTrainedModel) -> tuple[int, int]:
    module = case.real(model)
    wrapped = module if isinstance(module, nn.Module) else nn.Identity()
    return count(_Call(module, case.call)).total, parameters(wrapped)


class _Call(nn.Module):
    """A call as a module, for the counter's module tracking to have a root."""

    def __init__(self, module: nn.Module, call: Callable[[Any], Any]) -> None:
        super().__init__()
        self.module = module
        self.call = call

    def forward(self) -> Any:
        return self.call(self.module)


@EACH_CASE
def test_eager(real, case):
    assert twin_trace(case, EAGER) == real_numbers(case, real.real)


@EACH_CASE
def test_scaled_dot_product_attention(real_sdpa, case):
    """On meta it is taken apart into the same two products, whatever the mask."""
    assert twin_trace(case, FLASH) == real_numbers(case, real_sdpa.real)


@EACH_CASE
def test_vendor(real, real_sdpa, case):
    """The vendor's code beside transformers': the differences are named and counted in each case."""
    flops, weights = real_numbers(case, (real_sdpa if case.vision else real).real)
    expected = flops + case.vendor_flops, weights + case.vendor_parameters
    assert twin_trace(case, VENDOR) == expected


def test_routed_experts_as_a_loop_are_mm():
    """The loop over experts routes on data, so it runs on the CPU, small: 8 experts of 32, 100 tokens of 2 experts.

    Elsewhere the real model runs its experts as "batched_mm"; this shows that `mm` is what the loop does.
    """
    small = attrs.evolve(DECODER, hidden_size=80, moe_intermediate_size=32, n_routed_experts=8, num_experts_per_tok=2)
    config = UnlimitedOcrTextConfig(hidden_size=80, moe_intermediate_size=32, n_routed_experts=8, num_experts_per_tok=2)
    config._experts_implementation = "eager"
    loop = UnlimitedOcrTextExperts(config)
    for parameter in loop.parameters():
        nn.init.zeros_(parameter)
    chosen = torch.arange(100 * 2).view(100, 2) % 8
    counted = count(loop, torch.zeros(100, 80), chosen, torch.zeros(100, 2))
    layer = deepseek_v2.Experts(small, EAGER)
    trace = trace_call(
        layer,
        lambda recorder: (
            recorder.take((100, 80), BF16),
            recorder.take((100, 2), FP32),
            recorder.take((100, 2), INT64),
        ),
    )
    assert counted_by_operator(trace) == counted.by_operator == {"mm": 2 * 100 * 2 * (80 * 64 + 32 * 80)}


def test_every_twin_has_a_case():
    for module in pkgutil.iter_modules(twins.__path__):
        importlib.import_module(f"{twins.__name__}.{module.name}")
    found = {kind for kind in subclasses(Layer) if kind.__module__.startswith(twins.__name__)}
    names = {kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}" for kind in found}
    without = {name for kind, name in names.items() if kind not in CASES}
    assert without == set(WITHOUT_A_REAL_MODULE)
    assert all(CASES.values())


@pytest.mark.parametrize("conventions", [EAGER, FLASH, VENDOR], ids=["eager", "flash", "vendor"])
def test_each_case_records_its_class(conventions):
    """The class a case stands under is the class that is recorded, or one that calls it."""
    for twin, cases in CASES.items():
        for case in cases:
            layer = case.ours(conventions)
            if twin in (llama.LlamaAttention, llama.LlamaFlashAttention2):
                flash = conventions.attention == "flash"
                assert type(layer) is (llama.LlamaFlashAttention2 if flash else llama.LlamaAttention)
            else:
                assert type(layer) is twin


def subclasses(kind: type[Layer]) -> Iterator[type[Layer]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)
