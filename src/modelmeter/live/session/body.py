"""What a session needs of a real model, whoever's code it is."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import attrs
import torch
from torch import nn

from modelmeter.live.session.inputs import PreparedInputs
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig


@attrs.frozen(kw_only=True, eq=False)
class Placed:
    """A prefill's inputs on the device: ids [b s], and the images as the model's own code takes them."""

    ids: torch.Tensor
    images: dict[str, Any]


class Body(Protocol):
    """A real model, built or loaded, and how it is called."""

    @property
    def name(self) -> str:
        """What it is, for reports."""

    @property
    def model(self) -> nn.Module:
        """The whole real model."""

    @property
    def config(self) -> DeepseekOCRConfig:
        """Its configuration."""

    @property
    def conventions(self) -> Conventions:
        """How it runs here: those of the twin whose counted FLOPs equal its own."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""

    @property
    def image_token(self) -> int:
        """The id that stands for an image token."""

    def running(self) -> AbstractContextManager[Any]:
        """What has to hold while it runs."""

    def place(self, inputs: PreparedInputs) -> Placed:
        """The inputs on the device."""

    def new_cache(self) -> Any:
        """An empty KV cache."""

    def prefill(self, inputs: Placed, cache: Any) -> torch.Tensor:
        """Vision and the whole prompt into an empty cache: the last position's logits [b vocab]."""

    def decode(self, ids: torch.Tensor, cached: int, cache: Any) -> torch.Tensor:
        """One token of each sequence, ids [b 1], onto a cache that holds `cached`: logits [b vocab]."""

    def projector_calls(self, inputs: PreparedInputs) -> int:
        """How often a prefill of these inputs calls the projector: once for each batch of views."""
