"""`run_documents`: pages through the real model, one after another; what is finished is on disk before the next one."""

import sys
from collections.abc import Sequence
from contextlib import suppress

import attrs
import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import Page, PageError
from modelmeter.live.calibration.clock import keep_memory
from modelmeter.live.calibration.rates import title_of
from modelmeter.live.installed import check_import
from modelmeter.live.running import environment, export
from modelmeter.live.running.artifacts import StepFiles, write_report_files
from modelmeter.live.running.folder import RunFolder
from modelmeter.live.running.interrupts import one_interrupt
from modelmeter.live.running.one_page import PageFailed, PageRunner
from modelmeter.live.running.pages import find_pages
from modelmeter.live.running.progress import Progress, Watch, nobody
from modelmeter.live.running.request import RunRequest, machine_for
from modelmeter.live.running.summary import PageRun, RunSummary
from modelmeter.live.running.twin import PageTwin
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.shadow.aggregate import aggregate
from modelmeter.live.shadow.check import check_model
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stats import AnalyticRunStats

SUMMARY = "summary.json"
ENVIRONMENT = "environment.json"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; the message says where, and where its results are."""


def run_documents(request: RunRequest, *, watch: Watch = nobody, command: Sequence[str] | None = None) -> RunSummary:
    """Run every page and write the run's folder; `command` is what the environment says was called.

    A page that cannot be read or does not fit the memory is one of the summary's errors, and the others still run.
    Raises `ModelMeterError` for a request that cannot be, where no page can be read, and where the run had to stop;
    `Interrupted` on Ctrl-C. Then the folder has what was finished, and says that it is incomplete.
    """
    pages, errors = find_pages(request)
    machine_for(request.predict_device, torch.device("cpu"))  # what cannot be is told before anything is loaded
    if request.html:
        check_import("plotly.offline", "pip install 'modelmeter[plot]', or leave the page out with --no-html")
    with one_interrupt():
        return _Running(request, errors, watch).run(
            pages, ["modelmeter", *sys.argv[1:]] if command is None else command
        )


class _Running:
    """A run in its folder: what it is doing, and what it has."""

    def __init__(self, request: RunRequest, errors: list[PageError], watch: Watch) -> None:
        self.request, self.errors = request, errors
        self.folder = RunFolder(request.output, request.run_id)
        self.stats = AnalyticRunStats()
        self._steps = StepFiles(self.folder, self.stats)
        self.done: list[PageRun] = []
        self.made: _Made | None = None
        self.now = Progress(stage="loading")
        self._watch = watch

    def run(self, pages: Sequence[Page], command: Sequence[str]) -> RunSummary:
        """All pages, and the end of the run whichever it is."""
        try:
            self._load(command)
            return self._pages(pages)
        except KeyboardInterrupt:
            reason = f"interrupted during {self.now.place}"
            self._stop(reason)
            raise Interrupted(f"{reason}: {self._kept()}") from None
        except ModelMeterError as error:
            if self.made is None:  # no model: nothing was run, nothing is kept
                self.folder.discard()
                raise
            self._stop(str(error))
            raise ModelMeterError(f"{error} ({self._kept()})") from error
        except BaseException as error:
            self._stop(f"{type(error).__name__} during {self.now.place}: {error}")
            raise

    def _load(self, command: Sequence[str]) -> None:
        """The model; what it is run on and as, in environment.json."""
        self._say(self.now)
        request = self.request
        kept = keep_memory() if request.model.device == "cpu" else True  # times are then those that calibration is of
        session = request.model.open()
        if request.prompt is not None and session.tokenizer is None:
            raise ModelMeterError("--prompt needs a tokenizer, and the model has none: give --prompt-tokens")
        shadow = Shadow(session.config, session.conventions, session.precision, self.stats) if request.hooks else None
        if shadow is not None:
            check_model(session.points, shadow)  # hooks would say so too, after minutes of prefills
        machine = machine_for(request.predict_device, session.device)
        twin = PageTwin(session.config, session.conventions, precision=session.precision, machine=machine)
        found = environment.environment_data(
            device=session.device,
            dtype=session.dtype,
            conventions=twin.conventions,
            seed=request.model.weights_seed,
            keeps_memory=kept,
            command=command,
        )
        self.made = _Made(session=session, twin=twin, shadow=shadow)
        self.folder.write(ENVIRONMENT, environment.to_json(found))

    def _pages(self, pages: Sequence[Page]) -> RunSummary:
        made = self._loaded()
        runner = PageRunner(made.session, made.twin, self.request, made.shadow, self._say)
        documents = {page.source for page in pages if page.number > 1}  # of several pages
        for page in pages:
            try:
                self.done.append(runner.run(page))
            except PageFailed as error:
                which = f"page {page.number}: " if page.source in documents else ""
                self.errors.append(PageError(page.source, f"{which}{error}"))
            finally:
                self.done += [] if runner.partial is None else [runner.partial]
            self._say(Progress(stage="writing", page=page.label))
            self._write_pages()
            self.folder.say("running", finished=self._finished, failed=len(self.errors))
        return self._finish()

    def _finish(self) -> RunSummary:
        self._say(Progress(stage="writing the report"))
        made = self._loaded()
        if self._finished:
            stats = self.stats if self.request.hooks else None
            write_report_files(self.folder, self._summary(), made.session.config, stats, html=self.request.html)
        summary = self._write_pages(complete=True, last=True)
        self.folder.close("complete", finished=self._finished, failed=len(self.errors))
        return summary

    def _stop(self, reason: str) -> None:
        """Write what there is, the state first: a disk that is full takes it, and as much more as there is room for."""
        with suppress(ModelMeterError):
            self.folder.close("incomplete", reason=reason, finished=self._finished, failed=len(self.errors))
        if self.made is not None:
            with suppress(ModelMeterError):
                self._write_pages(reason=reason, last=True)

    def _write_pages(self, *, complete: bool = False, reason: str | None = None, last: bool = False) -> RunSummary:
        summary = self._summary(complete=complete, reason=reason, last=last)
        self.folder.write(SUMMARY, export.to_json(summary))
        if self.request.hooks:
            self._steps.write(last=last)
        return summary

    def _summary(self, *, complete: bool = False, reason: str | None = None, last: bool = False) -> RunSummary:
        made = self._loaded()
        session, twin = made.session, made.twin
        return RunSummary(
            run_id=self.folder.run_id,
            folder=str(self.folder.path),
            started=self.folder.started,
            model=session.name,
            parameters=twin.model.parameter_count(),
            weights_bytes=twin.model.parameter_bytes(),
            device=str(session.device),
            device_title=title_of(session.device),
            conventions=twin.conventions,
            precision=session.precision,
            workload=self.request.workload,
            machine=twin.machine,
            pages=tuple(self.done),
            errors=tuple(self.errors),
            experts=aggregate(self.stats).experts if self.request.observe_experts and last else (),
            complete=complete,
            reason=reason,
        )

    def _loaded(self) -> "_Made":
        assert self.made is not None
        return self.made

    @property
    def _finished(self) -> int:
        return sum(page.reason is None for page in self.done)

    def _kept(self) -> str:
        return f"{self.folder.path} has what was finished, marked incomplete"

    def _say(self, progress: Progress) -> None:
        self.now = progress
        self._watch(progress)


@attrs.frozen(kw_only=True)
class _Made:
    """The model that runs, its twin, and what watches it by hooks, if anything does."""

    session: DeepSeekOCRSession
    twin: PageTwin
    shadow: Shadow | None
