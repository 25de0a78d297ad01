"""The two configuration files that `hf_config` reads, as tables: where each key goes, and which values are modelled.

Three kinds of key: `fields` set a field of ours, `fixed` have only some values that are modelled, `harmless` change no
cost. Every other key is an error.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from modelmeter.models.deepseek_ocr.config import ClipConfig, DecoderConfig, SamConfig

AttentionType: TypeAlias = Literal["full_attention", "reference_sliding_attention"]


@attrs.frozen
class DecoderRules:
    """Keys about the decoder that set no size of their own: they say what its layers are, or repeat what follows."""

    first_k_dense_replace: int = 1
    moe_layer_freq: int = 1
    layer_types: tuple[AttentionType, ...] | None = None
    sliding_window: int | None = None
    head_dim: int | None = None
    text_tie_word_embeddings: bool = False


@attrs.frozen
class Only:
    """The values of a key that are modelled, and why no others are."""

    values: tuple[Any, ...]
    why: str


@attrs.frozen
class Block:
    """One object of a file: its dotted path ("" is the whole file), and its keys."""

    path: str
    fields: Mapping[str, str] = attrs.field(factory=dict)
    """Their key -> part and field of ours."""
    fixed: Mapping[str, Only] = attrs.field(factory=dict)
    harmless: frozenset[str] = frozenset()

    def at(self, key: Any) -> str:
        """The dotted path of a key in this block."""
        return f"{self.path}.{key}" if self.path else f"{key}"


@attrs.frozen(eq=False)
class Form:
    """One kind of file: what it calls itself, the paths that only it has, its blocks, its defaults where not ours."""

    name: str
    """Of the model, where the file has none."""
    model_types: tuple[str, ...]
    architectures: tuple[str, ...]
    marks: tuple[str, ...]
    blocks: tuple[Block, ...]
    defaults: Mapping[str, Any]


def _own(part: str, config: type[attrs.AttrsInstance]) -> dict[str, str]:
    """Keys that have the names of our fields."""
    return {field.name: f"{part}.{field.name}" for field in attrs.fields(config) if field.name != "bytes_per_value"}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NULLABLE: Final[Mapping[str, Any]] = {
    "config.name": None,
    "decoder.n_shared_experts": 0,
    "decoder.n_group": 1,
    "decoder.topk_group": 1,
    "decoder.norm_topk_prob": False,
    "decoder.num_key_value_heads": None,
    "decoder.n_routed_experts": None,
    "decoder.num_experts_per_tok": None,
    "decoder.mlp_layer_types": None,
}
"""Fields of a size or a choice that may be null in a file, and what null stands for; None: `hf_config` works it out."""

_LEFT_OPEN: Final[Mapping[str, Any]] = {"config.name": None, "decoder.mlp_layer_types": None}
"""Where a file says nothing, `hf_config` works it out."""

MAY_BE_ZERO: Final = frozenset(
    {"decoder.n_shared_experts", "rules.first_k_dense_replace", "sam.global_attn_indexes", "sam.window_size"}
)
COUNTS_LAYERS: Final = frozenset({"sam.layers", "clip.layers", "decoder.num_hidden_layers", "projector.depth"})

_BF16 = Only(("bfloat16", "torch.bfloat16", None), "only bf16 is modelled so far")
_MLA = "multi-head latent attention (MLA) is not modelled"
_KEEPS = "what it keeps in memory is not modelled"
_ROTARY = "scaled rotary embeddings are not modelled"

EVERYWHERE: Final = Block(
    "(any block)",
    fixed={
        "dtype": _BF16,
        "torch_dtype": _BF16,
        "quantization_config": Only((None,), "only bf16 is modelled so far"),
        "use_cache": Only((True,), "decoding without a KV cache is not modelled"),
        "output_attentions": Only((False, None), _KEEPS),
        "output_hidden_states": Only((False, None), _KEEPS),
        "output_router_logits": Only((False, None), _KEEPS),
        "is_encoder_decoder": Only((False,), "the decoder has no cross-attention"),
        "add_cross_attention": Only((False,), "the decoder has no cross-attention"),
        "pruned_heads": Only(({}, None), "pruned heads are not modelled"),
    },
    harmless=_words(
        # bookkeeping
        "_name_or_path _commit_hash architectures auto_map transformers_version transformers_weights torchscript "
        "tf_legacy_loss use_bfloat16 return_dict problem_type id2label label2id num_labels finetuning_task "
        "task_specific_params tokenizer_class prefix tie_encoder_decoder is_decoder cross_attention_hidden_size "
        # how it runs: `Conventions` says so, the configuration does not
        "attn_implementation _attn_implementation _attn_implementation_autoset experts_implementation "
        "_experts_implementation chunk_size_feed_forward gradient_checkpointing "
        # training
        "attention_dropout dropout hidden_dropout initializer_range initializer_factor aux_loss_alpha seq_aux "
        "router_aux_loss_coef "
        # numbers that enter an operator without changing its cost
        "rms_norm_eps layer_norm_eps rope_theta routed_scaling_factor image_token_id image_token_index bos_token_id "
        "eos_token_id pad_token_id sep_token_id decoder_start_token_id "
        # defaults of generation, written by transformers 4
        "max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k "
        "top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size "
        "bad_words_ids num_return_sequences output_scores return_dict_in_generate forced_bos_token_id "
        "forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens "
        "begin_suppress_tokens"
    ),
)
"""Keys that any block may have."""

_TEXT_FIELDS = {
    **_own("decoder", DecoderConfig),
    "first_k_dense_replace": "rules.first_k_dense_replace",
    "layer_types": "rules.layer_types",
    "sliding_window": "rules.sliding_window",
    "head_dim": "rules.head_dim",
}
_TEXT_FIXED = {
    "hidden_act": Only(("silu",), "the experts and the MLP are SwiGLU"),
    "pretraining_tp": Only((1, None), "sliced projections are not modelled"),
}


def _rotary(parent: str) -> tuple[Block, ...]:
    """The rotary settings below `parent`, under either name."""
    fixed = {"rope_type": Only(("default",), _ROTARY), "type": Only(("default",), _ROTARY)}
    names = ("rope_parameters", "rope_scaling")
    return tuple(Block(f"{parent}{name}", fixed=fixed, harmless=_words("rope_theta")) for name in names)


_LANGUAGE_FIELDS = {
    **_TEXT_FIELDS,
    "moe_layer_freq": "rules.moe_layer_freq",
    "sliding_window_size": "rules.sliding_window",
}
_LANGUAGE_FIXED = {
    **_TEXT_FIXED,
    "use_mla": Only((False,), _MLA),
    "kv_lora_rank": Only((None,), _MLA),
    "q_lora_rank": Only((None,), _MLA),
    "qk_nope_head_dim": Only((0, None), _MLA),
    "qk_rope_head_dim": Only((0, None), _MLA),
    "scoring_func": Only(("softmax",), "the gate is a softmax"),
    "ep_size": Only((1,), "experts on several devices are not modelled"),
    "lm_head": Only((True,), "the decoder has a head"),
    "rm_head": Only((False,), "the decoder has no reward head"),
}

VENDOR: Final = Form(
    name="deepseek-ai/DeepSeek-OCR",
    # "deepseek_vl_v2" in the released file, "DeepseekOCR" once the vendor's own class has saved it
    model_types=("deepseek_vl_v2", "DeepseekOCR", "unlimited-ocr", "unlimited_ocr"),
    architectures=("DeepseekOCRForCausalLM", "UnlimitedOCRForCausalLM"),
    marks=("language_config", "projector_config", "vision_config.width"),
    blocks=(
        Block(
            "vision_config",
            fields={"image_size": "sam.image_size"},
            fixed={
                "model_type": Only(("vision",), "its encoders are SAM and CLIP"),
                "model_name": Only(("deeplip_b_l",), "its encoders are SAM and CLIP"),
            },
            # 3.7362 in the released file. The vendor's code reads it nowhere: SAM's ratio (4) and CLIP's
            # feed-forward (4096) are written in its builders.
            harmless=_words("mlp_ratio"),
        ),
        Block("vision_config.width"),
        Block("vision_config.width.sam_vit_b", fields=_own("sam", SamConfig)),
        Block("vision_config.width.clip-l-14-224", fields=_own("clip", ClipConfig)),
        Block(
            "projector_config",
            fields={
                "projector_type": "projector.kind",
                "input_dim": "projector.input_dim",
                "n_embed": "projector.n_embed",
                "depth": "projector.depth",
            },
            fixed={
                "model_type": Only(("mlp_projector",), "the projector is an MlpProjector"),
                "token_pooling": Only((False, None), "pooling is not modelled"),
                "conv_fusion_high_low_features": Only((False, None), "fusing by convolution is not modelled"),
            },
            harmless=_words("mlp_ratio downsample_ratio"),  # of other projector types
        ),
        Block(
            "language_config",
            fields=_LANGUAGE_FIELDS,
            fixed={**_LANGUAGE_FIXED, "model_type": Only(("deepseek_v2", None), "the decoder is a DeepseekV2Model")},
            harmless=_words("v_head_dim"),  # of MLA
        ),
        *_rotary("language_config."),
        Block(
            "",
            fields={**_LANGUAGE_FIELDS, "_name_or_path": "config.name"},
            fixed=_LANGUAGE_FIXED,
            harmless=_words("model_type v_head_dim tile_tag global_view_pos candidate_resolutions"),
        ),
        *_rotary(""),
    ),
    # SAM's MLP is None here: four times its width, as its builder has it
    defaults={**_LEFT_OPEN, "sam.mlp_dim": None},
)
"""The released DeepSeek-OCR config.json. Its top level repeats language_config."""

TRANSFORMERS: Final = Form(
    name="unlimited_ocr",
    model_types=("unlimited_ocr",),
    architectures=("UnlimitedOcrForConditionalGeneration", "UnlimitedOcrModel", "UnlimitedOCRForCausalLM"),
    marks=("text_config", "vision_config.sam_config", "vision_config.encoder_config"),
    blocks=(
        Block("vision_config", fixed={"model_type": Only(("unlimited_ocr_vision",), "its encoders are SAM and CLIP")}),
        Block(
            "vision_config.sam_config",
            fields={
                **{name: f"sam.{name}" for name in ("image_size", "patch_size", "window_size", "global_attn_indexes")},
                **{name: f"sam.{name}" for name in ("mlp_dim", "qkv_bias", "use_abs_pos", "use_rel_pos")},
                "downsample_channels": "sam.downsample_channels",
                "hidden_size": "sam.width",
                "num_hidden_layers": "sam.layers",
                "num_attention_heads": "sam.heads",
                "num_channels": "sam.in_channels",
                "output_channels": "sam.out_channels",
            },
            fixed={
                "model_type": Only(("unlimited_ocr_sam_vision_model",), "the first encoder is SAM"),
                "hidden_act": Only(("gelu",), "SAM's MLP has GELU"),
            },
        ),
        Block(
            "vision_config.encoder_config",
            fields={
                "hidden_size": "clip.width",
                "num_hidden_layers": "clip.layers",
                "num_attention_heads": "clip.heads",
                "intermediate_size": "clip.mlp_dim",
                "image_size": "clip.image_size",
                "patch_size": "clip.patch_size",
            },
            fixed={
                "model_type": Only(("unlimited_ocr_vision_encoder",), "the second encoder is CLIP"),
                "hidden_act": Only(("quick_gelu",), "CLIP's feed-forward has quick-GELU"),
                "num_channels": Only((3,), "CLIP's unused patch convolution takes 3 channels"),
            },
        ),
        Block(
            "text_config",
            fields={
                **_TEXT_FIELDS,
                "num_experts": "decoder.n_routed_experts",
                "tie_word_embeddings": "rules.text_tie_word_embeddings",
            },
            fixed={
                **_TEXT_FIXED,
                "model_type": Only(("unlimited_ocr_text",), "the decoder is an UnlimitedOcrTextModel"),
                "moe_layer_freq": Only((1,), "transformers does not read it: list mlp_layer_types"),
            },
        ),
        *_rotary("text_config."),
        Block(
            "",
            fields={"_name_or_path": "config.name", "tie_word_embeddings": "decoder.tie_word_embeddings"},
            harmless=_words("model_type"),
        ),
    ),
    defaults={**_LEFT_OPEN, "decoder.max_position_embeddings": 32768, "rules.sliding_window": 128},
)
"""transformers' UnlimitedOcrConfig: the same network. Its top level ties the embeddings, its projector follows."""

FORMS: Final = (TRANSFORMERS, VENDOR)
