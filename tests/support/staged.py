"""Models of ours in a stage, and parts whose price is known beforehand."""

from typing import Any

import pytest

from modelmeter import DeepseekOCRModel, Layer, plan_views
from modelmeter.core import ops
from modelmeter.core.tensor import BF16, Tensor
from modelmeter.models.deepseek_ocr.config import Conventions, DecoderConfig
from modelmeter.models.deepseek_ocr.llama import LlamaAttention, LlamaFlashAttention2

DECODER = DecoderConfig()
EAGER, FLASH = Conventions(), Conventions(attention="flash")
ATTENTION = [(LlamaAttention, EAGER), (LlamaFlashAttention2, FLASH)]
EACH_ATTENTION = pytest.mark.parametrize(("kind", "conventions"), ATTENTION, ids=["eager", "flash"])
EACH_PATH = pytest.mark.parametrize("attention", ["eager", "flash"])
EACH_IMPLEMENTATION = pytest.mark.parametrize("implementation", ["vendor", "transformers"])
LONG = (1024, 4096, 8192)
A4 = plan_views(1654, 2339)


def started(stage: str, context: int = 913, batch: int = 1, **conventions: Any) -> DeepseekOCRModel:
    """A model in a stage; with views in "vision"."""
    model = DeepseekOCRModel.from_config(**conventions)
    if stage == "vision":
        model.set_views(A4)
        model.start_vision(batch)
        return model
    model.start_prefill(context, batch)
    if stage == "decode":
        model.start_decode()
    return model


class Stub(Layer):
    """A part of a known price: 2 * units**2 counted FLOPs a call, whatever it is called with."""

    units = 1

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        column = ops.empty((1, self.units, 1), BF16)
        ops.bmm(column, column.view(1, 1, self.units))
        return x


class VisionStub(Stub):
    units = 7


class DecoderStub(Stub):
    units = 11


class OtherDecoderStub(Stub):
    units = 13


class HeadStub(Stub):
    units = 17


VISION, DECODE, OTHER, HEAD = (2 * n * n for n in (7, 11, 13, 17))
