"""What one hooked module did in one call: its shapes, and what the analytic model says they cost."""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import attrs

from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.recorder import fold_numbers

VisionModule: TypeAlias = Literal["sam_model", "vision_model", "projector"]
ViewKind: TypeAlias = Literal["tiles", "global"]
VISION_MODULES: Final[tuple[VisionModule, ...]] = ("sam_model", "vision_model", "projector")

EXACT: Final = (
    "flops",
    "tensor_flops",
    "cuda_flops",
    "counted_flops",
    "io_bytes",
    "weight_bytes",
    "activation_bytes",
    "kv_read_bytes",
    "kv_write_bytes",
)
"""The whole numbers of a record's cost that add up over records, in the order of files."""


@attrs.frozen(kw_only=True)
class _Record:
    """A cost, where it arose, and its whole numbers: FLOPs (a multiply-add is 2) and bytes."""

    stage: str
    cost: StageCost
    document: str | None = None
    page: int | None = None

    @property
    def flops(self) -> int:
        """All FLOPs."""
        return int(self.cost.cost.flops)

    @property
    def tensor_flops(self) -> int:
        """FLOPs of tensor cores."""
        return int(self.cost.cost.tensor_flops)

    @property
    def cuda_flops(self) -> int:
        """FLOPs of CUDA cores."""
        return int(self.cost.cost.cuda_flops)

    @property
    def counted_flops(self) -> int:
        """FLOPs that `FlopCounterMode` sees."""
        return int(self.cost.cost.counted_flops)

    @property
    def io_bytes(self) -> int:
        """All bytes moved."""
        return int(self.cost.cost.io_bytes)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights read."""
        return int(self.cost.cost.weight_bytes)

    @property
    def activation_bytes(self) -> int:
        """Bytes of activations read and written."""
        return int(self.cost.cost.activation_bytes)

    @property
    def kv_read_bytes(self) -> int:
        """Bytes of the KV cache read."""
        return int(self.cost.cost.kv_read_bytes)

    @property
    def kv_write_bytes(self) -> int:
        """Bytes of the KV cache written."""
        return int(self.cost.cost.kv_write_bytes)

    @property
    def flops_tflops(self) -> float:
        """All FLOPs, in 1e12."""
        return float(self.cost.flops_tflops)

    @property
    def io_tb(self) -> float:
        """Terabits moved."""
        return float(self.cost.io_tb)


@attrs.frozen(kw_only=True)
class DecoderStep(_Record):
    """One decoder layer in one forward pass: `token_count` tokens of each of `batch_size` sequences.

    They attend to `kv_len` keys, their own included. `step` counts the passes of a stage since its sequence began:
    the chunks of a prefill, the tokens of a decode. `cost.kv_cache_bytes` is what the layer's cache holds afterwards.
    `experts_hit` are the routed experts that some token reached, where they were watched; `weight_bytes_observed` what
    the layer then read, where `weight_bytes` follows the convention (`experts_expected`).
    """

    layer_idx: int
    step: int
    token_count: int
    kv_len: int
    batch_size: int
    experts_hit: int | None = None
    experts_expected: float | None = None
    weight_bytes_observed: int | None = None

    @property
    def kv_cache_bytes(self) -> int:
        """Bytes of KV cache that this layer holds after it."""
        return int(self.cost.kv_cache_bytes)

    @property
    def kv_gb(self) -> float:
        """The same, GiB."""
        return float(self.cost.kv_gb)


@attrs.frozen(kw_only=True)
class VisionStep(_Record):
    """One call of SAM, CLIP or the projector: `module` is its name in the vendor's tree, `shape` its input's.

    `cost.weights_bytes` are the weights that it holds, `cost.activations_bytes` the peak of what it has alive.
    """

    module: str
    shape: tuple[int, ...]
    view: ViewKind

    @property
    def activations_peak_bytes(self) -> int:
        """Largest number of activation bytes alive at once."""
        return int(self.cost.activations_bytes)

    @property
    def weights_held_bytes(self) -> int:
        """Bytes of the module's weights."""
        return int(self.cost.weights_bytes)

    @property
    def act_gb(self) -> float:
        """`activations_peak_bytes`, GiB."""
        return float(self.cost.activations_gb)

    @property
    def w_gb(self) -> float:
        """`weights_held_bytes`, GiB."""
        return float(self.cost.weights_gb)


@attrs.frozen(kw_only=True)
class PassStep:
    """One forward pass of the whole model, or its vision alone (`token_count` 0): what was hooked, and all of it.

    `whole` is None where the analytic model cannot know: a pass that did not come to its end, one without a cache, and
    tiles whose grid nobody said (`Shadow.set_views`); then `image_tokens` of each sequence are not known either.
    """

    stage: str
    step: int
    token_count: int
    kv_len: int
    batch_size: int
    hooked: Cost
    whole: StageCost | None
    image_tokens: int | None = 0
    document: str | None = None
    page: int | None = None

    @property
    def not_hooked(self) -> Cost | None:
        """What has no hook: embedding, positions, masks, norms, image tokens and their places, the head."""
        return None if self.whole is None else self.whole.cost + self.hooked * -1


def added(costs: Iterable[Cost]) -> Cost:
    """The sum of costs in whole numbers."""
    return Cost.from_values(fold_numbers([cost.values() for cost in costs], plain=True))
