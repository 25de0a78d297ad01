"""What a run gives: its pages with their measured stages, what failed, and what the numbers rest on."""

from collections.abc import Mapping
from typing import Final

import attrs

from modelmeter.core.precision import Precision
from modelmeter.documents import Page, PageError
from modelmeter.hardware.machine import Machine
from modelmeter.live.running.rates import StageRun, in_turn
from modelmeter.live.session.result import RunResult
from modelmeter.live.shadow.aggregate import Reached
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.report.analysis import Workload

STAGES: Final = ("host", "vision", "sam", "clip", "projector", "prefill", "decode_step", "decode", "page")
"""Stages of a page, those that it had: reading and preparing it, vision and its parts, prefill (vision in it), a decode
step, all decode steps, and host, prefill and decode together."""
IN_TURN: Final = tuple(name for name in STAGES if name != "decode_step")
"""Those that add up over pages."""


@attrs.frozen(kw_only=True)
class Equality:
    """Two numbers that have to be the same: what the run shows, by its hooks and its cache, and the static model."""

    quantity: str
    of: str
    measured: int
    expected: int

    @property
    def equal(self) -> bool:
        """Whether they are."""
        return self.measured == self.expected


@attrs.frozen(kw_only=True)
class PageRun:
    """One page (a batch of such pages) as it ran. `reason` says why it was cut short; None: it was not."""

    page: Page
    views: ViewPlan
    result: RunResult
    stages: Mapping[str, StageRun]
    checks: tuple[Equality, ...] = ()
    reason: str | None = None

    @property
    def decode_steps(self) -> int:
        """Decode steps that were finished."""
        return len(self.result.decode_steps)


@attrs.frozen(kw_only=True)
class RunSummary:
    """A run. `machine` is the device that times are predicted on, None where it is not known.

    `complete` is False until the last page is through, and stays so in a run that was stopped, for `reason`.
    """

    run_id: str
    folder: str
    started: str
    model: str
    parameters: int
    weights_bytes: int
    device: str
    device_title: str
    conventions: Conventions
    precision: Precision
    workload: Workload
    machine: Machine | None
    pages: tuple[PageRun, ...]
    errors: tuple[PageError, ...]
    experts: tuple[Reached, ...] = ()
    """Experts that tokens reached, where they were counted, at the end of the run."""
    complete: bool = False
    reason: str | None = None

    @property
    def totals(self) -> dict[str, StageRun]:
        """Stages of all pages one after the other."""
        ran = {name: [page.stages[name] for page in self.pages if name in page.stages] for name in IN_TURN}
        return {name: in_turn(stages) for name, stages in ran.items() if stages}

    @property
    def checks(self) -> tuple[Equality, ...]:
        """Those of all pages."""
        return tuple(check for page in self.pages for check in page.checks)

    @property
    def ok(self) -> bool:
        """Whether every page was run, and nothing differs that has to be equal."""
        return not self.errors and all(check.equal for check in self.checks)
