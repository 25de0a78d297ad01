"""`read_config`: both forms of configuration, and their variants."""

import copy
import json

import attrs
import pytest
from support.hf_configs import CLIP, FULL, RELEASED, RELEASED_FILE, SAM, changed, language, leaves, unlimited
from transformers import UnlimitedOcrConfig

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.config import ClipConfig, DecoderConfig, DeepseekOCRConfig, SamConfig
from modelmeter.models.deepseek_ocr.hf_config import read_config

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


def test_global_indexes_beyond_the_depth_change_nothing():
    """Both implementations ask `i in indexes` of each block, so a shallower variant keeps the released list."""
    shallow = copy.deepcopy(RELEASED)
    shallow["vision_config"]["width"]["sam_vit_b"]["layers"] = 6
    assert DeepseekOCRConfig.from_hf(shallow).sam.global_attn_indexes == (2, 5)
