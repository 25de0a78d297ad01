"""transformers 5's UnlimitedOcr as DeepSeek-OCR: the same architecture, built from a configuration without weights."""

import re
from collections.abc import Container, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import torch
import transformers
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import DynamicCache, UnlimitedOcrConfig, UnlimitedOcrForConditionalGeneration
from transformers.models.unlimited_ocr.modeling_unlimited_ocr import UnlimitedOcrTextTopkRouter

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.reference.adapter import Call, ExpertsRun, Quantity
from modelmeter.live.reference.datafree import DataFree, balanced_experts, outputs_replaced
from modelmeter.live.reference.names import from_transformers
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.nn.attention import AttentionKind

BF16 = torch.bfloat16
INLINE: Final = (r"model\.projector", r".*\.mlp\.experts\.(gate_up_proj|down_proj)")
"""The projector is one linear layer; the experts are stacked parameters of one module."""
_AROUND_EXPERTS: Final = re.compile(r"(model(\.layers\.\d+(\.mlp(\.experts.*)?)?)?)?")
_AROUND_ATTENTION: Final = re.compile(r"(model(\.layers\.\d+(\.self_attn)?)?)?")
SDPA_OR_EAGER = {"eager": "eager", "flash": "sdpa"}


class UnlimitedOcr:
    """The real model without data: on meta, or with sdpa on fake CPU tensors, as on meta sdpa is taken apart.

    `experts` is how the routed experts run: a loop ("eager"), or one product for all. Attention is over the full
    context, as DeepSeek-OCR's, unless a `reference_window` is given (128 as released): then it is the model
    Unlimited-OCR itself, which keeps the prefill and that many of the last tokens.
    """

    def __init__(
        self,
        config: DeepseekOCRConfig,
        attention: AttentionKind = "eager",
        experts: ExpertsRun = "eager",
        reference_window: int | None = None,
    ) -> None:
        self.config = config
        self.attention = attention
        self.experts = experts
        self.reference_window = reference_window
        self._fake = FakeTensorMode(allow_non_fake_inputs=True) if attention == "flash" else None
        self.device = "cpu" if self._fake else "meta"
        with self._on_device():
            self.model = build(
                config_like(config, reference_window), attention=SDPA_OR_EAGER[attention], experts=experts
            )
        self._text_config: Any = self.model.config.text_config
        self._routers = routers_of(self.model)

    @property
    def name(self) -> str:
        """What it is, for reports."""
        where = "fake CPU tensors" if self._fake else "meta"
        return f"transformers {transformers.__version__} UnlimitedOcr ({SDPA_OR_EAGER[self.attention]}) on {where}"

    @property
    def conventions(self) -> Conventions:
        """How the twin is run: balanced routing reaches min(E, k * tokens) experts."""
        return Conventions(
            implementation="transformers",
            attention=self.attention,
            experts="loop" if self.experts == "eager" else "grouped",
            coverage="max",
        )

    @property
    def inline(self) -> tuple[str, ...]:
        """What has no module of its own there."""
        return INLINE

    def unmodelled(self, stage: str, path: str) -> Container[Quantity]:
        """What batched_mm moves, in the experts and around them, and a windowed cache.

        batched_mm gathers a copy of an expert's weights for every row: FLOPs are right, traffic is that of no GPU. A
        windowed cache is two, the prefill's and the window's, joined anew at every step.
        """
        skipped: set[Quantity] = set()
        if stage != "vision" and self.experts == "batched_mm" and _AROUND_EXPERTS.fullmatch(path):
            skipped |= {"weight_read_bytes", "activation_bytes", "peak_bytes"}
        if stage == "decode" and self.reference_window is not None and _AROUND_ATTENTION.fullmatch(path):
            skipped |= {"kv_traffic_bytes", "activation_bytes", "peak_bytes"}
            skipped |= {"kv_cache_bytes"} if path else set()  # what a layer's cache gains: not once the window is full
        return skipped

    def tokens_cached(self, context_len: int, step: int) -> int:
        """Tokens that decode step `step` finds cached: all, or the prefill and what the window leaves of the rest."""
        return context_len + (step if self.reference_window is None else min(step, self.reference_window - 1))

    def rename(self, path: str) -> str:
        """The vendor's path."""
        return from_transformers(path)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Without data, and with balanced routing."""
        looped = self._routers if self.experts == "eager" else []  # the others never look at the indices
        with self._fake or nullcontext(), outputs_replaced(looped, _balance), DataFree():
            yield

    def vision(self, views: ViewPlan, batch: int) -> Call:
        """`get_image_features`: the towers, the projector, newlines and separators."""
        images = self._images(views, batch)
        return Call(lambda: self.model.model.get_image_features(**images), images, at=self.model.model)

    def prefill(self, context_len: int, batch: int) -> Call:
        """A forward pass of ids and an attention mask of ones, as `generate` makes it."""
        return self._forward(self._ids(batch, context_len), context_len)

    def page(self, views: ViewPlan, context_len: int, batch: int) -> Call:
        """The same with image tokens among the ids: their number is looked at, so the ids have data."""
        ids = torch.zeros(batch, context_len, dtype=torch.long)
        ids[:, : views.image_tokens] = self.model.config.image_token_id
        return self._forward(ids, context_len, **self._images(views, batch))

    def decode(self, cached: int, batch: int, cache: Any = None) -> Call:
        """A forward pass of one token onto a cache that holds `cached`."""
        cache = self._cache(cached, batch) if cache is None else cache
        return self._forward(self._ids(batch, 1), cached + 1, past_key_values=cache)

    def _cache(self, cached: int, batch: int) -> DynamicCache:
        cache = DynamicCache(config=self._text_config)
        decoder = self.config.decoder
        shape = (batch, decoder.num_key_value_heads, cached, decoder.head_dim)
        with self._on_device():
            for layer in range(decoder.num_hidden_layers):
                cache.update(self._empty(*shape), self._empty(*shape), layer)
        return cache

    def _forward(self, ids: torch.Tensor, keys: int, **more: Any) -> Call:
        # With data the mask of ones can be seen through: sdpa then takes none. An eager core is given one anyway.
        mask = torch.ones(ids.shape[0], keys, dtype=torch.long, device="cpu" if self._fake else "meta")
        arguments = {"input_ids": ids, "attention_mask": mask, "use_cache": True, **more}
        cache = arguments.setdefault("past_key_values", DynamicCache(config=self._text_config))
        return Call(lambda: self.model(**arguments), arguments, cache=cache)

    def _images(self, views: ViewPlan, batch: int) -> dict[str, Any]:
        arguments: dict[str, Any] = {"pixel_values": self._pixels(batch, views.base_size)}
        if views.num_tiles and views.tile_size:
            arguments |= {
                "pixel_values_local": self._pixels(batch * views.num_tiles, views.tile_size),
                "num_local_patches": [views.num_tiles] * batch,
                "patches_grid": [list(views.grid)] * batch,
            }
        return arguments

    def _pixels(self, number: int, side: int) -> torch.Tensor:
        return self._empty(number, self.config.sam.in_channels, side, side)

    def _ids(self, batch: int, tokens: int) -> torch.Tensor:
        return self._empty(batch, tokens, dtype=torch.long)

    def _empty(self, *shape: int, dtype: torch.dtype = BF16) -> torch.Tensor:
        with self._on_device():
            return torch.empty(*shape, dtype=dtype, device=self.device)

    def _on_device(self) -> Any:
        return self._fake or torch.device("meta")


def routers_of(model: nn.Module) -> list[nn.Module]:
    """The router of every mixture-of-experts layer, in order."""
    return [module for module in model.modules() if isinstance(module, UnlimitedOcrTextTopkRouter)]


def _balance(router: Any, output: Any) -> Any:
    logits, weights, _ = output
    return logits, weights, balanced_experts(weights.shape[0], router.top_k, router.num_experts)


def build(
    config: UnlimitedOcrConfig, attention: str = "eager", experts: ExpertsRun = "eager", dtype: torch.dtype = BF16
) -> UnlimitedOcrForConditionalGeneration:
    """The real model in `dtype`, on the device in force. SAM picks its attention class here, for good."""
    choose_attention(config, attention)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        model = UnlimitedOcrForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    choose_experts(config, experts)
    return model.eval()


def choose_attention(config: UnlimitedOcrConfig, attention: str) -> None:
    """The attention ("eager", "sdpa") of every part, before a model is made of `config`.

    Raises `ModelMeterError` for an eager one of grouped heads: transformers' (5.23) does not repeat keys and values.
    """
    text: Any = config.text_config
    heads, shared = text.num_attention_heads, text.num_key_value_heads
    if attention == "eager" and heads != shared:
        raise ModelMeterError(
            f"transformers' UnlimitedOcr has no eager attention of {heads} heads on {shared} key-value heads: "
            "take attention='flash' (--attention flash)"
        )
    vision: Any = config.vision_config
    parts: tuple[Any, ...] = (config, config.text_config, vision, vision.sam_config, vision.encoder_config)
    for part in parts:
        part._attn_implementation = attention


def choose_experts(config: Any, experts: ExpertsRun) -> None:
    """How the routed experts run, of a model that is made of `config`."""
    for part in (config, config.text_config):
        part._experts_implementation = experts


def config_like(config: DeepseekOCRConfig, reference_window: int | None = None) -> UnlimitedOcrConfig:
    """A configuration, number by number, as transformers'; without a window attention is over the full context."""
    sam, clip, decoder = config.sam, config.clip, config.decoder
    attention = "full_attention" if reference_window is None else "reference_sliding_attention"
    text = {
        "layer_types": [attention] * decoder.num_hidden_layers,
        "sliding_window": reference_window or decoder.max_position_embeddings,
        "mlp_layer_types": list(decoder.mlp_layer_types),
    }
    same = (
        "hidden_size intermediate_size moe_intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
        "n_routed_experts n_shared_experts num_experts_per_tok vocab_size attention_bias mlp_bias topk_method n_group "
        "topk_group max_position_embeddings"
    )
    text |= {name: getattr(decoder, name) for name in same.split()}
    sam_config = {
        "hidden_size": sam.width,
        "output_channels": sam.out_channels,
        "num_hidden_layers": sam.layers,
        "num_attention_heads": sam.heads,
        "num_channels": sam.in_channels,
        "image_size": sam.image_size,
        "patch_size": sam.patch_size,
        "qkv_bias": sam.qkv_bias,
        "use_abs_pos": sam.use_abs_pos,
        "use_rel_pos": sam.use_rel_pos,
        "window_size": sam.window_size,
        "global_attn_indexes": list(sam.global_attn_indexes),
        "mlp_dim": sam.mlp_dim,
        "downsample_channels": list(sam.downsample_channels),
    }
    encoder_config = {
        "hidden_size": clip.width,
        "intermediate_size": clip.mlp_dim,
        "num_hidden_layers": clip.layers,
        "num_attention_heads": clip.heads,
        "image_size": clip.image_size,
        "patch_size": clip.patch_size,
    }
    return UnlimitedOcrConfig(
        text_config=text,
        vision_config={"sam_config": sam_config, "encoder_config": encoder_config},
        tie_word_embeddings=decoder.tie_word_embeddings,
    )
