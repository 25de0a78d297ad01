"""`build_report`: pages, a model and a machine -> `AnalyticModelReport`, out of what `analyze` and `time` find."""

from collections.abc import Callable, Iterable

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.documents import Page, PageError
from modelmeter.hardware.machine import Machine
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.analysis import Analysis, Workload, analyze
from modelmeter.report.model_report.closed_forms import has_sympy, layer_formulas
from modelmeter.report.model_report.data import (
    AnalyticModelReport,
    DocumentReport,
    ModelSpecification,
    OCRWorkloadProfile,
    PageReport,
    StageReport,
)
from modelmeter.report.model_report.kinds import page_kind
from modelmeter.report.model_report.timed import device_specification, page_times
from modelmeter.report.model_report.verification import verification_statements
from modelmeter.report.tables import notes
from modelmeter.report.timing.timing import PageTiming, with_times


def build_report(
    pages: Iterable[Page | PageError],
    *,
    workload: Workload | None = None,
    profile: OCRWorkloadProfile | None = None,
    config: DeepseekOCRConfig | None = None,
    conventions: Conventions | None = None,
    precision: Precision | None = None,
    machine: Machine | None = None,
    on_page: Callable[[], None] | None = None,
) -> AnalyticModelReport:
    """The report of these pages, each run as `workload` (or `profile`) says; with a machine, how long they take.

    Raises `ModelMeterError` where not one page could be read, and for a workload that cannot be.
    """
    if workload is not None and profile is not None:
        raise ModelMeterError("build_report() takes a workload or a profile, not both: leave one out")
    run = profile.workload if profile is not None else workload or Workload()
    found = analyze(pages, workload=run, config=config, conventions=conventions, precision=precision, on_page=on_page)
    return report_of(_with_pages(found), machine, name=None if profile is None else profile.name)


def report_of(analysis: Analysis, machine: Machine | None = None, *, name: str | None = None) -> AnalyticModelReport:
    """The report of an analysis; `name` is that of the profile it was run as."""
    if machine is not None:
        analysis = with_times(analysis, machine)
    timing = analysis.timing
    timed: list[PageTiming | None] = [None] * len(analysis.pages) if timing is None else [*timing.pages]
    model = DeepseekOCRModel.from_config(
        analysis.config, precision=analysis.precision, **attrs.asdict(analysis.conventions)
    )
    places = _kinds(analysis)
    kinds = [page_kind(model, analysis.pages[of[0]], timed[of[0]], analysis.workload, len(of)) for of in places]
    paths = [node.path for _, node in kinds[0].tree.walk()]
    work, first = analysis.workload, analysis.pages[0]
    named = {} if name is None else {"name": name}
    return AnalyticModelReport(
        model=ModelSpecification(
            config=analysis.config,
            precision=analysis.precision,
            parameters=analysis.parameters,
            weights_resident_bytes=analysis.weights_bytes,
        ),
        conventions=analysis.conventions,
        profile=OCRWorkloadProfile.of(work, pages=len(analysis.pages), **named),
        device=None if timing is None else device_specification(timing.machine),
        documents=_documents(analysis, places, timed),
        errors=analysis.errors,
        kinds=tuple(kinds),
        totals={name: StageReport(cost=stage.cost, parts=stage.parts) for name, stage in analysis.totals.items()},
        total_seconds=None if timing is None else sum(page.time.total.predicted for page in timing.pages),
        layer_formulas=layer_formulas(model, paths) if has_sympy() else (),
        verification=verification_statements(first.views, first.context_len, work.batch_size, analysis.conventions),
        notes=tuple(notes(analysis)),
    )


def _with_pages(analysis: Analysis) -> Analysis:
    if analysis.pages:
        return analysis
    if not analysis.errors:
        raise ModelMeterError("no pages to report on: name files, directories or sizes such as 1654x2339")
    more = f" (and {len(analysis.errors) - 1} more)" if len(analysis.errors) > 1 else ""
    raise ModelMeterError(f"no page could be read: {analysis.errors[0]}{more}")


def _kinds(analysis: Analysis) -> list[list[int]]:
    """Places of the pages with equal views, in the order of their first."""
    kinds: dict[object, list[int]] = {}
    for place, page in enumerate(analysis.pages):
        kinds.setdefault((page.views.grid, page.views.views), []).append(place)
    return list(kinds.values())


def _documents(
    analysis: Analysis, kinds: list[list[int]], timed: list[PageTiming | None]
) -> tuple[DocumentReport, ...]:
    """The pages by the file they come from, in order; a file named twice is one document."""
    kind_of = {place: kind for kind, places in enumerate(kinds) for place in places}
    documents: dict[str, list[PageReport]] = {}
    for place, (result, timing) in enumerate(zip(analysis.pages, timed, strict=True)):
        page = result.page
        documents.setdefault(page.source, []).append(
            PageReport(
                number=page.number,
                label=page.label,
                width=page.width,
                height=page.height,
                kind=kind_of[place],
                time=None if timing is None else page_times(timing.time),
            )
        )
    return tuple(DocumentReport(source=source, pages=tuple(found)) for source, found in documents.items())
