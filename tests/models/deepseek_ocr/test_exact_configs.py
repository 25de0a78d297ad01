"""Other configurations than the released one: both sides from the same numbers, compared as integers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compare import assert_same_modules, assert_same_operators, counted_by_operator
from support.reference import Stages, build, filled_cache, images, parameters, token_ids
from transformers import UnlimitedOcrForConditionalGeneration

from modelmeter import DeepseekOCRConfig, DeepseekOCRModel, plan_views
from modelmeter.live.reference.transformers5 import config_like
from modelmeter.models.deepseek_ocr.config import ClipConfig, DecoderConfig, ProjectorConfig, SamConfig


def configured(
    sam: dict | None = None, clip: dict | None = None, decoder: dict | None = None, **more: object
) -> DeepseekOCRConfig:
    """The released configuration with some sizes changed, and the projector between the parts made to fit."""
    new_sam, new_clip = SamConfig(**(sam or {})), ClipConfig(**(clip or {}))
    new_decoder = DecoderConfig(**(decoder or {}))
    width = new_sam.downsample_channels[-1] + new_clip.width
    projector = ProjectorConfig(input_dim=width, n_embed=new_decoder.hidden_size)
    return DeepseekOCRConfig(sam=new_sam, clip=new_clip, projector=projector, decoder=new_decoder, **more)


def layers(*kinds: str) -> dict:
    return {"num_hidden_layers": len(kinds), "mlp_layer_types": kinds}


# Most are shallow: depth is one number among others, and it is changed too.
SHALLOW = layers("dense", "sparse", "sparse")
FEW = {"layers": 3, "global_attn_indexes": (2,)}

EAGER = {
    "depths": configured(FEW, {"layers": 5}, layers("dense", *["sparse"] * 6)),
    "deeper": configured(
        {"layers": 16, "global_attn_indexes": (3, 7, 11, 15)}, {"layers": 32}, layers("dense", *["sparse"] * 26)
    ),
    "SAM-widths": configured(
        FEW | {"width": 1024, "heads": 16, "mlp_dim": 2816, "out_channels": 192, "downsample_channels": (384, 1024)},
        {"layers": 2},
        SHALLOW,
    ),
    "CLIP-widths": configured(
        FEW | {"downsample_channels": (512, 768)}, {"layers": 3, "width": 768, "heads": 12, "mlp_dim": 2048}, SHALLOW
    ),
    "decoder-widths": configured(
        FEW, {"layers": 2}, SHALLOW | {"hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16,
                                       "intermediate_size": 10944, "moe_intermediate_size": 1408},
    ),
    "heads": configured(
        FEW | {"heads": 8}, {"layers": 2, "heads": 8}, SHALLOW | {"num_attention_heads": 20, "num_key_value_heads": 20}
    ),
    "experts": configured(FEW, {"layers": 2}, SHALLOW | {"n_routed_experts": 160, "num_experts_per_tok": 8}),
    "top-1": configured(FEW, {"layers": 2}, SHALLOW | {"num_experts_per_tok": 1}),
    "shared-experts": configured(FEW, {"layers": 2}, SHALLOW | {"n_shared_experts": 3}),
    "no-shared-experts": configured(FEW, {"layers": 2}, SHALLOW | {"n_shared_experts": 0}),
    "group-limited-routing": configured(
        FEW, {"layers": 2}, SHALLOW | {"topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 3}
    ),
    "vocabulary": configured(FEW, {"layers": 2}, SHALLOW | {"vocab_size": 32_001}),
    "tied-head": configured(FEW, {"layers": 2}, SHALLOW | {"tie_word_embeddings": True}),
    "windows-of-7": configured(FEW | {"window_size": 7}, {"layers": 2}, SHALLOW),
    "windows-of-16": configured(FEW | {"window_size": 16}, {"layers": 2}, SHALLOW),
    "no-relative-positions": configured(FEW | {"use_rel_pos": False}, {"layers": 2}, SHALLOW),
    "no-absolute-positions": configured(FEW | {"use_abs_pos": False}, {"layers": 2}, SHALLOW),
    "no-qkv-bias": configured(FEW | {"qkv_bias": False}, {"layers": 2}, SHALLOW),
    "all-global": configured({"layers": 2, "global_attn_indexes": (0, 1)}, {"layers": 2}, SHALLOW),
    "no-global": configured({"layers": 2, "global_attn_indexes": ()}, {"layers": 2}, SHALLOW),
    "SAM-table-of-512-px": configured(FEW | {"image_size": 512}, {"layers": 2}, SHALLOW),
    "CLIP-table-of-336-px": configured(FEW, {"layers": 2, "image_size": 336}, SHALLOW),
    "all-dense": configured(FEW, {"layers": 2}, layers("dense", "dense")),
    "all-sparse": configured(FEW, {"layers": 2}, layers("sparse", "sparse")),
    "dense-in-between": configured(FEW, {"layers": 2}, layers("sparse", "dense", "sparse", "dense")),
    "MLP-bias": configured(FEW, {"layers": 2}, SHALLOW | {"mlp_bias": True}),
    "attention-bias": configured(FEW, {"layers": 2}, SHALLOW | {"attention_bias": True}),
}  # fmt: skip
# transformers' eager attention here does not repeat grouped KV heads, so these run scaled_dot_product_attention.
SDPA = {
    "GQA-5-of-10": configured(FEW, {"layers": 2}, SHALLOW | {"num_key_value_heads": 5}),
    "GQA-2-of-10": configured(FEW, {"layers": 2}, SHALLOW | {"num_key_value_heads": 2}),
    "MQA-with-bias": configured(FEW, {"layers": 2}, SHALLOW | {"num_key_value_heads": 1, "attention_bias": True}),
    "no-positions-at-all": configured(FEW | {"use_rel_pos": False, "use_abs_pos": False}, {"layers": 2}, SHALLOW),
}
CONFIGS = [
    *[pytest.param(config, "eager", id=name) for name, config in EAGER.items()],
    *[pytest.param(config, "sdpa", id=name) for name, config in SDPA.items()],
]


def compare(config: DeepseekOCRConfig, attention: str, *, side: int, queries: int, batch: int) -> None:
    """Parameters, vision of one view, prefill, a chunk after it, decode: totals, kinds of operator, modules."""
    real = Stages(build(config_like(config), attention))
    twin_attention = "flash" if attention == "sdpa" else "eager"
    model = DeepseekOCRModel.from_config(config, implementation="transformers", attention=twin_attention)
    assert model.parameter_count() == parameters(real.real)

    def same(call, *, methods=()):
        counted = real.count(call)
        trace = model.trace()
        assert trace.total.counted_flops == counted.total
        assert_same_operators(trace, counted)
        assert_same_modules(trace, counted, methods=methods)

    view = images(batch, side, config.sam.in_channels)
    step = config.sam.patch_size
    model.set_views(plan_views(side, side, mode="base", base_size=side, patch_size=step))
    model.start_vision(batch)
    same(lambda real: real.get_image_features(view), methods=("model",))

    model.set_views(None)
    model.start_prefill(queries, batch)
    same(lambda real: real(input_ids=token_ids(batch, queries), use_cache=True))

    cache = filled_cache(real.real, batch, [queries])
    model.extend_prefill(3)
    same(lambda real: real(input_ids=token_ids(batch, 3), past_key_values=cache, use_cache=True))

    model.start_decode()
    same(lambda real: real(input_ids=token_ids(batch, 1), past_key_values=cache, use_cache=True))


# Without shared experts transformers keeps their MLP with a width of 0; torch warns about the empty weights.
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op:UserWarning")
@pytest.mark.parametrize(("config", "attention"), CONFIGS)
def test_changed_configuration(config, attention):
    assert config != DeepseekOCRConfig()
    compare(config, attention, side=640, queries=50, batch=2)


def test_the_released_numbers_are_the_defaults_of_both(real):
    """The same comparison's translation gives the released model, parameter for parameter."""
    translated = build(config_like(DeepseekOCRConfig()))
    theirs = {path: parameter.shape for path, parameter in real.real.named_parameters()}
    assert {path: parameter.shape for path, parameter in translated.named_parameters()} == theirs


