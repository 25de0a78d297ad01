"""What a static analysis is: stages, operators, parameters and the module tree, recorded and analytic, as data."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeAlias

import attrs

from modelmeter.core.cost import Cost
from modelmeter.core.errors import ModelMeterError
from modelmeter.live.analyser.shapes import CallShapes
from modelmeter.live.analyser.split import PartName
from modelmeter.live.analyser.stages import StageName
from modelmeter.live.verification.compare import Check, OperatorCheck
from modelmeter.live.verification.points import MOST_SEQUENCES, MOST_STEPS, MOST_TOKENS, check_size
from modelmeter.live.verification.verify import Verification
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.views import ViewPlan

RowName: TypeAlias = PartName | Literal["vision", "run"]
PARTS: Final[tuple[PartName, ...]] = ("sam", "clip", "projector", "joining", "prefill", "decode")
"""What adds up to the run."""
_MOST: Final = {
    "context_len": MOST_TOKENS,
    "cached": MOST_TOKENS,
    "batch_size": MOST_SEQUENCES,
    "decode_steps": MOST_STEPS,
}
"""What the real model is asked for at most, as by `verify`."""
RunName: TypeAlias = StageName | Literal["pass"]
"""Where a module runs. `pass` is a whole prefill, of the modules around vision and decoder alike."""


@attrs.frozen(kw_only=True)
class AnalysisPoint:
    """The sizes of one analysis. `cached` tokens stand before the first of `decode_steps` steps.

    With `views` the prefill is of pages, their image tokens among the `context_len`; without, of text alone.
    """

    context_len: int
    cached: int
    views: ViewPlan | None = None
    batch_size: int = 1
    decode_steps: int = 1
    page: str | None = None

    def __attrs_post_init__(self) -> None:
        for name, most in _MOST.items():
            check_size(getattr(self, name), name, most)
        if self.context_len * self.batch_size > MOST_TOKENS:
            raise ModelMeterError(f"context_len times batch_size must be at most {MOST_TOKENS:,}: make one smaller")
        if self.views is not None and self.context_len < self.views.image_tokens:
            raise ModelMeterError(
                f"a context of {self.context_len} tokens does not hold the {self.views.image_tokens} image "
                f"tokens of the page: give a context_len of {self.views.image_tokens} or more, or text alone"
            )


@attrs.frozen(kw_only=True)
class OperatorRow:
    """All calls of one operator in a stage, on both sides; shares are those of the stage's recorded sums."""

    category: str
    check: OperatorCheck
    flops_share: float
    bytes_share: float


@attrs.frozen(kw_only=True)
class StageRow:
    """One stage, or the sum of several: costs of both sides, what was checked, and the operators."""

    name: RowName
    recorded: Cost
    analytic: Cost
    checks: tuple[Check, ...]
    operators: tuple[OperatorRow, ...]

    @property
    def ok(self) -> bool:
        """Every exact quantity equal, every other inside its bound, every operator's FLOPs equal."""
        return all(check.ok for check in self.checks) and all(row.check.ok for row in self.operators)


@attrs.frozen(kw_only=True)
class Weights:
    """Parameters of one stage: how many tensors, values and bytes, and the values that the twin has."""

    tensors: int
    count: int
    num_bytes: int
    analytic_count: int
    analytic_bytes: int
    shared_with: StageName | None = None

    @property
    def ok(self) -> bool:
        """The same on both sides."""
        return (self.count, self.num_bytes) == (self.analytic_count, self.analytic_bytes)


@attrs.frozen(kw_only=True)
class ModuleRun:
    """One module in one stage: its calls and their shapes, what was recorded, and what the twin says of it.

    Of a decode of several steps it is the first. `ok` is None where the twin has no module of its own for it.
    """

    calls: int
    shapes: tuple[tuple[CallShapes, int], ...]
    recorded: Cost
    recorded_peak: int
    analytic: Cost | None = None
    analytic_peak: int | None = None
    ok: bool | None = None


@attrs.frozen(kw_only=True)
class WeightInfo:
    """A parameter of a module itself; a list of experts has `copies`."""

    shape: tuple[int, ...]
    dtype: str
    copies: int = 1


@attrs.frozen(kw_only=True)
class ModuleNode:
    """A module under the vendor's path, or `repeats` equal ones at `paths`; `parameters` are of one, children too."""

    path: str
    paths: tuple[str, ...]
    class_name: str
    twin: str | None
    parameters: int
    weights: Mapping[str, WeightInfo]
    runs: Mapping[RunName, ModuleRun]
    children: tuple["ModuleNode", ...]

    @property
    def repeats(self) -> int:
        """How many modules it stands for."""
        return len(self.paths)

    def walk(self, times: int = 1) -> Iterator[tuple[int, "ModuleNode"]]:
        """(how often it stands in the model, node) of it and all below."""
        yield times * self.repeats, self
        for child in self.children:
            yield from child.walk(times * self.repeats)


@attrs.frozen(kw_only=True)
class StaticAnalysis:
    """The real model at one point, beside its twin. `verification` has its passes, module by module."""

    config: DeepseekOCRConfig
    point: AnalysisPoint
    stages: tuple[StageRow, ...]
    weights: Mapping[StageName, Weights]
    tree: ModuleNode
    verification: Verification

    @property
    def reference(self) -> str:
        """The real model."""
        return self.verification.reference

    @property
    def ok(self) -> bool:
        """Every stage, every parameter and every pass."""
        stages = all(row.ok for row in self.stages) and all(weights.ok for weights in self.weights.values())
        return stages and self.verification.ok

    def stage(self, name: RowName) -> StageRow:
        """One row. Raises `KeyError`."""
        for row in self.stages:
            if row.name == name:
                return row
        raise KeyError(name)
