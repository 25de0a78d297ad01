"""`AnalyticModelReport`: all that a report tells, as data. Renderers and the HTML page take it and compute no costs.

Costs are exact integers (`Cost`, `StageCost`); their readable units are properties, and stand beside them in the files.
"""

from typing import Final, Literal, TypeAlias

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core.cost import StageCost
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.documents import PageError
from modelmeter.hardware.page_time import Levels
from modelmeter.hardware.timeline import Span
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.report.model_report import checks
from modelmeter.report.model_report.metrics import (
    STAGE_NAMES,
    AnalyticModuleNode,
    ModuleMetricsSnapshot,
    OperatorCategory,
    OperatorMetrics,
    ParameterInfo,
    StageName,
    TimeMetrics,
)
from modelmeter.report.model_report.observed import ObservedRun
from modelmeter.report.model_report.profile import OCRWorkloadProfile

SCHEMA: Final = "modelmeter.report/1"
RUN_STAGES: Final = (*STAGE_NAMES, "run")
"""The stages of a page: vision, prefill (vision in it), the first decode step, and prefill with all decode steps."""
Quantity: TypeAlias = Literal["tensor_flops", "cuda_flops", "weight_bytes", "activation_bytes", "kv_bytes"]


@attrs.frozen(kw_only=True)
class ModelSpecification:
    """The model: its configuration, how its numbers are stored, how many weights, and the bytes they are held in."""

    config: DeepseekOCRConfig
    precision: Precision
    parameters: int = attrs.field(validator=checks.whole(1))
    weights_resident_bytes: int = attrs.field(validator=checks.whole(1))

    @property
    def name(self) -> str:
        """The checkpoint."""
        return self.config.name


@attrs.frozen(kw_only=True)
class DeviceSpecification:
    """The device and how it is run. Rates in FLOP/s, bandwidth in bytes/s, sizes in bytes; None is not known.

    `level` is that of every `predicted` time: "calibrated" where the device was measured, else "roofline".
    """

    name: str = attrs.field(validator=checks.text)
    title: str
    tensor: dict[str, float]
    vector: dict[str, float]
    bandwidth: float
    memory_bytes: int = attrs.field(validator=checks.whole(1))
    l2_bytes: int | None = None
    execution: Literal["eager", "graph", "fused"]
    host_seconds_per_kernel: float = attrs.field(validator=checks.seconds)
    level: Literal["roofline", "calibrated"]
    calibration: dict[str, str] | None = None


@attrs.frozen(kw_only=True)
class StageTiming:
    """One stage on the device: seconds at each level, where the predicted ones go, and how well the device is used.

    `bound_by` is what the bound is of; `parts` (sam, clip, ...) add up to `predicted`.
    """

    levels: Levels
    predicted: Span
    bound_by: Literal["FLOPs", "bytes"]
    kernels: float
    mfu: float
    mbu: float
    needed_flops: int = attrs.field(validator=checks.whole())
    compulsory_bytes: int = attrs.field(validator=checks.whole())
    parts: dict[str, Span]
    measured_seconds: float | None = attrs.field(default=None, validator=checks.seconds)

    @property
    def ratio(self) -> float | None:
        """Measured over predicted; None where either is not there."""
        return TimeMetrics(predicted=self.predicted, measured_seconds=self.measured_seconds).ratio


@attrs.frozen(kw_only=True)
class StageReport:
    """One stage of a page: its exact cost, that of its parts (they add up to it), and its time on a device."""

    cost: StageCost = attrs.field(validator=checks.exact)
    parts: dict[str, StageCost]
    time: StageTiming | None = None


@attrs.frozen(kw_only=True)
class PageTimes:
    """One page from file to last token at each level, seconds; the rates are at the predicted one."""

    host_seconds: float = attrs.field(validator=checks.seconds)
    ttft: Levels
    tpot: Levels
    decode_total: Levels
    total: Levels
    tokens_per_second: float
    pages_per_second: float


@attrs.frozen(kw_only=True)
class PageReport:
    """A page of a document: its pixels, and the kind of page it is (an index of the report's `kinds`)."""

    number: int = attrs.field(validator=checks.whole(1))
    label: str
    width: int = attrs.field(validator=checks.whole(1))
    height: int = attrs.field(validator=checks.whole(1))
    kind: int = attrs.field(validator=checks.whole())
    time: PageTimes | None = None


@attrs.frozen(kw_only=True)
class DocumentReport:
    """A file (or a size that stands for one) and its pages."""

    source: str = attrs.field(validator=checks.text)
    pages: tuple[PageReport, ...]


@attrs.frozen(kw_only=True)
class DecodePoint:
    """A point of the curves over decode: step `step` (from 1) finds `cached_tokens` in the cache.

    `kv_cache_bytes` is what is cached before it, `memory_bytes` the most that weights, activations and cache hold
    together in it; `seconds` are the step's.
    """

    step: int = attrs.field(validator=checks.whole(1))
    cached_tokens: int = attrs.field(validator=checks.whole(1))
    kv_cache_bytes: int = attrs.field(validator=checks.whole())
    activation_peak_bytes: int = attrs.field(validator=checks.whole())
    memory_bytes: int = attrs.field(validator=checks.whole())
    flops: int = attrs.field(validator=checks.whole())
    io_bytes: int = attrs.field(validator=checks.whole())
    seconds: Levels | None = None


