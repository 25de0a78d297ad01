"""`import_profile`: a profile, and beside it the prediction for the page that was run, as data."""

from collections.abc import Collection
from functools import reduce
from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from modelmeter.core.dims import as_dim
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.documents import Page, PageError, read_pages
from modelmeter.hardware.machine import Machine
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views
from modelmeter.profiles.kinds import Kind
from modelmeter.profiles.prediction import Predicted, Prediction, Work, predict
from modelmeter.profiles.profile import STAGES, Profile, Stage, Total
from modelmeter.profiles.read import read_profile
from modelmeter.report.analysis import Workload

Row: TypeAlias = Stage | Literal["all vision", "all stages", "total"]


@attrs.frozen(kw_only=True)
class Expected:
    """What was run: a page on a machine, and how the model is counted. The decode steps are the profile's."""

    page: Page
    machine: Machine
    workload: Workload = attrs.field(factory=Workload)
    config: DeepseekOCRConfig | None = None
    conventions: Conventions = attrs.field(factory=Conventions)
    precision: Precision = attrs.field(factory=Precision)

    @property
    def views(self) -> ViewPlan:
        """The page's views."""
        patch = (self.config or DeepseekOCRConfig()).sam.patch_size
        size = self.page.width, self.page.height
        return plan_views(*size, mode=self.workload.mode, max_tiles=self.workload.max_tiles, patch_size=patch)


@attrs.frozen(kw_only=True)
class ProfileReport:
    """A profile and its prediction. `decode_steps` are those of all `runs`; None where nobody said how many."""

    profile: Profile
    runs: int
    decode_steps: int | None
    expected: Expected | None = None
    prediction: Prediction | None = None

    @property
    def groups(self) -> dict[Row, tuple[Stage, ...]]:
        """Each stage, all vision where its parts are apart, all stages where kernels lie in none, and the total."""
        stages = tuple(self.profile.by_stage())
        vision = tuple(stage for stage in stages if stage in ("sam", "clip", "projector", "vision"))
        named = tuple(stage for stage in stages if stage != "unknown")
        groups: dict[Row, tuple[Stage, ...]] = {stage: (stage,) for stage in vision}
        if len(vision) > 1:
            groups["all vision"] = vision
        groups |= {stage: (stage,) for stage in stages if stage not in vision}
        if 1 < len(named) < len(stages):
            groups["all stages"] = named
        return {**groups, "total": stages}

    def predicted(self, stages: Collection[Stage], kind: Kind | None = None) -> Predicted | None:
        """What is predicted of some stages (of a kind in them); None where one of them is not predicted."""
        if self.prediction is None or not set(stages) <= set(self.prediction.stages):
            return None
        return self.prediction.of(stages, kind)


@attrs.frozen(kw_only=True)
class StageRow:
    """A stage or several together: measured and predicted. Seconds; None where nobody knows.

    `shares` are MFU and MBU over the elapsed time; over the kernels' time where the tool has no timeline.
    """

    name: Row
    ranges: int | None
    measured: Total
    elapsed: float | None
    predicted: Predicted | None
    shares: tuple[float, float] | None
    launches_per_token: float | None


def import_profile(
    path: str | Path,
    expected: Expected | None = None,
    *,
    stage: str | None = None,
    runs: int | None = None,
    decode_tokens: int | None = None,
) -> ProfileReport:
    """Read a profile; with `expected` predict it too.

    `stage` is of the kernels that lie in no range (of all, in a kernel summary). `runs`: how often the page was run;
    left out, the number of prefill ranges. `decode_tokens`: decode steps of a run; left out, the decode ranges. Raises
    `ModelMeterError` for a file that is no profile, and for a prediction without a number of decode steps.
    """
    profile = read_profile(path)
    if stage is not None:
        profile = profile.with_stage(_stage(stage))
    found = profile.ranges.get("prefill") or profile.ranges.get("vision") or 1
    count = found if runs is None else as_dim(runs, "runs")
    steps = _steps(profile, count, decode_tokens)
    report = ProfileReport(profile=profile, runs=count, decode_steps=steps)
    return report if expected is None else _with_prediction(report, expected)


