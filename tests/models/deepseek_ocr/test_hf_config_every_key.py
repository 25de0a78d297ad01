"""`read_config` over all its keys: what transformers is given is read back, and nothing passes in silence."""

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hf_configs import RELEASED, SAM, changed, leaves, unlimited
from transformers import UnlimitedOcrConfig

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.config import ClipConfig, DecoderConfig, SamConfig
from modelmeter.models.deepseek_ocr.hf_config import read_config

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
