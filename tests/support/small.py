"""A small model of the same architecture, as its configuration file gives it: every kind of layer, run in a second."""

import copy
import json
from pathlib import Path
from typing import Any

RELEASED = Path(__file__).parents[1] / "vendor" / "checkpoint" / "config.json"
DECODER = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "moe_intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 512,
}
SAM = {"width": 64, "layers": 2, "heads": 2, "global_attn_indexes": [1], "downsample_channels": [48, 64]}
CLIP = {"width": 64, "layers": 2, "heads": 2}
VIEWS = "512x512,256x256*2"
CONTEXT = 400  # tokens: of much fewer, peak memory is made of what no twin has (masks of masks, tables of indices)


def small_config() -> dict[str, Any]:
    """The released config.json with small sizes."""
    raw = copy.deepcopy(json.loads(RELEASED.read_text(encoding="utf-8")))
    raw |= DECODER
    raw["language_config"] |= DECODER
    raw["projector_config"] |= {"input_dim": 64 + 64, "n_embed": 128}  # SAM's and CLIP's channels
    raw["vision_config"]["image_size"] = 256
    raw["vision_config"]["width"]["sam_vit_b"] |= SAM
    raw["vision_config"]["width"]["clip-l-14-224"] |= CLIP
    return raw