def one_page(source: str, dpi: float = 144.0) -> Page:
    """The page that a profile is of. Raises `ModelMeterError` where there is none, or more than one."""
    pages = list(read_pages([source], dpi=dpi))
    for page in pages:
        if isinstance(page, PageError):
            raise ModelMeterError(str(page))
    if len(pages) != 1 or isinstance(pages[0], PageError):
        raise ModelMeterError(f"{source} has {len(pages)} pages, a profile is of one: give its size, such as 1654x2339")
    return pages[0]


def stage_rows(report: ProfileReport) -> list[StageRow]:
    """A row for each group of stages."""
    return [_row(report, name, stages) for name, stages in report.groups.items()]


def _row(report: ProfileReport, name: Row, stages: tuple[Stage, ...]) -> StageRow:
    profile = report.profile
    measured = sum((profile.by_stage()[stage] for stage in stages), Total())
    elapsed = None
    if profile.elapsed is not None:
        elapsed = sum(profile.elapsed.get(stage, 0) for stage in stages) / 1e9
    single = stages[0] if name == stages[0] else None
    steps = report.decode_steps if name == "decode" else None
    return StageRow(
        name=name,
        ranges=None if single is None else profile.ranges.get(single),
        measured=measured,
        elapsed=elapsed,
        predicted=report.predicted(stages),
        shares=_shares(report, name, stages, measured.seconds if elapsed is None else elapsed),
        launches_per_token=measured.launches / steps if steps else None,
    )


def _shares(report: ProfileReport, name: Row, stages: tuple[Stage, ...], seconds: float) -> tuple[float, float] | None:
    """MFU and MBU of a row, where its work is known as a whole."""
    prediction = report.prediction
    if prediction is None or seconds <= 0:
        return None
    if name in ("total", "all stages"):
        whole = prediction.complete and set(stages) == set(prediction.stages)
        found = list(prediction.work.values()) if whole else []
    else:
        found = [work for covered, work in prediction.work.items() if covered == name]
    if not found:
        return None
    return reduce(Work.plus, found).shares(prediction.machine.device, seconds)


def _with_prediction(report: ProfileReport, expected: Expected) -> ProfileReport:
    steps, profile = report.decode_steps, report.profile
    if steps is None:
        raise ModelMeterError(
            f"{profile.source} marks no decode steps: --decode-tokens says how many a run has, for a prediction"
        )
    if steps % report.runs:
        raise ModelMeterError(
            f"{profile.source} has {steps} decode ranges in {report.runs} runs: --runs and --decode-tokens say how many"
        )
    workload = attrs.evolve(expected.workload, decode_tokens=steps // report.runs)
    model = DeepseekOCRModel.from_config(
        expected.config, precision=expected.precision, **attrs.asdict(expected.conventions)
    )
    prediction = predict(
        model,
        expected.views,
        expected.machine,
        stages=tuple(profile.by_stage()),
        prompt_tokens=workload.prompt_tokens,
        decode_tokens=workload.decode_tokens,
        batch_size=workload.batch_size,
        runs=report.runs,
    )
    expected = attrs.evolve(
        expected, workload=workload, conventions=model.conventions, config=model.config or expected.config
    )
    return attrs.evolve(report, expected=expected, prediction=prediction)


def _steps(profile: Profile, runs: int, decode_tokens: int | None) -> int | None:
    """Decode steps of all runs: as said, or as marked. None where neither tells."""
    if decode_tokens is not None:
        return runs * as_dim(decode_tokens, "decode_tokens", least=0)
    if "decode" in profile.ranges:
        return profile.ranges["decode"]
    stages = profile.by_stage()
    return None if "decode" in stages or not set(stages) - {"unknown"} else 0


def _stage(name: str) -> Stage:
    for stage in STAGES[:-1]:
        if stage == name:
            return stage
    raise ModelMeterError(f"stage {name!r}: choose {', '.join(STAGES[:-1])}")
