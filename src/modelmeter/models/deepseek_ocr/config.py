"""What the model is made of (`DeepseekOCRConfig`), and how it is run and counted (`Conventions`)."""

from os import PathLike
from typing import Any, Literal, TypeAlias

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.kv_cache import CACHE_STYLES, CacheStyle
from modelmeter.nn.attention import ATTENTION_KINDS, CAUSAL_KINDS, AttentionKind, Causal
from modelmeter.nn.moe import Coverage, check_coverage

Implementation: TypeAlias = Literal["vendor", "transformers"]
Experts: TypeAlias = Literal["loop", "grouped"]
Logits: TypeAlias = Literal["all", "last"]
PositionIds: TypeAlias = Literal["shared", "batch"]
MlpKind: TypeAlias = Literal["dense", "sparse"]
PROJECTOR_KINDS = ("identity", "linear", "mlp_gelu")


def _size(default: int, *, least: int = 1) -> Any:
    def check(instance: Any, attribute: "attrs.Attribute[int]", value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ModelMeterError(f"{attribute.name} must be an int of at least {least}, not {value!r}")

    return attrs.field(default=default, validator=check)


def _divides(whole: int, part: int, what: str, by: str) -> None:
    if whole % part:
        raise ModelMeterError(f"{what} {whole} is not a multiple of {by} {part}")


@attrs.frozen(kw_only=True)
class SamConfig:
    """SAM-B as released; the fields are those of the vendor's `build_sam_vit_b`."""

    image_size: int = _size(1024)
    patch_size: int = _size(16)
    in_channels: int = _size(3)
    width: int = _size(768)
    layers: int = _size(12)
    heads: int = _size(12)
    mlp_dim: int = _size(3072)
    out_channels: int = _size(256)
    downsample_channels: tuple[int, int] = (512, 1024)
    window_size: int = _size(14)
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    qkv_bias: bool = True
    use_abs_pos: bool = True
    use_rel_pos: bool = True

    def __attrs_post_init__(self) -> None:
        _divides(self.width, self.heads, "SAM width", "heads")
        _divides(self.image_size, self.patch_size, "SAM image_size", "patch_size")


@attrs.frozen(kw_only=True)
class ClipConfig:
    """CLIP-L as released; the fields are those of the vendor's `vit_model_cfg`."""

    width: int = _size(1024)
    layers: int = _size(24)
    heads: int = _size(16)
    mlp_dim: int = _size(4096)
    image_size: int = _size(224)
    patch_size: int = _size(14)

    def __attrs_post_init__(self) -> None:
        _divides(self.width, self.heads, "CLIP width", "heads")


@attrs.frozen(kw_only=True)
class ProjectorConfig:
    """The projector: `kind` is the vendor's `projector_type`."""

    kind: Literal["identity", "linear", "mlp_gelu"] = attrs.field(
        default="linear", validator=attrs.validators.in_(PROJECTOR_KINDS)
    )
    input_dim: int = _size(2048)
    n_embed: int = _size(1280)
    depth: int = _size(1)


@attrs.frozen(kw_only=True)
class DecoderConfig:
    """The decoder as released; the fields are those of the vendor's `DeepseekV2Config`."""

    hidden_size: int = _size(1280)
    intermediate_size: int = _size(6848)
    moe_intermediate_size: int = _size(896)
    num_hidden_layers: int = _size(12)
    num_attention_heads: int = _size(10)
    num_key_value_heads: int = _size(10)
    n_routed_experts: int = _size(64)
    n_shared_experts: int = _size(2, least=0)
    num_experts_per_tok: int = _size(6)
    mlp_layer_types: tuple[MlpKind, ...] = ("dense", *("sparse",) * 11)
    vocab_size: int = _size(129280)
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    norm_topk_prob: bool = False
    topk_method: Literal["greedy", "group_limited_greedy"] = "greedy"
    n_group: int = _size(1)
    topk_group: int = _size(1)
    max_position_embeddings: int = _size(8192)

    def __attrs_post_init__(self) -> None:
        _divides(self.hidden_size, self.num_attention_heads, "hidden_size", "num_attention_heads")
        _divides(self.num_attention_heads, self.num_key_value_heads, "num_attention_heads", "num_key_value_heads")
        if self.head_dim % 2:
            raise ModelMeterError(f"head_dim {self.head_dim} must be even: rotary embeddings turn pairs")
        if len(self.mlp_layer_types) != self.num_hidden_layers:
            raise ModelMeterError(
                f"mlp_layer_types has {len(self.mlp_layer_types)} entries, "
                f"num_hidden_layers is {self.num_hidden_layers}"
            )
        unknown = sorted(set(self.mlp_layer_types) - {"dense", "sparse"})
        if unknown:
            raise ModelMeterError(f"mlp_layer_types has {', '.join(map(repr, unknown))}: each is dense or sparse")
        if self.topk_method not in ("greedy", "group_limited_greedy"):
            raise ModelMeterError(f"topk_method {self.topk_method!r}: choose greedy or group_limited_greedy")
        if self.num_experts_per_tok > self.n_routed_experts:
            raise ModelMeterError(
                f"num_experts_per_tok {self.num_experts_per_tok} exceeds n_routed_experts {self.n_routed_experts}"
            )

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def bytes_per_value(self) -> int:
        """Bytes of a cached value: bf16."""
        return 2


@attrs.frozen(kw_only=True)
class DeepseekOCRConfig:
    """The whole model. Without arguments: the released checkpoint."""

    sam: SamConfig = SamConfig()
    clip: ClipConfig = ClipConfig()
    projector: ProjectorConfig = ProjectorConfig()
    decoder: DecoderConfig = DecoderConfig()
    name: str = "deepseek-ai/DeepSeek-OCR"

    def __attrs_post_init__(self) -> None:
        if self.sam.downsample_channels[-1] != self.clip.width:
            raise ModelMeterError(
                f"SAM gives {self.sam.downsample_channels[-1]} channels, CLIP takes {self.clip.width}: "
                "make downsample_channels end in CLIP's width"
            )
        features = self.sam.downsample_channels[-1] + self.clip.width
        if self.projector.input_dim != features:
            raise ModelMeterError(f"projector input_dim {self.projector.input_dim} is not SAM + CLIP = {features}")
        out = features if self.projector.kind == "identity" else self.projector.n_embed
        if out != self.decoder.hidden_size:
            raise ModelMeterError(f"the projector gives {out} channels, the decoder takes {self.decoder.hidden_size}")

    # What a KV cache is made from (`SyntheticKVCache.from_config`) is the decoder's.

    @property
    def num_hidden_layers(self) -> int:
        """Decoder layers."""
        return self.decoder.num_hidden_layers

    @property
    def num_key_value_heads(self) -> int:
        """KV heads of a decoder layer."""
        return self.decoder.num_key_value_heads

    @property
    def head_dim(self) -> int:
        """Width of a decoder head."""
        return self.decoder.head_dim

    @property
    def bytes_per_value(self) -> int:
        """Bytes of a cached value."""
        return self.decoder.bytes_per_value

    @classmethod
    def from_hf(cls, source: "str | PathLike[str] | dict[str, Any]") -> "DeepseekOCRConfig":
        """Read the released `config.json` or transformers' `unlimited_ocr` one: a file, its folder or the dict.

        Raises `ModelMeterError` naming the key that is unknown, contradictory or not modelled.
        """
        from modelmeter.models.deepseek_ocr.hf_config import read_config

        return read_config(source)


def _choice(*allowed: str) -> Any:
    def check(instance: Any, attribute: "attrs.Attribute[str]", value: Any) -> None:
        if value not in allowed:
            raise ModelMeterError(f"{attribute.name} {value!r} is unknown: choose {' or '.join(allowed)}")

    return attrs.field(default=allowed[0], validator=check)


@attrs.frozen(kw_only=True)
class Conventions:
    """How the model is run and counted: every choice by name. Without arguments: the vendor's code as it runs.

    implementation: whose code ("vendor" | "transformers"). attention: "eager" | "flash" (one kernel, no scores in
    memory; the vendor's vision is that always). cache: "concat" (rebuilt each step, as DynamicCache) | "in_place".
    experts: "loop" (a call for each expert) | "grouped" (one grouped kernel). position_ids: "shared" [1 q] | "batch"
    [b q]. logits: "all" positions | the "last". causal: "full" scores | the "triangle" needed (counted FLOPs stay
    full). coverage: experts that some token reaches (see `experts_hit`). elementwise: count elementwise FLOPs or not.
    """

    implementation: Implementation = _choice("vendor", "transformers")
    attention: AttentionKind = _choice(*ATTENTION_KINDS)
    cache: CacheStyle = _choice(*CACHE_STYLES)
    experts: Experts = _choice("loop", "grouped")
    position_ids: PositionIds = _choice("shared", "batch")
    logits: Logits = _choice("all", "last")
    causal: Causal = _choice(*CAUSAL_KINDS)
    coverage: Coverage = "expected"
    elementwise: bool = attrs.field(default=True)

    @elementwise.validator
    def _is_bool(self, attribute: "attrs.Attribute[bool]", value: Any) -> None:
        if not isinstance(value, bool):
            raise ModelMeterError(f"elementwise must be True or False, not {value!r}")

    @property
    def vision_sdpa(self) -> bool:
        """Vision runs scaled_dot_product_attention: the vendor's always, transformers' with attention "flash"."""
        return self.implementation == "vendor" or self.attention == "flash"

    def check(self, config: DeepseekOCRConfig) -> "Conventions":
        """Self. Raises where a convention does not suit the model."""
        check_coverage(self.coverage, config.decoder.n_routed_experts)
        return self


RELEASED = Conventions()
"""The vendor's code as it runs: the default of every layer."""


def make_conventions(chosen: dict[str, Any]) -> Conventions:
    """`Conventions(**chosen)`; an unknown keyword is an error that lists the known ones."""
    known = [field.name for field in attrs.fields(Conventions)]
    for name in chosen:
        if name not in known:
            raise ModelMeterError(f"unknown convention {name!r}: choose among {', '.join(known)}")
    return Conventions(**chosen)
