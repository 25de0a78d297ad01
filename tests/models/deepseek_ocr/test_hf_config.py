"""`read_config`: both forms of configuration, their variants, and an error for whatever is not understood."""

import copy
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import UnlimitedOcrConfig

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.config import ClipConfig, DecoderConfig, DeepseekOCRConfig, SamConfig
from modelmeter.models.deepseek_ocr.hf_config import read_config

RELEASED_FILE = Path(__file__).parents[4] / "shared/reference/deepseek_ocr_config.json"
OCR2_FILE = RELEASED_FILE.with_name("deepseek_ocr2_config.json")

LANGUAGE = {
    "bos_token_id": 0,
    "eos_token_id": 1,
    "first_k_dense_replace": 1,
    "hidden_size": 1280,
    "intermediate_size": 6848,
    "kv_lora_rank": None,
    "lm_head": True,
    "max_position_embeddings": 8192,
    "moe_intermediate_size": 896,
    "n_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_attention_heads": 10,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 12,
    "num_key_value_heads": 10,
    "q_lora_rank": None,
    "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0,
    "rm_head": False,
    "topk_group": 1,
    "topk_method": "greedy",
    "use_mla": False,
    "v_head_dim": 0,
    "vocab_size": 129280,
}
RELEASED = {
    "_name_or_path": "deepseek-ai/DeepSeek-OCR",
    "architectures": ["DeepseekOCRForCausalLM"],
    "auto_map": {"AutoModel": "modeling_deepseekocr.DeepseekOCRForCausalLM"},
    "candidate_resolutions": [[1024, 1024]],
    "global_view_pos": "head",
    "language_config": {"architectures": ["DeepseekV2ForCausalLM"], "torch_dtype": "bfloat16", **LANGUAGE},
    "model_type": "deepseek_vl_v2",
    "projector_config": {
        "input_dim": 2048,
        "model_type": "mlp_projector",
        "n_embed": 1280,
        "projector_type": "linear",
    },
    "tile_tag": "2D",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.3",
    "vision_config": {
        "image_size": 1024,
        "mlp_ratio": 3.7362,
        "model_name": "deeplip_b_l",
        "model_type": "vision",
        "width": {
            "clip-l-14-224": {"heads": 16, "image_size": 224, "layers": 24, "patch_size": 14, "width": 1024},
            "sam_vit_b": {
                "downsample_channels": [512, 1024],
                "global_attn_indexes": [2, 5, 8, 11],
                "heads": 12,
                "layers": 12,
                "width": 768,
            },
        },
    },
    **LANGUAGE,
}
FULL = {"layer_types": ["full_attention"] * 12, "sliding_window": 32768}
SAM, CLIP = "vision_config.width.sam_vit_b", "vision_config.width.clip-l-14-224"