@attrs.frozen(kw_only=True)
class RooflinePoint:
    """A stage, or a kind of operator in one: FLOPs per byte moved, FLOP/s reached, its share of the stage's time."""

    name: str
    stage: StageName
    intensity: float
    rate: float
    share: float
    is_stage: bool


@attrs.frozen(kw_only=True)
class ClosedFormula:
    """A quantity of a stage (or of one module in it) in closed form: Python arithmetic over `symbols`, with `Max`,
    `Min`, `ceiling` and `floor` where needed.

    It holds for every size unless `limits` say otherwise. Symbols such as `B_above_1` are 1 where B is above 1, else 0.
    """

    stage: StageName
    layer: str | None = None
    quantity: str = attrs.field(validator=checks.text)
    expression: str = attrs.field(validator=checks.text)
    symbols: dict[str, str]
    limits: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class PageKind:
    """Pages with equal views cost the same: their views, the stages, the module tree, the curves, the formulas.

    `roofline` is empty without a device, `formulas` without SymPy.
    """

    mode: str
    grid: tuple[int, int]
    views: tuple[tuple[int, int], ...]
    """(count, side in pixels) of each batch of views."""
    image_tokens: int = attrs.field(validator=checks.whole(1))
    context_len: int = attrs.field(validator=checks.whole(1))
    pages: int = attrs.field(validator=checks.whole(1))
    """How many pages of the report are of this kind."""
    stages: dict[str, StageReport]
    tree: AnalyticModuleNode
    decode: tuple[DecodePoint, ...]
    roofline: tuple[RooflinePoint, ...] = ()
    formulas: tuple[ClosedFormula, ...] = ()
    """Of the stages with these views: any batch B, prompt of S tokens (image tokens among them), T cached tokens."""


@attrs.frozen(kw_only=True)
class VerificationStatement:
    """What `modelmeter verify` holds: a quantity exact, or within `bound` (a share), and the command that shows it."""

    quantity: str
    stages: tuple[str, ...]
    exact: bool
    bound: float | None = None
    meaning: str
    command: str


@attrs.frozen(kw_only=True)
class AnalyticModelReport:
    """The whole report. `totals` are sums over all pages (memory: the largest); `notes` say what the numbers rest on.

    Raises `ModelMeterError` for a version of the format that this program does not read.
    """

    schema: str = SCHEMA
    modelmeter_version: str = __version__
    analytic_model_version: str = ANALYTIC_MODEL_VERSION
    model: ModelSpecification
    conventions: Conventions
    profile: OCRWorkloadProfile
    device: DeviceSpecification | None = None
    documents: tuple[DocumentReport, ...]
    errors: tuple[PageError, ...] = ()
    kinds: tuple[PageKind, ...]
    totals: dict[str, StageReport]
    total_seconds: float | None = attrs.field(default=None, validator=checks.seconds)
    """All pages one after the other, at the predicted level."""
    layer_formulas: tuple[ClosedFormula, ...] = ()
    """Of the tree's modules, whatever the views: vision of B views of 64 R pixels, prefill of B x S tokens of text."""
    verification: tuple[VerificationStatement, ...]
    notes: tuple[str, ...]
    observed: ObservedRun | None = None
    """What a run of the real model was observed to do, where there was one."""

    def __attrs_post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ModelMeterError(f"report: schema {self.schema!r} is not read here: this program reads {SCHEMA}")
        self.conventions.check(self.model.config)
        counts = [0] * len(self.kinds)
        for page in self.pages:
            if page.kind >= len(self.kinds):
                raise ModelMeterError(f"report: page {page.label} is of kind {page.kind}, there are {len(self.kinds)}")
            counts[page.kind] += 1
        if not counts or counts != [kind.pages for kind in self.kinds] or self.profile.pages != sum(counts):
            raise ModelMeterError(f"report: its kinds have {counts} pages, which is not what it says of them")

    @property
    def pages(self) -> tuple[PageReport, ...]:
        """All pages, document after document."""
        return tuple(page for document in self.documents for page in document.pages)


__all__ = [
    "RUN_STAGES",
    "SCHEMA",
    "STAGE_NAMES",
    "AnalyticModelReport",
    "AnalyticModuleNode",
    "ClosedFormula",
    "DecodePoint",
    "DeviceSpecification",
    "DocumentReport",
    "ModelSpecification",
    "ModuleMetricsSnapshot",
    "OCRWorkloadProfile",
    "OperatorCategory",
    "OperatorMetrics",
    "PageKind",
    "PageReport",
    "PageTimes",
    "ParameterInfo",
    "RooflinePoint",
    "StageName",
    "StageReport",
    "StageTiming",
    "TimeMetrics",
    "VerificationStatement",
]
