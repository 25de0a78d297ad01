"""`bound`: what a stage cannot do without, and the time below which no implementation of this model on a device can be.

Needed are the matrix FLOPs (2 a multiply-add, by the textbook product) of attention in a causal triangle, of the logits
of the last position alone, and of nothing that can be left out: SAM's window padding (its keys and values are one
constant row), the last decoder layer beyond the keys and values of positions whose output no one reads, CLIP's class
token in its last block. No elementwise FLOPs. Caches are cold when a stage begins, clocks are those of the data sheet.
Bytes: each weight used once (the fewest experts: k, all tokens alike; no tables of embeddings or positions), the cache
read once, new keys and values written once, the pixels (a byte each) and the stage's result only as far as either
exceeds the L2 cache.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Final

import attrs

from modelmeter.core.dims import Dim, ceil_div, exact_plus, exact_times, maximum, same
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.op import Op
from modelmeter.core.precision import Precision
from modelmeter.core.recorder import RecordOptions
from modelmeter.core.tensor import BF16
from modelmeter.core.trace import Trace
from modelmeter.hardware.device import Device
from modelmeter.hardware.machine import RATE_OF
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig, SamConfig
from modelmeter.models.deepseek_ocr.engine import Step
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel

LEANEST: Final = {
    "implementation": "transformers",  # no product for the rotary table, no unused weight
    "attention": "flash",
    "cache": "in_place",
    "experts": "grouped",
    "logits": "last",
    "causal": "triangle",
    "coverage": "min",
    "elementwise": False,
}
_TABLES: Final = ("", "model", "model.embed_tokens", "model.rotary_emb", "model.sam_model")
_MATRIX_ONLY: Final = RecordOptions(elementwise=False)
_FP32_RATES: Final = ("fp32", "tf32", "bf16", "fp16")


@attrs.frozen(kw_only=True)
class Floor:
    """What a stage needs: matrix FLOPs by dtype, and compulsory bytes."""

    flops_by_dtype: Mapping[str, Dim]
    weight_bytes: Dim
    kv_bytes: Dim
    input_bytes: Dim
    output_bytes: Dim

    @property
    def flops(self) -> Dim:
        """Needed matrix FLOPs."""
        return sum(self.flops_by_dtype.values())

    def num_bytes(self, device: Device) -> Dim:
        """Compulsory bytes beside the device's L2 cache; where its size is not known, no activations are among them."""
        total = exact_plus(self.weight_bytes, self.kv_bytes)
        cache = device.l2_bytes
        if cache is not None:
            for activations in (self.input_bytes, self.output_bytes):
                total = exact_plus(total, maximum(activations - cache, 0))
        return total

    def matrix_seconds(self, device: Device) -> Dim:
        """Needed FLOPs at the best rate of each format."""
        return matrix_seconds(self.flops_by_dtype, device)

    def memory_seconds(self, device: Device) -> Dim:
        """Compulsory bytes at full bandwidth."""
        return self.num_bytes(device) / device.bandwidth

    def seconds(self, device: Device) -> Dim:
        """The bound: the longer of the two."""
        return maximum(self.matrix_seconds(device), self.memory_seconds(device))


def matrix_seconds(flops_by_dtype: Mapping[str, Dim], device: Device) -> Dim:
    """Seconds of matrix FLOPs, each at the best rate of its format."""
    return sum(flops / best_rate(device, dtype) for dtype, flops in flops_by_dtype.items())


def best_rate(device: Device, dtype: str) -> float:
    """The fastest that products of a format can be computed on a device, FLOP/s. fp32 ones at any 16-bit rate or more.

    Raises `ModelMeterError` where the device has none.
    """
    names = _FP32_RATES if dtype == "fp32" else RATE_OF.get(dtype, (dtype,))
    rates = [device.peaks[name] for name in names if name in device.peaks]
    if not rates:
        raise ModelMeterError(f"device {device.name} has no rate for {dtype}: give it one of {', '.join(names)}")
    return max(rates)