def unlimited() -> dict[str, Any]:
    """transformers' own dict of its defaults, made to attend to everything."""
    return UnlimitedOcrConfig(text_config=dict(FULL)).to_dict()


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with values set at dotted paths."""
    config = copy.deepcopy(config)
    for path, value in changes.items():
        *blocks, key = path.split(".")
        here = config
        for block in blocks:
            here = here.setdefault(block, {})
        here[key] = value
    return config


def language(**values: Any) -> dict[str, Any]:
    """Changes to the released file, in both places that repeat them."""
    return {f"{block}{key}": value for key, value in values.items() for block in ("language_config.", "")}


def leaves(config: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Dotted path -> value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        inner = leaves(value, f"{path}{key}.") if isinstance(value, dict) else {}
        found |= inner or {f"{path}{key}": value}
    return found


# -- the two forms ----------------------------------------------------------------------------------------------------


def test_released_keys_give_the_released_configuration():
    assert read_config(RELEASED) == DeepseekOCRConfig()


@pytest.mark.skipif(not RELEASED_FILE.exists(), reason="needs ../shared")
def test_released_file_gives_the_released_configuration():
    assert DeepseekOCRConfig.from_hf(RELEASED_FILE) == DeepseekOCRConfig()
    file = leaves(json.loads(RELEASED_FILE.read_text()))
    assert {path: file[path] for path in leaves(RELEASED)} == leaves(RELEASED)


def test_transformers_defaults_have_the_released_sizes():
    config = DeepseekOCRConfig.from_hf(unlimited())
    longest = unlimited()["text_config"]["max_position_embeddings"]
    decoder = attrs.evolve(DecoderConfig(), max_position_embeddings=longest)
    assert config == DeepseekOCRConfig(decoder=decoder, name="unlimited_ocr")


def test_what_transformers_saves_is_read_from_file_and_folder(tmp_path):
    UnlimitedOcrConfig(text_config=dict(FULL)).save_pretrained(tmp_path)
    assert read_config(tmp_path) == read_config(str(tmp_path / "config.json")) == read_config(unlimited())


@pytest.mark.parametrize(
    "partial", [{"language_config": {}}, {"projector_config": {}}, {"vision_config": {"width": {}}}]
)
def test_a_partial_vendor_dict_takes_released_defaults(partial):
    assert read_config(partial) == DeepseekOCRConfig()


@pytest.mark.parametrize(
    "partial",
    [
        {"text_config": {"sliding_window": 32768}},
        {"text_config": {"sliding_window": None}},
        {"text_config": {"layer_types": ["full_attention"] * 12}},
        {"text_config": FULL, "vision_config": None},
        {"text_config": FULL, "vision_config": {"sam_config": None, "encoder_config": {}}},
    ],
)
def test_a_partial_transformers_dict_takes_its_defaults(partial):
    assert read_config(partial) == read_config(unlimited())


def test_reading_leaves_the_dict_as_it_is():
    before = copy.deepcopy(RELEASED)
    read_config(RELEASED)
    assert before == RELEASED


# -- variants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (language(num_hidden_layers=2), {"num_hidden_layers": 2, "mlp_layer_types": ("dense", "sparse")}),
        (language(first_k_dense_replace=12), {"mlp_layer_types": ("dense",) * 12}),
        (
            language(moe_layer_freq=2, num_hidden_layers=4),
            {"num_hidden_layers": 4, "mlp_layer_types": ("dense", "dense", "sparse", "dense")},
        ),
        (language(n_routed_experts=None, num_experts_per_tok=None), {"mlp_layer_types": ("dense",) * 12}),
        (language(n_shared_experts=None), {"n_shared_experts": 0}),
        (language(n_shared_experts=0), {"n_shared_experts": 0}),
        (language(num_key_value_heads=2), {"num_key_value_heads": 2}),
        (
            language(num_key_value_heads=None, num_attention_heads=20),
            {"num_key_value_heads": 20, "num_attention_heads": 20},
        ),
        (
            language(tie_word_embeddings=True, attention_bias=True),
            {"tie_word_embeddings": True, "attention_bias": True},
        ),
        (language(norm_topk_prob=True, vocab_size=1000), {"norm_topk_prob": True, "vocab_size": 1000}),
        (
            language(topk_method="group_limited_greedy", n_group=8, topk_group=3),
            {"topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 3},
        ),
        (language(n_group=None, topk_group=None, norm_topk_prob=None), {}),
        (language(v_head_dim=128, sliding_window=8192, head_dim=128, rope_scaling=None, rope_theta=5e5), {}),
        (language(mlp_layer_types=["dense", *["sparse"] * 11]), {}),
    ],
)
def test_vendor_decoder_variants(changes, expected):
    decoder = read_config(changed(RELEASED, changes)).decoder
    assert decoder == attrs.evolve(DecoderConfig(), **expected)


def test_a_vendor_variant_of_every_block():
    changes = {
        **language(hidden_size=512, num_attention_heads=8, num_key_value_heads=4),
        "projector_config.n_embed": 512,
        "projector_config.projector_type": "mlp_gelu",
        "projector_config.depth": 3,
        "projector_config.input_dim": 640 + 640,  # SAM's channels beside CLIP's
        "vision_config.image_size": 512,
        f"{SAM}.width": 384,
        f"{SAM}.layers": 3,
        f"{SAM}.global_attn_indexes": [1],
        f"{SAM}.window_size": 7,
        f"{SAM}.use_rel_pos": False,
        f"{SAM}.use_abs_pos": False,
        f"{SAM}.downsample_channels": [300, 640],
        f"{CLIP}.width": 640,
        f"{CLIP}.layers": 5,
        f"{CLIP}.mlp_dim": 2000,
    }
    config = read_config(changed(RELEASED, changes))
    assert config.sam == SamConfig(
        width=384,
        mlp_dim=4 * 384,  # the vendor's builder: mlp_ratio=4
        layers=3,
        image_size=512,
        window_size=7,
        global_attn_indexes=(1,),
        downsample_channels=(300, 640),
        use_rel_pos=False,
        use_abs_pos=False,
    )
    assert config.clip == ClipConfig(width=640, layers=5, mlp_dim=2000)
    assert (config.projector.kind, config.projector.depth, config.projector.input_dim) == ("mlp_gelu", 3, 1280)
    assert (config.decoder.hidden_size, config.decoder.num_key_value_heads) == (512, 4)


def test_an_identity_projector_needs_a_decoder_as_wide_as_the_encoders():
    identity = {"projector_config.projector_type": "identity"}
    config = read_config(
        changed(RELEASED, {**identity, **language(hidden_size=2048, num_attention_heads=16, num_key_value_heads=16)})
    )
    assert (config.projector.kind, config.decoder.hidden_size) == ("identity", 2048)
    with pytest.raises(ModelMeterError, match="the projector gives 2048 channels, the decoder takes 1280"):
        read_config(changed(RELEASED, identity))


def test_fewer_sam_blocks_keep_the_default_global_ones_that_exist():
    assert read_config({"vision_config": {"width": {"sam_vit_b": {"layers": 6}}}}).sam.global_attn_indexes == (2, 5)


def test_no_windows_are_global_blocks_everywhere():
    sam = read_config(changed(RELEASED, {f"{SAM}.window_size": 0})).sam
    assert sam.global_attn_indexes == tuple(range(12))


def test_a_window_that_never_binds_is_full_attention():
    text = {
        "sliding_window": 4096,
        "max_position_embeddings": 4096,
        "layer_types": ["reference_sliding_attention"] * 12,
    }
    assert read_config({"text_config": text}).decoder.max_position_embeddings == 4096


def test_a_window_of_full_attention_layers_says_nothing():
    assert read_config({"text_config": {**FULL, "sliding_window": 128}}) == read_config(unlimited())


def test_transformers_ties_by_its_top_level():
    tied = UnlimitedOcrConfig(text_config=dict(FULL), tie_word_embeddings=True).to_dict()
    assert tied["text_config"]["tie_word_embeddings"] is False
    assert read_config(tied).decoder.tie_word_embeddings
    with pytest.raises(ModelMeterError, match=r"text_config.tie_word_embeddings true contradicts tie_word_embeddings"):
        read_config(changed(unlimited(), {"text_config.tie_word_embeddings": True}))


def test_transformers_text_variants():
    text = {**FULL, "first_k_dense_replace": 2, "num_experts": 8, "n_shared_experts": 1, "norm_topk_prob": True}
    config = read_config(UnlimitedOcrConfig(text_config=text).to_dict())
    assert config.decoder.mlp_layer_types == ("dense", "dense", *["sparse"] * 10)
    assert (config.decoder.n_routed_experts, config.decoder.n_shared_experts) == (8, 1)
    assert config.decoder.norm_topk_prob


# -- round trip -------------------------------------------------------------------------------------------------------


@st.composite
def sams(draw: st.DrawFn) -> SamConfig:
    layers, heads = draw(st.integers(1, 15)), draw(st.integers(1, 16))
    patch = draw(st.integers(1, 20))
    return SamConfig(
        image_size=patch * draw(st.integers(1, 80)),
        patch_size=patch,
        in_channels=draw(st.integers(1, 4)),
        width=heads * draw(st.integers(1, 80)),
        layers=layers,
        heads=heads,
        mlp_dim=draw(st.integers(1, 5000)),
        out_channels=draw(st.integers(1, 512)),
        downsample_channels=(draw(st.integers(1, 1024)), draw(st.integers(1, 64)) * 16),
        window_size=draw(st.integers(1, 30)),
        global_attn_indexes=tuple(draw(st.sets(st.integers(0, layers - 1)))),
        qkv_bias=draw(st.booleans()),
        use_abs_pos=draw(st.booleans()),
        use_rel_pos=draw(st.booleans()),
    )


@st.composite
def decoders(draw: st.DrawFn) -> DecoderConfig:
    layers, groups = draw(st.integers(1, 20)), draw(st.integers(1, 4))
    kv_heads, per_group = draw(st.integers(1, 8)), draw(st.integers(1, 32))
    heads = kv_heads * draw(st.integers(1, 4))
    return DecoderConfig(
        hidden_size=heads * 2 * draw(st.integers(1, 64)),
        intermediate_size=draw(st.integers(1, 20000)),
        moe_intermediate_size=draw(st.integers(1, 4000)),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        n_routed_experts=groups * per_group,
        n_shared_experts=draw(st.integers(0, 4)),
        num_experts_per_tok=draw(st.integers(1, groups * per_group)),
        mlp_layer_types=tuple(draw(st.lists(st.sampled_from(["dense", "sparse"]), min_size=layers, max_size=layers))),
        vocab_size=draw(st.integers(1, 200_000)),
        tie_word_embeddings=draw(st.booleans()),
        attention_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
        norm_topk_prob=draw(st.booleans()),
        topk_method=draw(st.sampled_from(["greedy", "group_limited_greedy"])),
        n_group=groups,
        topk_group=draw(st.integers(1, groups)),
        max_position_embeddings=draw(st.integers(1, 100_000)),
    )


@given(sams(), decoders())
def test_what_transformers_is_given_is_read_back(sam: SamConfig, decoder: DecoderConfig):
    width = sam.downsample_channels[1]
    clip = ClipConfig(width=width, layers=3, heads=16, mlp_dim=width + 1, image_size=196, patch_size=7)
    theirs = {
        "width": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "in_channels": "num_channels",
        "out_channels": "output_channels",
    }
    text = {**attrs.asdict(decoder), "mlp_layer_types": list(decoder.mlp_layer_types)}
    encoder = {theirs.get(key, key): value for key, value in attrs.asdict(clip).items()}
    encoder["intermediate_size"] = encoder.pop("mlp_dim")
    config = UnlimitedOcrConfig(
        text_config={
            **text,
            "layer_types": ["full_attention"] * decoder.num_hidden_layers,
            "pad_token_id": None,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
        vision_config={
            "sam_config": {theirs.get(key, key): value for key, value in attrs.asdict(sam).items()},
            "encoder_config": encoder,
        },
        tie_word_embeddings=decoder.tie_word_embeddings,
    )
    back = read_config(json.loads(json.dumps(config.to_dict())))
    assert (back.sam, back.clip, back.decoder) == (sam, clip, decoder)
    assert (back.projector.input_dim, back.projector.n_embed) == (2 * width, decoder.hidden_size)


# -- nothing passes in silence ----------------------------------------------------------------------------------------

IGNORED = {
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "AutoModel",
    "bos_token_id",
    "candidate_resolutions",
    "chunk_size_feed_forward",
    "eos_token_id",
    "global_view_pos",
    "id2label",
    "image_token_id",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "layer_norm_eps",
    "mlp_ratio",
    "pad_token_id",
    "problem_type",
    "return_dict",
    "rms_norm_eps",
    "rope_theta",
    "routed_scaling_factor",
    "tile_tag",
    "transformers_version",
    "v_head_dim",
    "0",  # of id2label
    "1",
    "LABEL_0",
    "LABEL_1",
}
"""Keys whose value changes no cost."""
SAYS_NOTHING = {"n_group", "topk_group", "norm_topk_prob", "sliding_window"}
"""Keys that say nothing beside the others (greedy routing, full attention): they may be read without effect."""


@pytest.mark.parametrize("config", [RELEASED, unlimited()], ids=["vendor", "transformers"])
def test_every_other_key_is_read_or_refused(config):
    before = read_config(config)
    for path, value in leaves(config).items():
        key = path.rpartition(".")[2]
        if key in IGNORED | SAYS_NOTHING:
            continue
        other = value + 2 if type(value) is int else {bool: not value, str: "other", list: [1]}.get(type(value), 0.5)
        try:
            after = read_config(changed(config, {path: other}))
        except ModelMeterError:
            continue
        assert after != before, f"{path} = {other!r} passed in silence"


BROKEN = st.sampled_from([None, "x", "", -1, 0, 3, 10**30, True, 1.5, float("nan"), [], [1], {}, {"a": 1}, [[]]])


@pytest.mark.parametrize("config", [RELEASED, unlimited()], ids=["vendor", "transformers"])
@given(data=st.data())
def test_any_value_anywhere_is_read_or_refused_in_one_line(config, data):
    paths = [path for path in leaves(config) if "label" not in path]
    blocks = ["vision_config", "language_config", "text_config", "vision_config.width", SAM, "vision_config.sam_config"]
    path = data.draw(st.sampled_from(paths + blocks))
    message = ""
    try:
        read_config(changed(config, {path: data.draw(BROKEN)}))
    except ModelMeterError as error:
        message = str(error)
    assert "\n" not in message


# -- errors -----------------------------------------------------------------------------------------------------------

VENDOR_ERRORS = [
    ({"language_config.hidden_size": 2560}, r"^hidden_size 1280 contradicts language_config.hidden_size 2560"),
    ({"n_group": True}, "n_group must be a whole number"),
    (language(hidden_size=2560), r"projector_config.n_embed 1280 contradicts language_config.hidden_size 2560"),
    (language(use_mla=True), r"language_config.use_mla true is not false: .*MLA"),
    (language(kv_lora_rank=512), r"language_config.kv_lora_rank 512 .*MLA"),
    (language(qk_rope_head_dim=64), r"language_config.qk_rope_head_dim 64 .*MLA"),
    (language(hidden_act="gelu"), r'language_config.hidden_act "gelu" is not "silu"'),
    (language(scoring_func="sigmoid"), "language_config.scoring_func"),
    (language(topk_method="noaux_tc"), r'language_config.topk_method must be "greedy" or "group_limited_greedy"'),
    (language(topk_method="group_limited_greedy", n_group=3), "n_routed_experts 64 is not a multiple of .*n_group 3"),
    (language(topk_method="group_limited_greedy", n_group=4, topk_group=5), "topk_group 5 exceeds .*n_group 4"),
    (language(num_attention_heads=7), r"not a multiple .*\(from .*language_config.num_attention_heads 7\)"),
    (language(num_key_value_heads=3), r"language_config.num_key_value_heads 3"),
    (language(num_experts_per_tok=65), r"language_config.num_experts_per_tok 65"),
    (language(num_experts_per_tok=None), r"language_config.num_experts_per_tok null: say how many"),
    (
        language(mlp_layer_types=["dense"] * 12),
        r"language_config.mlp_layer_types .* contradicts .*first_k_dense_replace 1",
    ),
    (language(mlp_layer_types=["dense", "moe"]), r'language_config.mlp_layer_types\[1\] must be "dense" or "sparse"'),
    (language(sliding_window=128), r"language_config.sliding_window 128 binds in 12 of 12 layers"),
    ({"sliding_window_size": 128}, r"sliding_window_size 128 binds"),
    (language(head_dim=64), r"language_config.head_dim 64 contradicts .* = 128"),
    (language(rope_scaling={"type": "yarn", "factor": 4}), r'language_config.rope_scaling.type "yarn"'),
    (language(rope_scaling={"factor": 4}), r"language_config.rope_scaling.factor is unknown"),
    (language(quantization_config={"bits": 4}), "quantization_config"),
    (language(num_hidden_layers=10**9), "num_hidden_layers must be a whole number, at most 10000"),
    ({"torch_dtype": "float16"}, r'torch_dtype "float16" .*only bf16'),
    ({"dtype": "float32"}, r'dtype "float32" .*only bf16'),
    ({"use_cache": False}, "use_cache false is not true: .*KV cache"),
    ({"hiden_size": 1280}, r"^hiden_size is unknown .*did you mean hidden_size\?"),
    ({"language_config.n_experts_extra_": 3}, "language_config.n_experts_extra_ is unknown"),
    ({f"{SAM}.layers": "12"}, r'sam_vit_b.layers must be a whole number, at least 1, not "12"'),
    ({f"{SAM}.layers": -1}, r"sam_vit_b.layers must be a whole number, at least 1, not -1"),
    ({f"{SAM}.layers": True}, r"sam_vit_b.layers must be a whole number, at least 1, not true"),
    ({f"{SAM}.layers": None}, r"sam_vit_b.layers must be a whole number, at least 1, not null"),
    ({f"{SAM}.heads": 7}, r"SAM width 768 .*\(from .*sam_vit_b.heads 7\)"),
    ({f"{SAM}.use_rel_pos": 1}, r"sam_vit_b.use_rel_pos must be true or false, not 1"),
    ({f"{SAM}.image_size": 640}, r"sam_vit_b.image_size 640 contradicts vision_config.image_size 1024"),
    ({f"{SAM}.downsample_channels": [512]}, r"sam_vit_b.downsample_channels must be a list of 2, not \[512\]"),
    ({f"{CLIP}.width": 512}, r"clip-l-14-224.width 512"),
    ({"vision_config.width.qwen2-0-5b": {"dim": 896}}, "vision_config.width.qwen2-0-5b is unknown"),
    ({"vision_config.model_name": "siglip"}, 'vision_config.model_name "siglip" is not "deeplip_b_l"'),
    ({"vision_config": 3}, r"vision_config must be an object"),
    ({"projector_config.projector_type": "downsample_mlp_gelu"}, r"projector_config.projector_type must be"),
    ({"projector_config.token_pooling": True}, r"projector_config.token_pooling true"),
    ({"projector_config.input_dim": 896}, r"projector_config.input_dim 896"),
    ({"text_config": {}}, "text_config and language_config"),
]
TRANSFORMERS_ERRORS = [
    ({"text_config.layer_types": ["reference_sliding_attention"] * 12, "text_config.sliding_window": 128}, "128 binds"),
    (
        {
            "text_config.layer_types": ["full_attention"] * 11 + ["reference_sliding_attention"],
            "text_config.sliding_window": 9,
        },
        r"text_config.sliding_window 9 binds in 1 of 12 layers.*make layer_types full_attention",
    ),
    ({"text_config.layer_types": ["sliding_attention"] * 12}, r"text_config.layer_types\[0\] must be"),
    (
        {"text_config.layer_types": ["full_attention"] * 3},
        "text_config.layer_types has 3 entries, .*num_hidden_layers 12",
    ),
    ({"text_config.mlp_layer_types": ["dense"] * 3}, "mlp_layer_types has 3 entries.*text_config.mlp_layer_types"),
    ({"text_config.moe_layer_freq": 2}, "text_config.moe_layer_freq 2 .*mlp_layer_types"),
    ({"text_config.n_experts": 3}, "text_config.n_experts is unknown"),
    ({"text_config.hidden_act": "relu"}, "text_config.hidden_act"),
    ({"text_config.model_type": "llama"}, "text_config.model_type"),
    ({"text_config.rope_parameters.rope_type": "linear"}, "text_config.rope_parameters.rope_type"),
    ({"text_config.head_dim": 64}, "text_config.head_dim 64 contradicts"),
    ({"vision_config.sam_config.hidden_act": "relu"}, "vision_config.sam_config.hidden_act"),
    ({"vision_config.encoder_config.hidden_act": "gelu"}, 'encoder_config.hidden_act "gelu" is not "quick_gelu"'),
    ({"vision_config.sam_config.num_attention_heads": 7}, r"\(from .*vision_config.sam_config.num_attention_heads 7\)"),
    ({"vision_config.sam_config.image_size": [1024, 1024]}, "vision_config.sam_config.image_size must be a whole"),
    ({"model_type": "deepseek_ocr2"}, 'found model_type "deepseek_ocr2"'),
    ({"architectures": ["LlavaForConditionalGeneration"]}, r'found model_type "unlimited_ocr", architectures \["Llava'),
    ({"projector_config": {}}, "text_config and projector_config"),
]
NEITHER = [
    ({}, "neither language_config nor text_config"),
    ({"hidden_size": 1280}, "neither language_config nor text_config"),
    ({"model_type": "llama", "hidden_size": 4096}, 'found model_type "llama"'),
    ({"model_type": "deepseek_vl_v2", "hidden_size": 1280}, 'found model_type "deepseek_vl_v2", neither'),
    ({"model_type": "unlimited_ocr"}, "text_config.sliding_window 128 .by default. binds in 12 of 12 layers"),
]


@pytest.mark.parametrize(("changes", "message"), VENDOR_ERRORS)
def test_vendor_errors_name_the_key(changes, message):
    with pytest.raises(ModelMeterError, match=message) as error:
        read_config(changed(RELEASED, changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("changes", "message"), TRANSFORMERS_ERRORS)
def test_transformers_errors_name_the_key(changes, message):
    with pytest.raises(ModelMeterError, match=message) as error:
        read_config(changed(unlimited(), changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("config", "message"), NEITHER)
def test_other_models_are_named(config, message):
    with pytest.raises(ModelMeterError, match=message):
        read_config(config)


@pytest.mark.skipif(not OCR2_FILE.exists(), reason="needs ../shared")
def test_deepseek_ocr2_is_another_model():
    with pytest.raises(
        ModelMeterError, match=r'deepseek_ocr2_config.json: .*architectures \["DeepseekOCR2ForCausalLM"\]'
    ):
        read_config(OCR2_FILE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{", "is broken JSON"),
        (b"[1, 2]", "holds no JSON object"),
        (b"null", "holds no JSON object but null"),
        (b'{"language_config": {"hidden_size": 1280, "hidden_size": 2560}}', "hidden_size stands twice"),
        (b"[" * 100_000, "is broken JSON"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b'{"language_config": {"hidden_size": 1.5}}', "config.json: language_config.hidden_size must be"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelMeterError, match=message) as error:
        read_config(tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "config.json") in str(error.value)


def test_a_byte_order_mark_is_no_obstacle(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(RELEASED), encoding="utf-8-sig")
    assert read_config(tmp_path / "mine.json") == DeepseekOCRConfig()


def test_missing_files_and_wrong_sources(tmp_path):
    with pytest.raises(ModelMeterError, match=r"none\.json does not exist: .*nothing is downloaded"):
        read_config(tmp_path / "none.json")
    with pytest.raises(ModelMeterError, match=r"config\.json does not exist"):
        read_config(str(tmp_path))
    with pytest.raises(ModelMeterError, match=r"deepseek-ai/DeepSeek-OCR does not exist"):
        read_config("deepseek-ai/DeepSeek-OCR")
    with pytest.raises(ModelMeterError, match=r"cannot be read"):
        read_config("x" * 5000)
    with pytest.raises(ModelMeterError, match=r"not UnlimitedOcrConfig: give its to_dict\(\)"):
        read_config(UnlimitedOcrConfig())  # type: ignore[arg-type]


def test_global_indexes_beyond_the_depth_change_nothing():
    """Both implementations ask `i in indexes` of each block, so a shallower variant keeps the released list."""
    shallow = copy.deepcopy(RELEASED)
    shallow["vision_config"]["width"]["sam_vit_b"]["layers"] = 6
    assert DeepseekOCRConfig.from_hf(shallow).sam.global_attn_indexes == (2, 5)
