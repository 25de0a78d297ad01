"""What verification needs of a real implementation: one interface, so that all else is shared."""

from collections.abc import Callable, Container
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, Protocol, TypeAlias

import attrs
from torch import nn

from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.views import ViewPlan

Quantity: TypeAlias = Literal[
    "counted_flops",
    "backward_flops",
    "parameters",
    "parameter_bytes",
    "kv_cache_bytes",
    "kv_traffic_bytes",
    "weight_read_bytes",
    "activation_bytes",
    "peak_bytes",
    "saved_bytes",
]
"""What is compared."""
ExpertsRun: TypeAlias = Literal["eager", "batched_mm", "grouped_mm"]
"""How transformers 5 runs the routed experts: a loop ("eager"), or one product for all."""
EXPERTS_RUN: Final[tuple[ExpertsRun, ...]] = ("eager", "batched_mm", "grouped_mm")


@attrs.frozen
class Call:
    """One forward pass of the real model: `run` does it, on `inputs`; `at` is the module whose method `run` is.

    `cache` is the KV cache it writes to: hand it to `Adapter.decode` for the next step.
    """

    run: Callable[[], Any]
    inputs: Any
    at: nn.Module | None = None
    cache: Any = None


class Adapter(Protocol):
    """A real model, built or loaded, and how it is called."""

    @property
    def name(self) -> str:
        """What it is, for reports: "transformers 5.23.0 UnlimitedOcr, on meta"."""

    @property
    def model(self) -> nn.Module:
        """The whole real model."""

    @property
    def config(self) -> DeepseekOCRConfig:
        """Its configuration."""

    @property
    def conventions(self) -> Conventions:
        """How the twin has to be run to be its twin: implementation, attention, experts, coverage, logits."""

    @property
    def inline(self) -> tuple[str, ...]:
        """Patterns of the twin's module paths for which the real code calls no module of its own."""

    def unmodelled(self, stage: str, path: str) -> Container[Quantity]:
        """Quantities of a module that no twin has for the way the real model runs."""

    def rename(self, path: str) -> str:
        """A real module's path as the vendor's."""

    def tokens_cached(self, context_len: int, step: int) -> int:
        """Tokens that decode step `step` (0, 1, ...) after a prefill of `context_len` finds in each layer's cache."""

    def running(self) -> AbstractContextManager[Any]:
        """What has to hold while it runs: without data, routing is balanced and lives on the CPU."""

    def vision(self, views: ViewPlan, batch: int) -> Call:
        """The vision part on `batch` pages of these views."""

    def prefill(self, context_len: int, batch: int) -> Call:
        """Text tokens into an empty cache."""

    def page(self, views: ViewPlan, context_len: int, batch: int) -> Call:
        """Image and text tokens into an empty cache, vision included."""

    def decode(self, cached: int, batch: int, cache: Any = None) -> Call:
        """One token after `cached` ones, in `cache` or in a new cache that holds as many."""