def floor_of(model: DeepseekOCRModel) -> Floor:
    """What the stage last started needs. Raises for a model of given layers: it has no configuration."""
    if model.config is None:
        raise ModelMeterError("bound needs a model from a configuration: from_layers() leaves the needed work unknown")
    config, step = model.config, model.step
    lean = _lean_model(config, model.precision)
    whole = lean.engine.trace(step, _MATRIX_ONLY)
    needed: list[tuple[str, Dim]] = []
    for count, side in step.images:
        view = Step(mode="vision", batch=step.batch * count, images=((1, side),))
        needed += _vision_flops(lean.engine.trace(view, _MATRIX_ONLY), config, side)
    if step.mode == "vision":
        kv: Dim = 0
        tokens = sum(count * (side // (4 * config.sam.patch_size)) ** 2 for count, side in step.images)
        outputs = tokens * config.decoder.hidden_size
    else:
        text = attrs.evolve(step, mode="prefill", images=(), grid=(1, 1))
        rows = lean.engine.trace(text, _MATRIX_ONLY) if step.images else whole
        needed += _decoder_flops(lean, text, rows, config.decoder.num_hidden_layers - 1)
        kv = exact_times(model.kv_bytes_per_token(step.batch), step.end)
        outputs = config.decoder.vocab_size
    return Floor(
        flops_by_dtype=_by_name(needed),
        weight_bytes=_weight_bytes(whole.used_weights()),
        kv_bytes=kv,
        input_bytes=exact_times(step.batch, config.sam.in_channels * sum(n * side**2 for n, side in step.images)),
        output_bytes=exact_times(step.batch, BF16.itemsize * outputs),
    )


def _weight_bytes(used: dict[str, Dim]) -> Dim:
    """Each weight used once, without tables: rows of one are enough, or it can be kept in the size that is needed."""
    return sum(num_bytes for path, num_bytes in used.items() if not _is_table(path))


def _is_table(path: str) -> bool:
    """Whether what a module reads itself are embeddings, positions or constants, not weights of products and norms."""
    sam_attention = path.startswith("model.sam_model.") and path.endswith(".attn")
    return path in _TABLES or sam_attention or path.startswith("model.vision_model.embeddings")


def _by_name(pairs: list[tuple[str, Dim]]) -> dict[str, Dim]:
    sums: dict[str, Dim] = {}
    for name, value in pairs:
        sums[name] = exact_plus(sums.get(name, 0), value)
    return sums


@lru_cache(maxsize=16)
def _lean_model(config: DeepseekOCRConfig, precision: Precision) -> DeepseekOCRModel:
    return DeepseekOCRModel.from_config(config, precision=precision, **LEANEST)


def _matrix_flops(trace: Trace) -> Iterator[tuple[str, Op, Dim]]:
    """(path, operator, FLOPs) of every product: with a causal mask the triangle alone."""
    for path, op in trace.operators():
        if op.kind in ("matmul", "fused"):
            yield path, op, op.numbers[0] + op.numbers[1]


def _vision_flops(trace: Trace, config: DeepseekOCRConfig, side: Dim) -> Iterator[tuple[str, Dim]]:
    """(dtype, needed FLOPs) of each product over views of one side."""
    sam, last = config.sam, f"vision_model.transformer.layers.{config.clip.layers - 1}."
    kept = tuple(f"{last}self_attn.{name}" for name in ("k_proj", "v_proj"))
    windowed = [f"sam_model.blocks.{i}.attn" for i in range(sam.layers) if i not in sam.global_attn_indexes]
    tokens, pairs = _window_shares(sam, side)
    for path, op, flops in _matrix_flops(trace):
        name = path.removeprefix("model.")
        share = Fraction(1)
        if name in windowed:  # tokens against tokens; relative positions are tokens against one side of their window
            share = tokens * pairs if op.name == "bmm" else pairs * pairs
        elif name.rpartition(".")[0] in windowed:
            share = tokens * tokens
        elif name.startswith(last) and not name.startswith(kept):  # the class token's row: no one reads its output
            share = Fraction(op.shape[-2] - 1, op.shape[-2])
        yield op.dtype.name, flops // share.denominator * share.numerator


def _window_shares(sam: SamConfig, side: Dim) -> tuple[Fraction, Fraction]:
    """Of windows on a padded grid, along one side: the share of tokens, and of pairs of them, that are no padding."""
    grid, window = side // sam.patch_size, sam.window_size
    if window == 0:
        return Fraction(1), Fraction(1)
    sides = [window] * (grid // window) + [grid % window]
    padded = ceil_div(grid, window)
    return Fraction(grid, padded * window), Fraction(sum(s * s for s in sides), padded * window**2)


def _decoder_flops(lean: DeepseekOCRModel, step: Step, rows: Trace, last: int) -> Iterator[tuple[str, Dim]]:
    """(dtype, needed FLOPs) of each product of decoder and head; `rows` is the step's trace. Of the last layer's work
    on positions before the last one, keys and values alone are read again.
    """
    last_row = rows
    if not same(step.queries, 1):
        last_row = lean.engine.trace(attrs.evolve(step, queries=1, past=step.end - 1), _MATRIX_ONLY)
    layer = f"model.layers.{last}."
    cached = tuple(f"{layer}self_attn.{name}" for name in ("k_proj", "v_proj"))
    for path, op, flops in _matrix_flops(rows):
        if not path.startswith(layer) or path.startswith(cached):
            yield op.dtype.name, flops
    for path, op, flops in _matrix_flops(last_row):
        if path.startswith(layer) and not path.startswith(cached):
            yield op.dtype.name, flops
