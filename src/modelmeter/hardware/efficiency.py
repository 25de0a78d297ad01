"""How much of a device's rates real kernels reach: a few numbers for each kind of operator, fitted by calibration."""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs
import numpy as np

from modelmeter.core.dims import Dim, maximum, minimum, prod, same
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.op import Op

OperatorClass: TypeAlias = Literal[
    "matmul",
    "fp32_matmul",
    "grouped_matmul",
    "batched_matmul",
    "convolution",
    "attention",
    "attention_step",
    "elementwise",
    "broadcast",
    "transcendental",
    "norm",
    "reduction",
    "selection",
    "move",
    "transpose",
    "gather",
]
"""Products by weights (also one by one in a loop over experts), the same in fp32 (the router's), by experts' weights in
one kernel, of activations; convolutions; attention in one kernel, of many queries and of one; arithmetic, and where it
writes more than it reads; special functions; normalisations in one kernel; reductions, sorts; casts and copies in
order, copies into another order, rows picked by index."""
CLASSES: Final[tuple[OperatorClass, ...]] = get_args(OperatorClass)
LIKE: Final[Mapping[OperatorClass, OperatorClass]] = {
    "fp32_matmul": "matmul",
    "grouped_matmul": "matmul",
    "batched_matmul": "matmul",
    "attention_step": "attention",
    "broadcast": "elementwise",
    "transcendental": "elementwise",
    "norm": "elementwise",
    "reduction": "elementwise",
    "selection": "reduction",
    "transpose": "move",
    "gather": "move",
}
"""What stands for a class that a calibration lacks."""
_TINY: Final = 1e-30
_NAMES: Final[tuple[tuple[OperatorClass, str], ...]] = (
    ("batched_matmul", "bmm"),
    ("convolution", "convolution"),
    ("transcendental", "_softmax sigmoid silu gelu sin cos exp sqrt rsqrt tanh"),
    ("norm", "native_layer_norm _fused_rms_norm"),
    ("reduction", "mean sum max"),
    ("selection", "topk sort argsort histc cumsum"),
    ("transpose", "clone"),
    ("gather", "index embedding index_put_ index_add masked_scatter masked_scatter_ nonzero scatter_"),
)
_CLASS_OF: Final = {name: kind for kind, names in _NAMES for name in names.split()}


def class_of(op: Op) -> OperatorClass:
    """The kind of kernel an operator runs."""
    if op.kind == "fused":
        return "attention_step" if len(op.shape) == 4 and same(op.shape[2], 1) else "attention"
    if op.name in _CLASS_OF:
        return _CLASS_OF[op.name]
    if op.kind == "matmul":
        if not op.dtype.on_tensor_cores:
            return "fp32_matmul"
        return "grouped_matmul" if same(op.launches, 1) and not same(op.groups, 1) else "matmul"
    if op.kind == "elementwise":
        return "broadcast" if _spreads(op) else "elementwise"
    return "move"


def _spreads(op: Op) -> bool:
    """Writes at least twice the bytes it reads: small operands combined to a large result."""
    _, _, _, weights, read, written, kv_read, kv_written = op.numbers
    return bool(np.all(2 * (weights + read + kv_read) <= written + kv_written))


@attrs.frozen(kw_only=True)
class Efficiency:
    """Of one kind of operator: the shares of the tensor, vector and memory rates it reaches, and seconds a kernel.

    `overlap` is how much of the shorter terms hides behind the longest: 1 all of it, 0 none (the terms add up).
    `row_seconds` are those of starting one row (last axis) of the output. Attention leaves out what a causal mask hides
    in blocks of `causal_block` keys. Shares are in (0, 1], `overlap` in [0, 1], seconds >= 0, blocks of 1 or more: a
    calibrated time is never below the roofline's.
    """

    tensor: float = 1.0
    vector: float = 1.0
    memory: float = 1.0
    overlap: float = 1.0
    seconds: float = 0.0
    row_seconds: float = 0.0
    causal_block: float = 1.0

    def __attrs_post_init__(self) -> None:
        for name in ("tensor", "vector", "memory"):
            share = getattr(self, name)
            if not 0 < share <= 1:
                raise ModelMeterError(f"calibration: {name} efficiency is {share}: it is a share in (0, 1]")
        if not 0 <= self.overlap <= 1:
            raise ModelMeterError(f"calibration: overlap is {self.overlap}: it is a share in [0, 1]")
        for name, what in (("seconds", "a kernel"), ("row_seconds", "a row")):
            if not 0 <= getattr(self, name) < 1:
                raise ModelMeterError(f"calibration: {getattr(self, name)} {name} {what}: give 0 or more, less than 1")
        if not 1 <= self.causal_block < math.inf:
            raise ModelMeterError(f"calibration: causal blocks of {self.causal_block} keys: give 1 or more")

    def executed(self, op: Op) -> Dim:
        """Tensor FLOPs that the kernel does: of those a causal mask hides, the blocks that reach over the diagonal."""
        needed, counted = op.numbers[0], op.numbers[2]
        if op.kind != "fused" or self.causal_block == 1:
            return needed
        return needed + (counted - needed) * minimum(1.0, self.causal_block / op.shape[-2])

    def fixed(self, op: Op) -> Dim:
        """Seconds that come on top, whatever the rates."""
        seconds = op.launches * self.seconds
        return seconds + prod(op.shape[:-1]) * self.row_seconds if self.row_seconds else seconds

    def stretch(self, tensor: Dim, vector: Dim, memory: Dim) -> Dim:
        """The time of three terms over the longest of them, >= 1: longest + (1 - overlap) * (sum - longest)."""
        if self.overlap == 1:
            return 1.0
        longest = maximum(maximum(tensor, vector), memory)
        return 1 + (1 - self.overlap) * (tensor + vector + memory - longest) / maximum(longest, _TINY)


PERFECT: Final = Efficiency()


@attrs.frozen(kw_only=True)
class Calibration:
    """The efficiencies of a device by kind of operator, the host's seconds a kernel, and where they come from."""

    classes: Mapping[str, Efficiency]
    host_seconds: float
    provenance: Mapping[str, Any] = attrs.field(factory=dict)

    def of(self, op: Op) -> Efficiency:
        """The efficiency of an operator: of its class, or of the class most like it."""
        name: OperatorClass | None = class_of(op)
        while name is not None and name not in self.classes:
            name = LIKE.get(name)
        return PERFECT if name is None else self.classes[name]

    @classmethod
    def from_table(cls, table: Mapping[str, Any], device: str) -> "Calibration":
        """Of the `[NAME.calibration]` table of a device file. Raises `ModelMeterError` naming what is wrong in it."""
        known = {field.name for field in attrs.fields(Efficiency)}
        classes = {}
        for name, values in table.get("classes", {}).items():
            wrong = sorted(set(values) - known)
            if name not in CLASSES or wrong:
                raise ModelMeterError(
                    f"device {device}: calibration.classes.{name} {' '.join(wrong)}: the classes are "
                    f"{', '.join(CLASSES)}, each with {', '.join(sorted(known))}"
                )
            classes[name] = Efficiency(**{key: float(value) for key, value in values.items()})
        if not classes or "host_seconds" not in table:
            raise ModelMeterError(
                f"device {device}: calibration needs host_seconds and classes: run modelmeter calibrate"
            )
        rest = {name: value for name, value in table.items() if name not in ("classes", "host_seconds")}
        return cls(classes=classes, host_seconds=float(table["host_seconds"]), provenance=rest)
