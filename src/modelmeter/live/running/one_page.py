"""One page through the real model, pass by pass; what was finished is kept whatever happens."""

import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import Page
from modelmeter.live.running.checks import Mark, page_checks
from modelmeter.live.running.pages import prepare_page
from modelmeter.live.running.progress import Progress, Watch
from modelmeter.live.running.request import RunRequest
from modelmeter.live.running.stages import page_stages
from modelmeter.live.running.summary import PageRun
from modelmeter.live.running.twin import PageTwin
from modelmeter.live.session.inputs import PreparedInputs
from modelmeter.live.session.memory import is_out_of_memory
from modelmeter.live.session.result import RunResult
from modelmeter.live.session.run import Run, check_positions
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.shadow.shadow import Shadow


class PageFailed(ModelMeterError):
    """A page that cannot be read or does not fit the memory: the others may still run."""


class PageRunner:
    """Runs pages. `partial` is what was finished of a page that was cut short; None where nothing was begun."""

    def __init__(
        self, session: DeepSeekOCRSession, twin: PageTwin, request: RunRequest, shadow: Shadow | None, watch: Watch
    ) -> None:
        self.partial: PageRun | None = None
        self._session, self._twin, self._request = session, twin, request
        self._shadow, self._watch = shadow, watch
        self._is_cold = request.warm_up != 0

    def run(self, page: Page) -> PageRun:
        """All of it. Raises `PageFailed`, `ModelMeterError` where the model cannot go on, and what else may happen."""
        self.partial = None
        self._watch(Progress(stage="preparing", page=page.label))
        try:
            return self._run(page, *self._prepared(page))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if self._session.device.type == "cuda":
                torch.cuda.empty_cache()  # what this page took in pieces is whole for the next
            raise PageFailed(f"{_reason(error)}: give a smaller --mode or --batch-size, or fewer tokens") from error

    def _prepared(self, page: Page) -> tuple[PreparedInputs, float | None]:
        """(inputs, the host's seconds), where the model has positions and the device room for the run."""
        steps = self._request.workload.decode_tokens
        try:
            if self._is_cold:  # the first time Pillow is imported and memory is new
                prepare_page(self._session, page, self._request)
                self._is_cold = False
            inputs, seconds = prepare_page(self._session, page, self._request)
            check_positions(self._session.body, inputs.context_len + steps)
            self._session.check_room(inputs, decode_tokens=steps)
        except ModelMeterError as error:
            raise PageFailed(str(error)) from error
        return inputs, seconds

    def _run(self, page: Page, inputs: PreparedInputs, prepared: float | None) -> PageRun:
        mark = Mark.now(self._shadow, page)
        with self._start(inputs) as run:
            try:
                self._pass_by_pass(run, page)
                return self._page_run(page, inputs, run.result(), prepared, mark)
            except BaseException as error:
                cut = run.result(complete=False)
                self.partial = self._page_run(page, inputs, cut, prepared, mark, _reason(error))
                raise

    def _start(self, inputs: PreparedInputs) -> Run:
        request = self._request
        return self._session.start(
            inputs,
            shadow=self._shadow,
            observe_experts=request.observe_experts,
            stop=() if request.ignore_eos else self._session.stop_ids,
            warm_up=request.warm_up,
            repeats=request.repeats,
        )

    def _pass_by_pass(self, run: Run, page: Page) -> None:
        def passed(done: int, total: int) -> None:
            self._watch(Progress(stage="prefill", page=page.label, done=done, total=total))

        passed(0, 0)
        run.prefill(passed)
        wanted = self._request.new_tokens
        for token in range(1, wanted + 1):
            self._watch(Progress(stage="decode", page=page.label, done=token, total=wanted))
            if token == wanted or run.stopped:
                break
            run.decode_step()

    def _page_run(
        self,
        page: Page,
        inputs: PreparedInputs,
        result: RunResult,
        prepared: float | None,
        mark: Mark,
        reason: str | None = None,
    ) -> PageRun:
        views = inputs.views
        assert views is not None  # a page has a picture
        return PageRun(
            page=page,
            views=views,
            result=result,
            stages=page_stages(page, views, result, self._twin, prepared=prepared),
            checks=() if reason else page_checks(views, result, self._twin, mark),
            reason=reason,
        )


def _reason(error: BaseException) -> str:
    """Why a page was cut short, in a line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    return f"memory ran out ({first})" if is_out_of_memory(error) else first
