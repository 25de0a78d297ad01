"""The layers of a report: a tree of modules, and what each costs in each stage, down to its operators."""

from enum import StrEnum
from typing import Final, Literal, TypeAlias

import attrs

from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.timeline import Span
from modelmeter.report.model_report import checks

StageName: TypeAlias = Literal["vision", "prefill", "decode"]
STAGE_NAMES: Final[tuple[StageName, ...]] = ("vision", "prefill", "decode")
"""The stages of the tree: vision alone, prefill with vision in it, the first decode step."""


class OperatorCategory(StrEnum):
    """What kind of work an operator is. A fused attention core is ATTENTION, one of single products is MATMUL."""

    MATMUL = "matmul"
    CONVOLUTION = "convolution"
    ATTENTION = "attention"
    ELEMENTWISE = "elementwise"
    MOVE = "move"


@attrs.frozen(kw_only=True)
class TimeMetrics:
    """Seconds: `predicted` at the report's level with what they wait for, and what was measured, if it was."""

    predicted: Span
    measured_seconds: float | None = attrs.field(default=None, validator=checks.seconds)

    @property
    def ratio(self) -> float | None:
        """Measured over predicted; None where either is not there."""
        if self.measured_seconds is None or not self.predicted.seconds:
            return None
        return float(self.measured_seconds / self.predicted.seconds)


@attrs.frozen(kw_only=True)
class OperatorMetrics:
    """All calls of one operator that a module runs itself: its output shapes, its exact cost, its time."""

    name: str = attrs.field(validator=checks.text)
    category: OperatorCategory
    dtype: str = attrs.field(validator=checks.text)
    calls: int = attrs.field(validator=checks.whole(1))
    shapes: tuple[tuple[int, ...], ...]
    cost: Cost = attrs.field(validator=checks.exact)
    time: TimeMetrics | None = None


@attrs.frozen(kw_only=True)
class ModuleMetricsSnapshot:
    """One module in one stage: all its calls, its children in it; `operators` are those it runs itself.

    `cost.activations_bytes` is what a call takes at its own peak, beyond what was there when it began (the largest
    call); weights and KV cache are those held. Its FLOPs and bytes are those of `operators` and, times their
    repetitions, of the children. Times are the mean of the modules that the node stands for.
    """

    calls: int = attrs.field(validator=checks.whole(1))
    cost: StageCost = attrs.field(validator=checks.exact)
    time: TimeMetrics | None = None
    operators: tuple[OperatorMetrics, ...] = ()

    @property
    def own(self) -> Cost:
        """The cost of the module's own operators, its children's left out."""
        return sum((operator.cost for operator in self.operators), Cost())

    @property
    def by_category(self) -> dict[OperatorCategory, Cost]:
        """The same by category."""
        sums: dict[OperatorCategory, Cost] = {}
        for operator in self.operators:
            sums[operator.category] = sums.get(operator.category, Cost()) + operator.cost
        return sums


@attrs.frozen(kw_only=True)
class ParameterInfo:
    """A weight: its shape, its type, and the bytes it takes as it is stored."""

    shape: tuple[int, ...]
    dtype: str = attrs.field(validator=checks.text)
    num_bytes: int = attrs.field(validator=checks.whole())


@attrs.frozen(kw_only=True)
class AnalyticModuleNode:
    """A module of the real model, or `repeats` equal ones in a list: `path` is the first one's, `paths` are all.

    Every number is that of ONE of them. A child's `repeats` are within one parent; how often it stands in the model is
    the product on the way to it. `parameters` and `weights_bytes` hold the children's, `weights` are its own.
    `about` says what it is; a stage in which it does not run has no snapshot.
    """

    path: str
    class_name: str = attrs.field(validator=checks.text)
    about: str
    repeats: int = attrs.field(default=1, validator=checks.whole(1))
    paths: tuple[str, ...]
    parameters: int = attrs.field(validator=checks.whole())
    weights_bytes: int = attrs.field(validator=checks.whole())
    weights: dict[str, ParameterInfo]
    snapshots: dict[StageName, ModuleMetricsSnapshot]
    children: "tuple[AnalyticModuleNode, ...]" = ()

    def __attrs_post_init__(self) -> None:
        if len(self.paths) != self.repeats or self.paths[0] != self.path:
            raise ModelMeterError(f"report: module {self.path!r} stands for {self.repeats}, paths name {self.paths}")

    @property
    def name(self) -> str:
        """The last name of the path; the model itself is "(model)"."""
        return self.path.rpartition(".")[2] or "(model)"

    def walk(self, times: int = 1) -> "list[tuple[int, AnalyticModuleNode]]":
        """(how often it stands in the model, node) of this node and all below it, parents first."""
        times *= self.repeats
        return [(times, self), *[found for child in self.children for found in child.walk(times)]]

    def find(self, path: str) -> "AnalyticModuleNode":
        """The node that stands for a module path below this one. Raises `ModelMeterError` where there is none."""
        node = self
        while path not in node.paths:
            inside = [child for child in node.children for own in child.paths if f"{path}.".startswith(f"{own}.")]
            if not inside:
                raise ModelMeterError(f"report: no module {path!r}")
            own = next(own for own in inside[0].paths if f"{path}.".startswith(f"{own}."))
            path = inside[0].path + path.removeprefix(own)
            node = inside[0]
        return node