def test_patches_of_8_pixels():
    config = configured(FEW | {"patch_size": 8, "image_size": 512}, {"layers": 2}, SHALLOW)
    compare(config, "eager", side=320, queries=10, batch=1)


@st.composite
def small_configs(draw: st.DrawFn) -> DeepseekOCRConfig:
    """Any small model: each size drawn by itself."""

    def size(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    sam_layers, head = size(1, 3), 2 * size(4, 12)
    heads = size(1, 4)
    clip_heads = size(1, 3)
    clip_width = clip_heads * 8 * size(1, 3)
    experts = size(2, 12)
    kinds = tuple(draw(st.lists(st.sampled_from(["dense", "sparse"]), min_size=1, max_size=3)))
    sam = {
        "image_size": 16 * size(4, 20),
        "width": heads * 8 * size(1, 2),
        "heads": heads,
        "layers": sam_layers,
        "mlp_dim": size(8, 100),
        "out_channels": size(4, 40),
        "downsample_channels": (size(4, 40), clip_width),
        "window_size": size(2, 15),
        "global_attn_indexes": tuple(sorted(draw(st.sets(st.integers(0, sam_layers - 1))))),
        "qkv_bias": draw(st.booleans()),
        "use_abs_pos": draw(st.booleans()),
        "use_rel_pos": draw(st.booleans()),
    }
    clip = {"width": clip_width, "heads": clip_heads, "layers": size(1, 2), "mlp_dim": size(8, 100)}
    decoder_heads = size(1, 5)
    decoder = layers(*kinds) | {
        "hidden_size": decoder_heads * head,
        "num_attention_heads": decoder_heads,
        "num_key_value_heads": decoder_heads,
        "intermediate_size": size(8, 100),
        "moe_intermediate_size": size(8, 50),
        "n_routed_experts": experts,
        "num_experts_per_tok": size(1, experts),
        "n_shared_experts": size(1, 3),
        "vocab_size": size(10, 500),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
    }
    return configured(sam, clip, decoder)


@settings(max_examples=40)
@given(
    config=small_configs(),
    attention=st.sampled_from(["eager", "sdpa"]),
    side=st.sampled_from([64, 192, 320, 448]),
    queries=st.integers(1, 40),
    batch=st.integers(1, 3),
)
def test_any_small_configuration(config, attention, side, queries, batch):
    compare(config, attention, side=side, queries=queries, batch=batch)


def test_a_small_model_that_really_runs():
    """On the CPU, with data: the loop over experts instead of "batched_mm", so that no operator is set aside."""
    config = configured(
        {"image_size": 128, "width": 32, "heads": 2, "layers": 2, "mlp_dim": 64, "out_channels": 16,
         "downsample_channels": (24, 32), "window_size": 5, "global_attn_indexes": (1,)},
        {"width": 32, "heads": 2, "layers": 2, "mlp_dim": 64},
        layers("dense", "sparse") | {"hidden_size": 40, "num_attention_heads": 2, "num_key_value_heads": 2,
                                     "intermediate_size": 72, "moe_intermediate_size": 24, "n_routed_experts": 8,
                                     "num_experts_per_tok": 2, "vocab_size": 200},
    )  # fmt: skip
    described = config_like(config)
    for part in (
        described,
        described.text_config,
        described.vision_config.sam_config,
        described.vision_config.encoder_config,
    ):
        part._attn_implementation = "eager"
        part._experts_implementation = "eager"
    real = Stages(UnlimitedOcrForConditionalGeneration(described).eval())
    model = DeepseekOCRModel.from_config(config, implementation="transformers")
    plan = plan_views(192, 192, mode="base", base_size=192)
    model.set_views(plan)
    model.start_vision(2)
    counted = real.count(lambda real: real.get_image_features(torch.zeros(2, 3, 192, 192)))
    assert counted_by_operator(model.trace()) == counted.by_operator
    model.set_views(None)
    model.start_prefill(30, 2)
    counted = real.count(lambda real: real(input_ids=torch.arange(60).view(2, 30), use_cache=True))
    assert counted_by_operator(model.trace()) == counted.by_operator


def test_grouped_heads_read_fewer_keys_at_equal_products():
    """GQA: KV bytes shrink by the group, the attention core's products do not, k and v projections do."""
    full, grouped = DeepseekOCRConfig(), configured(decoder={"num_key_value_heads": 2})
    costs = []
    for config in (full, grouped):
        model = DeepseekOCRModel.from_config(config, attention="flash")
        model.start_prefill(100)
        model.start_decode()
        costs.append((model.trace().by_op()["flash_attention"].cost, model.kv_cache_bytes(), model.cost()))
    (core, kv, cost), (grouped_core, grouped_kv, grouped_cost) = costs
    assert core.counted_flops == grouped_core.counted_flops == 12 * 2 * 2 * 10 * 101 * 128
    assert kv == 5 * grouped_kv
    assert core.kv_read_bytes == 5 * grouped_core.kv_read_bytes == 12 * 2 * 10 * 101 * 128 * 2
    assert cost.counted_flops - grouped_cost.counted_flops == 12 * 2 * (2 * 1280 * (1280 - 256))  # k_proj, v_proj
