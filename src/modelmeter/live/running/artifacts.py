"""Files of a run beside its summary: what hooks recorded, and the report with measured times and observed tokens."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.documents import Page, PageError
from modelmeter.live.running.folder import RunFolder
from modelmeter.live.running.summary import PageRun, RunSummary
from modelmeter.live.running.twin import HOOKED
from modelmeter.live.shadow.aggregate import aggregate
from modelmeter.live.shadow.export import aggregates_data, decoder_data, json_text, vision_data
from modelmeter.live.shadow.report import SNAPSHOTS, observed_report
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.report.analysis import Workload
from modelmeter.report.model_report.build import build_report
from modelmeter.report.model_report.convert import to_json, to_yaml
from modelmeter.report.model_report.data import AnalyticModelReport
from modelmeter.report.model_report.measured import with_measured
from modelmeter.report.model_report.metrics import StageName
from modelmeter.report.model_report.write import DATA, PAGE, YAML

DECODER_STEPS: Final = "analytic_hooks/decoder_steps.json"
VISION_STEPS: Final = "analytic_hooks/vision_steps.json"
HOOKS_SUMMARY: Final = "analytic_hooks/summary.json"
DECODER_SCHEMA: Final = "modelmeter.decoder-steps/1"
VISION_SCHEMA: Final = "modelmeter.vision-steps/1"
SUMMARY_SCHEMA: Final = "modelmeter.hooks-summary/1"
_PARTS: Final = {"sam": "sam_model", "clip": "vision_model", "projector": "projector"}


class StepFiles:
    """The records of hooks and their sums, written anew when they have doubled, and at the end: not for every page."""

    def __init__(self, folder: RunFolder, stats: AnalyticRunStats) -> None:
        self._folder, self._stats = folder, stats
        self._written = 0

    def write(self, *, last: bool) -> None:
        """Write all, where there are many new ones or no more to come."""
        number = len(self._stats.decoder_steps) + len(self._stats.vision_steps)
        if not last and number < 2 * self._written:
            return
        self._folder.write(DECODER_STEPS, _text(DECODER_SCHEMA, map(decoder_data, self._stats.decoder_steps)))
        self._folder.write(VISION_STEPS, _text(VISION_SCHEMA, map(vision_data, self._stats.vision_steps)))
        sums = _head(SUMMARY_SCHEMA) | aggregates_data(aggregate(self._stats))
        self._folder.write(HOOKS_SUMMARY, json_text(sums))
        self._written = number


def _head(schema: str) -> dict[str, Any]:
    return {"schema": schema, "modelmeter_version": __version__, "analytic_model_version": ANALYTIC_MODEL_VERSION}


def _text(schema: str, steps: Iterable[dict[str, Any]]) -> str:
    """JSON with a line for each record, of which a long run has too many to hold them all as data."""
    lines = ",\n".join(json.dumps(step, allow_nan=False) for step in steps)
    return f'{json.dumps(_head(schema))[:-1]}, "steps": [\n{lines}\n]}}\n'


def write_report_files(
    folder: RunFolder, summary: RunSummary, config: DeepseekOCRConfig, stats: AnalyticRunStats | None, *, html: bool
) -> None:
    """report.json, report.yaml and, with `html`, report.html of the pages that were finished, at least one.

    `stats` are None without hooks. Raises `ModelMeterError` where one cannot be written or the page lacks a package.
    """
    report = run_report(summary, config, stats)
    folder.write(DATA, to_json(report))
    folder.write(YAML, to_yaml(report))
    if html:
        from modelmeter.report.html_page.page import render_html

        folder.write(PAGE, render_html(report))


def run_report(summary: RunSummary, config: DeepseekOCRConfig, stats: AnalyticRunStats | None) -> AnalyticModelReport:
    """The report of the pages that were finished, as they were run; decode steps are those of the longest page.

    With a known device measured times stand beside the predicted ones, with hooks what was observed.
    """
    done = [page for page in summary.pages if page.reason is None]
    options: dict[str, Any] = {
        "workload": _workload(summary, done),
        "config": config,
        "conventions": summary.conventions,
        "precision": summary.precision,
        "machine": summary.machine,
    }
    pages: list[Page | PageError] = [*(page.page for page in done), *summary.errors]
    if stats is None:
        report = build_report(pages, **options)
    else:
        report = observed_report(stats, pages, seconds=_snapshot_seconds(summary.pages), **options)
    if summary.machine is not None:
        for kind, stage, seconds in _measured(report, done):
            report = with_measured(report, stage, seconds, kind=kind)
    return report


def _workload(summary: RunSummary, done: list[PageRun]) -> Workload:
    """As asked for, with the prompt and the decode steps that were observed."""
    work = summary.workload
    return Workload(
        mode=work.mode,
        max_tiles=work.max_tiles,
        prompt_tokens=done[0].result.prompt_tokens,
        decode_tokens=max(page.decode_steps for page in done),
        batch_size=work.batch_size,
    )


def _snapshot_seconds(pages: Sequence[PageRun]) -> dict[str, float]:
    """Measured seconds of SAM, CLIP and the projector in all pages, by the name of the snapshot.

    None at all where a prefill was cut short: hooks see the last one, and its calls would not be those of the seconds.
    """
    found: dict[str, float] = {}
    if len({page.result.repeats for page in pages}) > 1:
        return found
    for page in pages:
        for part, module in _PARTS.items():
            if part in page.stages:
                found[SNAPSHOTS[module]] = found.get(SNAPSHOTS[module], 0.0) + page.stages[part].seconds
    return found


def _measured(report: AnalyticModelReport, done: list[PageRun]) -> Iterator[tuple[int, StageName, dict[str, float]]]:
    """(kind of page, stage, mean measured seconds by module path) of what was measured."""
    kinds: dict[int, list[PageRun]] = {}
    for page, run in zip(report.pages, _in_order(report, done), strict=True):
        kinds.setdefault(page.kind, []).append(run)
    modules = {part: HOOKED[module] for part, module in _PARTS.items()}
    wanted: dict[StageName, dict[str, str]] = {
        "vision": {"vision": "", **modules},
        "prefill": {"prefill": ""},
        "decode": {"decode_step": ""},
    }
    for kind, runs in kinds.items():
        for stage, names in wanted.items():
            have = {name: [run.stages[name].seconds for run in runs if name in run.stages] for name in names}
            seconds = {names[name]: sum(found) / len(found) for name, found in have.items() if found}
            if seconds:
                yield kind, stage, seconds


def _in_order(report: AnalyticModelReport, done: list[PageRun]) -> Iterator[PageRun]:
    """The runs in the order of the report's pages, which puts those of a document together."""
    for document in report.documents:
        yield from (run for run in done if run.page.source == document.source)
