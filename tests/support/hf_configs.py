"""Configurations as Hugging Face files hold them, vendor's and transformers', and copies with other values."""

import copy
from pathlib import Path
from typing import Any

from transformers import UnlimitedOcrConfig

RELEASED_FILE = Path(__file__).parents[3] / "shared/reference/deepseek_ocr_config.json"
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
