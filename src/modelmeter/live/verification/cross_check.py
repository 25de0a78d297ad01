"""SAM, CLIP and the projector against fvcore's counter, an independent one with other conventions.

fvcore counts multiply-adds (half our FLOPs) from a traced graph. It does not see scaled_dot_product_attention, counts 5
an element of a normalisation where FLOP counters count none, and reads an einsum's number from a text that NumPy prints
with four digits. With these three stated, nothing else differs.
"""

import logging
import math
import warnings
from collections.abc import Mapping
from typing import Any, Final

import attrs
import torch
from torch import nn

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.layer import Layer
from modelmeter.core.op import Op
from modelmeter.models.deepseek_ocr.clip import VitModel
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.projector import MlpProjector
from modelmeter.models.deepseek_ocr.sam import ImageEncoderViT

NORM_PER_ELEMENT: Final = 5
"""fvcore's `norm_flop_counter(affine_arg_index=2)`: 5 an element with weight and bias."""

WHY: Final = {
    "conv": "equal",
    "linear": "equal",
    "matmul": "equal: attention, run as products",
    "einsum": "SAM's relative positions; fvcore reads a number printed with four digits",
    "layer_norm": "fvcore counts 5 an element; a FLOP counter counts none",
    "attention": "fvcore does not see scaled_dot_product_attention",
}


@attrs.frozen
class CrossCheck:
    """One kind of operator of one part: multiply-adds of fvcore and of ours, and what ours says fvcore will count."""

    part: str
    attention: str
    operator: str
    fvcore: int
    ours: int
    expected: int

    @property
    def difference(self) -> int:
        """Ours minus fvcore's."""
        return self.ours - self.fvcore

    @property
    def why(self) -> str:
        """What the difference between the two is."""
        return WHY.get(self.operator, "ours has no such operator")

    @property
    def ok(self) -> bool:
        """fvcore counts what its conventions make of our numbers, to the last one."""
        return self.fvcore == self.expected


def cross_check(config: DeepseekOCRConfig, side: int = 512) -> tuple[CrossCheck, ...]:
    """Every kind of operator of SAM on an image of `side` pixels, of CLIP and of the projector; eager and sdpa."""
    from modelmeter.live.reference.transformers5 import build, config_like  # transformers 5: not beside the vendor's

    found: list[CrossCheck] = []
    for attention in ("eager", "sdpa"):
        with torch.device("meta"):
            model = build(config_like(config), attention=attention)
        for part, real, twin, inputs, sizes in _parts(model, config, side):
            theirs = _fvcore(real.to_empty(device="cpu"), inputs)
            ours, expected = _ours(twin, sizes, attention)
            for operator in dict.fromkeys((*theirs, *expected)):
                numbers = theirs.get(operator, 0), ours.get(operator, 0), expected.get(operator, 0)
                found.append(CrossCheck(part, attention, operator, *numbers))
    return tuple(found)


def _parts(model: Any, config: DeepseekOCRConfig, side: int) -> list[tuple[Any, ...]]:
    """(name, real module, twin, real input, the twin's sizes) of each part.

    The twin's attention is one kernel, so that its products are told from those of the relative positions.
    """
    conventions = Conventions(implementation="transformers", attention="flash")
    grid = side // config.sam.patch_size // 4
    tower = model.model.vision_tower
    return [
        (
            "SAM",
            tower.sam_encoder,
            ImageEncoderViT(config.sam, conventions),
            torch.zeros(1, config.sam.in_channels, side, side, dtype=torch.bfloat16),
            (side, 1),
        ),
        (
            "CLIP",
            tower.vision_encoder,
            VitModel(config.clip, conventions),
            torch.zeros(1, config.clip.width, grid, grid, dtype=torch.bfloat16),
            (grid, 1),
        ),
        (
            "projector",
            model.model.multi_modal_projector,
            MlpProjector(config.projector),
            torch.zeros(1, grid * grid, config.projector.input_dim, dtype=torch.bfloat16),
            (grid * grid, 1),
        ),
    ]


def _fvcore(module: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """fvcore's multiply-adds by operator, without those that it leaves at 0."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing is deprecated, and warns of every size it bakes in
        try:
            from fvcore.nn import FlopCountAnalysis
        except ImportError:
            raise ModelMeterError("the cross-check needs fvcore: pip install fvcore") from None
        counter = FlopCountAnalysis(module, (x,)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return {name: round(count) for name, count in counter.by_operator().items() if count}


def _ours(twin: Layer, sizes: tuple[int, ...], attention: str) -> tuple[dict[str, int], dict[str, int]]:
    """Our multiply-adds by fvcore's name of the operator, and what fvcore makes of each."""
    ours: dict[str, int] = {}
    expected: dict[str, int] = {}
    names = {**_NAMES, "flash_attention": "matmul" if attention == "eager" else "attention"}
    for _, op in twin.trace_at(*sizes).operators():
        if op.name in names:
            name = names[op.name]
            macs, theirs = _counts(name, op)
            ours[name] = ours.get(name, 0) + macs
            expected[name] = expected.get(name, 0) + theirs
    return ours, expected


_NAMES: Final[Mapping[str, str]] = {
    "convolution": "conv",
    "addmm": "linear",
    "mm": "linear",
    "bmm": "einsum",
    "native_layer_norm": "layer_norm",
}


def _counts(name: str, op: Op) -> tuple[int, int]:
    flops = op.cost.counted_flops
    if name == "layer_norm":
        return 0, NORM_PER_ELEMENT * math.prod(op.shape)
    if name == "einsum":
        return flops // 2, math.floor(float(f"{flops:.3e}") / 2)
    return flops // 2, 0 if name == "attention" else flops // 2
