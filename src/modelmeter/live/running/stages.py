"""A page's measured times, and beside them what the analytic model says of the same stages."""

import attrs

from modelmeter.core.cost import Cost
from modelmeter.documents import Page
from modelmeter.hardware.device import Device
from modelmeter.hardware.host import host_seconds
from modelmeter.hardware.page_time import Levels
from modelmeter.live.calibration.clock import Timing
from modelmeter.live.running.rates import StageRun, Work, in_turn
from modelmeter.live.running.twin import Expected, PageTwin
from modelmeter.live.session.result import RunResult
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.report.timing.timing import source_of


def page_stages(
    page: Page, views: ViewPlan, result: RunResult, twin: PageTwin, *, prepared: float | None = None
) -> dict[str, StageRun]:
    """The stages that were finished; `prepared` are the host's seconds on a page that was read from a file."""
    steps = len(result.decode_steps)
    expected = twin.expected(views, result.prompt_tokens, result.batch_size, steps)
    device = None if twin.machine is None else twin.machine.device
    found: dict[str, StageRun] = {}
    if prepared is not None:
        found["host"] = _host(page, views, prepared, device)
    tokens = {"vision": result.image_tokens, "prefill": result.context_len}
    for name, timing in (("vision", result.vision), ("prefill", result.prefill)):
        if timing is not None:
            found[name] = _stage(name, timing, tokens[name] * result.batch_size, expected, device)
            if name == "vision":
                found |= {part: _part(part, time, expected, device) for part, time in result.parts.items()}
    if result.decode is not None and steps:
        found |= _decode(result.decode, result, expected, device)
    if "prefill" in found:
        whole = in_turn([found[name] for name in ("host", "prefill", "decode") if name in found])
        found["page"] = attrs.evolve(whole, tokens=result.batch_size * result.generated_tokens)
    return found


def _stage(name: str, timing: Timing, tokens: int, expected: Expected, device: Device | None) -> StageRun:
    levels = expected.levels(name)
    return StageRun(
        seconds=timing.seconds,
        work=expected.works[name],
        tokens=tokens,
        spread=timing,
        predicted=_predicted(levels),
        levels=levels,
        device=device,
    )


def _part(part: str, timing: Timing, expected: Expected, device: Device | None) -> StageRun:
    return StageRun(
        seconds=timing.seconds,
        work=expected.works[part],
        tokens=0,
        spread=timing,
        predicted=expected.part_seconds(part),
        device=device,
        is_part=True,
    )


def _decode(timing: Timing, result: RunResult, expected: Expected, device: Device | None) -> dict[str, StageRun]:
    """A step, by the median of all; and all of them, by their sum."""
    steps, levels = len(result.decode_steps), expected.levels("decode")
    whole = StageRun(
        seconds=sum(result.decode_steps),
        work=expected.works["decode"],
        tokens=steps * result.batch_size,
        predicted=_predicted(levels),
        levels=levels,
        device=device,
    )
    mean = None if levels is None else levels * (1 / steps)
    step = StageRun(
        seconds=timing.seconds,
        work=whole.work,
        tokens=whole.tokens,
        passes=steps,
        spread=timing,
        predicted=_predicted(mean),
        levels=mean,
        device=device,
    )
    return {"decode_step": step, "decode": whole}


def _host(page: Page, views: ViewPlan, seconds: float, device: Device | None) -> StageRun:
    """Reading and preparing one page; of a batch of equal ones it is done once."""
    known = None if device is None else host_seconds(page.width, page.height, views, source=source_of(page))
    levels = None if known is None else Levels(roofline=known, calibrated=known)
    return StageRun(
        seconds=seconds, work=Work(cost=Cost()), tokens=0, predicted=known, levels=levels, device=device, is_part=True
    )


def _predicted(levels: Levels | None) -> float | None:
    return None if levels is None else float(levels.predicted)
