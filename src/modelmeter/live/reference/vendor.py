"""The vendor's checkpoint folder, run with its own code (transformers 4.46), as a reference for the twins."""

import re
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from os import PathLike
from typing import Any, Final

import torch
import transformers
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.reference.adapter import Call, Quantity
from modelmeter.live.reference.datafree import DataFree, balanced_experts, outputs_replaced
from modelmeter.live.reference.vendor_load import build, checked_device, checked_folder, has_weights
from modelmeter.live.reference.vendor_running import (
    StaysHere,
    called_as_modules,
    flash_attention_here,
    image_tokens_of,
    silent,
)
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.nn.attention import AttentionKind

BF16 = torch.bfloat16
_EXPERT: Final = re.compile(r"\.experts\.\d+")


class VendorCheckpoint:
    """The model of a checkpoint folder in bf16: with its weights where they are, without data where they are not.

    Without weights, or where those there are not wanted (`weights`), it runs on fake CPU tensors: on meta the attention
    kernel of its vision would be taken apart. With them it runs on `device`, "cpu" or "cuda", by default CUDA where
    there is one. Tokens get experts in turn instead of the router's choice, so that the traffic of weights is known.
    Raises `ModelMeterError` where the folder cannot be run, and unless `trust_remote_code`: its code is the
    publisher's.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        trust_remote_code: bool,
        attention: AttentionKind = "eager",
        device: str | None = None,
        weights: bool = True,
    ) -> None:
        folder = checked_folder(path, trust_remote_code=trust_remote_code)
        self.path = folder
        self.config = DeepseekOCRConfig.from_hf(folder)
        self.attention = attention
        self._fake = None if weights and has_weights(folder) else FakeTensorMode(allow_non_fake_inputs=True)
        self.device = "cpu" if self._fake else checked_device(device)
        with silent():
            self.model: Any = build(folder, attention, self.device, self._fake)
        self._gates: list[nn.Module] = [
            layer.mlp.gate
            for layer, kind in zip(self.model.model.layers, self.config.decoder.mlp_layer_types, strict=True)
            if kind == "sparse"
        ]
        blocks = self.model.model.vision_model.transformer.layers
        self._called_by_forward = [module for block in blocks for module in (block.self_attn, block.mlp)]

    @property
    def name(self) -> str:
        """What it is, for reports."""
        where = "without data" if self._fake else f"on {self.device}"
        return f"transformers {transformers.__version__} {type(self.model).__name__} ({self.attention}) {where}"

    @property
    def conventions(self) -> Conventions:
        """How the twin is run: balanced routing reaches min(E, k * tokens) experts."""
        return Conventions(implementation="vendor", attention=self.attention, coverage="max")

    @property
    def inline(self) -> tuple[str, ...]:
        """Quick-GELU is an expression there, and the experts are a list that is not called as one."""
        return (r"model\.vision_model\..*\.mlp\.act", r".*\.mlp\.experts")

    def unmodelled(self, stage: str, path: str) -> Container[Quantity]:
        """Everything has its analytic counterpart."""
        return ()

    def tokens_cached(self, context_len: int, step: int) -> int:
        """All of them: a plain cache."""
        return context_len + step

    def rename(self, path: str) -> str:
        """An expert is part of its mixture; its projections are listed with those of all experts, as in the twin."""
        within = _EXPERT.search(path)
        if within is None:
            return path
        return path[: within.start()] + (".experts" + path[within.end() :] if within.end() < len(path) else "")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Nothing printed, nothing sent to a device that is not there, experts in turn; without weights no data."""
        with ExitStack() as stack:
            for context in (silent(), flash_attention_here(), called_as_modules(self._called_by_forward)):
                stack.enter_context(context)
            if not self.device.startswith("cuda"):
                stack.enter_context(StaysHere())
            stack.enter_context(self._fake or nullcontext())
            stack.enter_context(outputs_replaced(self._gates, self._route))
            if self._fake:
                stack.enter_context(DataFree())
            yield

    def vision(self, views: ViewPlan, batch: int) -> Call:
        """The model's forward up to the image tokens: it has no vision of its own to call, so it is stopped there.

        What it does on the way is encoding, joining and laying out, page after page; the embeddings are given.
        """
        images = self._images(views, batch)
        ids = torch.zeros(batch, views.image_tokens, dtype=torch.long)
        arguments = {"input_ids": ids, "inputs_embeds": self._empty(*ids.shape, self.config.decoder.hidden_size)}
        model = self.model.model
        return Call(lambda: image_tokens_of(lambda: model.forward(**arguments, **images), batch), images, at=model)

    def prefill(self, context_len: int, batch: int) -> Call:
        """Ids and an attention mask of ones, as `generate` passes them; images of zeros say that there are none."""
        none = torch.zeros(1, 3, 1, 1, dtype=BF16, device=self.device)
        return self._forward(batch, context_len, context_len, images=[(none, none)] * batch)

    def page(self, views: ViewPlan, context_len: int, batch: int) -> Call:
        """The same with images, and a mask that says where their tokens are."""
        return self._forward(batch, context_len, context_len, **self._images(views, batch, context_len))

    def decode(self, cached: int, batch: int, cache: Any = None) -> Call:
        """One token onto a cache that holds `cached`."""
        return self._forward(batch, 1, cached + 1, self._cache(cached, batch) if cache is None else cache)

    def _route(self, _gate: nn.Module, output: Any) -> Any:
        """A gate's output, with experts in turn."""
        decoder = self.config.decoder
        indices = balanced_experts(output[0].shape[0], decoder.num_experts_per_tok, decoder.n_routed_experts)
        return indices.to(self.device), *output[1:]

    def _forward(self, batch: int, tokens: int, keys: int, cache: Any = None, **images: Any) -> Call:
        cache = transformers.DynamicCache() if cache is None else cache
        arguments = {
            "input_ids": self._empty(batch, tokens, dtype=torch.long).zero_(),
            "attention_mask": torch.ones(batch, keys, dtype=torch.long, device=self.device),
            "past_key_values": cache,
            "use_cache": True,
            **images,
        }
        return Call(lambda: self.model(**arguments), arguments, cache=cache)

    def _images(self, views: ViewPlan, batch: int, context_len: int = 0) -> dict[str, Any]:
        """`infer`'s arguments: tiles (or zeros of the page's size) and the page, the tokens' places, the grid."""
        if batch > 1:
            raise ModelMeterError(
                f"the vendor's code encodes page by page and reads the vision weights for each, the analytic model "
                f"runs {batch} pages as one batch: verify vision and page at batch 1"
            )
        page = self._pixels(1, views.base_size)
        tiles = torch.zeros(page.shape, dtype=BF16, device=self.device)
        if views.num_tiles and views.tile_size:
            tiles = self._pixels(views.num_tiles, views.tile_size)
        places = torch.zeros(batch, context_len or views.image_tokens, dtype=torch.bool, device=self.device)
        places[:, : views.image_tokens] = True
        return {
            "images": [(tiles, page)] * batch,
            "images_seq_mask": places,
            "images_spatial_crop": torch.tensor([views.grid] * batch),
        }

    def _pixels(self, number: int, side: int) -> torch.Tensor:
        return self._empty(number, self.config.sam.in_channels, side, side).fill_(1)

    def _cache(self, cached: int, batch: int) -> Any:
        cache = transformers.DynamicCache()
        decoder = self.config.decoder
        shape = (batch, decoder.num_key_value_heads, cached, decoder.head_dim)
        for layer in range(decoder.num_hidden_layers):
            cache.update(self._empty(*shape).zero_(), self._empty(*shape).zero_(), layer)
        return cache

    def _empty(self, *shape: int, dtype: torch.dtype = BF16) -> torch.Tensor:
        with self._fake or nullcontext():
            return torch.empty(*shape, dtype=dtype, device=self.device)
