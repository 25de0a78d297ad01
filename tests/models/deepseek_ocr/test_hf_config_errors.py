"""`read_config`: an error in one line for whatever is not understood, naming the key or the file."""

import json

import pytest
from support.hf_configs import CLIP, OCR2_FILE, RELEASED, SAM, changed, language, unlimited
from transformers import UnlimitedOcrConfig

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.hf_config import read_config

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
