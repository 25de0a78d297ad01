"""A twin beside its real module: one case, and the conventions under which both run."""

from collections.abc import Callable
from typing import Any

import attrs
import torch
from transformers import PreTrainedModel

from modelmeter import Conventions, DeepseekOCRConfig, Layer
from modelmeter.core.recorder import Recorder

CONFIG = DeepseekOCRConfig()
SAM, CLIP, DECODER = CONFIG.sam, CONFIG.clip, CONFIG.decoder
UNUSED_PATCH_CONVOLUTION = 1024 * 3 * 14 * 14  # the vendor's CLIP carries it, nothing calls it

# How each side runs: our conventions, and the attention with which the real model is built. The vendor's vision always
# runs scaled_dot_product_attention, its decoder here the eager core.
EAGER = Conventions(implementation="transformers")
FLASH = Conventions(implementation="transformers", attention="flash")
VENDOR = Conventions(implementation="vendor")


@attrs.frozen
class Case:
    """One twin at one size: `ours` is recorded on `sizes` (of its example inputs) or on `inputs`; `call` runs the real.

    `vendor_flops` and `vendor_parameters` are what the vendor's code has beyond transformers'.
    """

    name: str
    ours: Callable[[Conventions], Layer]
    real: Callable[[PreTrainedModel], Any]
    call: Callable[[Any], Any]
    sizes: tuple[int, ...] = ()
    inputs: Callable[[Recorder, Conventions], tuple[Any, ...]] | None = None
    vision: bool = True
    vendor_flops: int = 0
    vendor_parameters: int = 0


def tensor(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")
