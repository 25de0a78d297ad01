"""`Precision`: what weights, activations and the KV cache are stored and computed in, and what that takes in bytes."""

import math
from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.tensor import BF16, FP8, FP16, INT8, DType, Shape

WeightKind: TypeAlias = Literal["bf16", "fp16", "fp8", "int8", "int4"]
ActivationKind: TypeAlias = Literal["bf16", "fp16", "fp8", "int8"]
Part: TypeAlias = Literal["decoder", "lm_head", "vision"]
WEIGHT_KINDS: Final = ("bf16", "fp16", "fp8", "int8", "int4")
ACTIVATION_KINDS: Final = ("bf16", "fp16", "fp8", "int8")
PRECISION_PARTS: Final = ("decoder", "lm_head", "vision")

NO_BACKWARD: Final = (
    "a quantised model has no backward pass: build it without weights, activations or a KV cache in 8 or 4 bits"
)
_FLOAT16: Final = ("bf16", "fp16")
_EIGHT_BITS: Final = {"fp8": FP8, "int8": INT8}
_QUANTISED: Final = {
    "decoder": "decoder linear layers and experts",
    "lm_head": "head",
    "vision": "vision linear layers",
}


@attrs.frozen(kw_only=True)
class WeightFormat:
    """How a weight [... out in] is stored: values of `bits`, and a scale (and zero point) for each channel and group.

    `group_size` input features share a scale; None: all of them, one scale an output channel.
    """

    bits: int
    scale_bytes: int
    zero_point_bits: int = 0
    group_size: int | None = None

    def nbytes(self, shape: Shape) -> int:
        """Whole bytes of a weight; the matrices of a stack (experts) are stored one by one.

        A last group that is not full has its scale too. Left out: what a format keeps once a layer to undo a
        reordering (GPTQ's `g_idx`, 4 bytes an input feature) and padding.
        """
        *stack, out, features = shape
        groups = out if self.group_size is None else out * -(-features // self.group_size)
        values, zeros = out * features * self.bits, groups * self.zero_point_bits
        return int(math.prod(stack) * (_whole_bytes(values) + groups * self.scale_bytes + _whole_bytes(zeros)))


@attrs.frozen(kw_only=True)
class QuantizationScheme:
    """A quantised linear layer: how its weight is stored, and what its product takes (None: the 16-bit float)."""

    weights: WeightFormat
    activations: DType | None = None


@attrs.frozen(kw_only=True)
class KVFormat:
    """How the KV cache stores the values of one head and token: in `dtype`, with `scale_bytes` of their own scale.

    fp8 has one static fp32 scale for all keys of a layer and one for all values (vLLM's `k_scale`, `v_scale`): 8 bytes
    a layer that are not counted. int8 has a scale of its own for each token and head.
    """

    dtype: DType = BF16
    scale_bytes: int = 0

    @property
    def quantised(self) -> bool:
        """Whether new keys and values are quantised into the cache."""
        return self.dtype.itemsize == 1

    def row_bytes(self, head_dim: int) -> int:
        """Bytes of one head's keys (or values) of one token."""
        return head_dim * self.dtype.itemsize + self.scale_bytes


BF16_CACHE: Final = KVFormat()
"""The cache of a model that names no other."""


def _one_of(*allowed: str | None) -> Any:
    def check(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value not in allowed:
            names = ", ".join("None" if name is None else name for name in allowed)
            raise ModelMeterError(f"precision: {attribute.name} {value!r} is unknown: choose {names}")

    return check


def _as_parts(given: Any) -> tuple[Any, ...]:
    several = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    return tuple(dict.fromkeys(several))


@attrs.frozen(kw_only=True)
class Precision:
    """What is stored and computed in which type: weights, activations and KV cache apart. Default: all bf16.

    `weights` are those of the linear layers of `parts`: "decoder" (its linear layers and experts, not gate, embedding
    and norms), "lm_head", "vision" (linear layers of SAM, CLIP and projector, not convolutions and tables). All else
    is in the 16-bit float, bf16 unless one of the three names fp16. `activations` are what the products of those
    layers take, `kv` what the cache holds; None is the 16-bit float. `group_size` is int4's, along the input features.

    Storage: fp8 and int8 weights with one fp32 scale an output channel (compressed-tensors' FP8_DYNAMIC and W8A8, as
    vLLM reads them); int4 with an fp16 scale and a 4-bit zero point a group (AWQ's and GPTQ's qweight, scales, qzeros);
    activations with one fp32 scale a token (vLLM's dynamic per-token scales). Raises `ModelMeterError` for a
    combination that no kernel runs.
    """

    weights: WeightKind = attrs.field(default="bf16", validator=_one_of(*WEIGHT_KINDS))
    activations: ActivationKind | None = attrs.field(default=None, validator=_one_of(*ACTIVATION_KINDS, None))
    kv: ActivationKind | None = attrs.field(default=None, validator=_one_of(*ACTIVATION_KINDS, None))
    parts: tuple[Part, ...] = attrs.field(default=("decoder",), converter=_as_parts)
    group_size: int = attrs.field(default=128)

    @parts.validator
    def _are_parts(self, attribute: "attrs.Attribute[Any]", value: tuple[Any, ...]) -> None:
        if not value or any(part not in PRECISION_PARTS for part in value):
            raise ModelMeterError(f"precision: parts {value!r}: choose among {', '.join(PRECISION_PARTS)}")

    @group_size.validator
    def _is_size(self, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if type(value) is not int or value < 1:
            raise ModelMeterError(f"precision: group_size must be a positive int, not {value!r}")

    def __attrs_post_init__(self) -> None:
        if {self.weights, self.activations, self.kv} >= {"bf16", "fp16"}:
            raise ModelMeterError(
                "precision: bf16 and fp16 do not mix, a model has one 16-bit float: name the same for weights, "
                "activations and kv, or leave activations and kv out"
            )
        if self.activations in _EIGHT_BITS and self.activations != self.weights:
            raise ModelMeterError(
                f"precision: activations {self.activations} need weights {self.activations}, not {self.weights}"
            )

    @property
    def float16(self) -> DType:
        """The 16-bit float of all that is not quantised."""
        return FP16 if "fp16" in (self.weights, self.activations, self.kv) else BF16

    @property
    def scheme(self) -> QuantizationScheme | None:
        """How the linear layers of `parts` are quantised; None: they are not."""
        if self.weights in _FLOAT16:
            return None
        if self.weights == "int4":
            return QuantizationScheme(
                weights=WeightFormat(bits=4, scale_bytes=2, zero_point_bits=4, group_size=self.group_size)
            )
        taken = _EIGHT_BITS.get(self.activations or "")
        return QuantizationScheme(weights=WeightFormat(bits=8, scale_bytes=4), activations=taken)

    @property
    def kv_format(self) -> KVFormat:
        """How the KV cache is stored."""
        if self.kv == "fp8":
            return KVFormat(dtype=FP8)
        if self.kv == "int8":
            return KVFormat(dtype=INT8, scale_bytes=2)
        return KVFormat(dtype=self.float16)

    def describe(self) -> str:
        """One line: what is stored how."""
        whole, cache = self.float16.name, f"KV cache {self._kv_text()}"
        if self.scheme is None:
            return f"all weights {whole}; {cache}"
        parts = self.parts
        quantised = [text for part, text in _QUANTISED.items() if part in parts]
        rest = [
            "vision convolutions and tables" if "vision" in parts else "vision",
            "gate" if "decoder" in parts else "decoder",
            "embedding",
            *([] if "lm_head" in parts else ["head"]),
        ]
        return f"{', '.join(quantised)} {self._weights_text()}; {', '.join(rest)} {whole}; {cache}"

    __str__ = describe

    def _weights_text(self) -> str:
        if self.weights == "int4":
            return f"int4 (groups of {self.group_size}, fp16 scales, 4-bit zero points)"
        taken = ""
        if self.activations in _EIGHT_BITS:
            taken = f", activations {self.activations} (an fp32 scale a token)"
        return f"{self.weights} (an fp32 scale an output channel){taken}"

    def _kv_text(self) -> str:
        scales = {"fp8": " (a static scale)", "int8": " (an fp16 scale a token and head)"}
        return f"{self.kv_format.dtype.name}{scales.get(self.kv or '', '')}"


def _whole_bytes(bits: int) -> int:
    return -(-bits // 8)
