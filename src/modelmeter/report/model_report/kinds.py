"""One kind of page: its stages, its module tree, its curves over decode, its formulas."""

from typing import Final

from modelmeter.hardware.needs import Needs
from modelmeter.hardware.needs import Workload as Run
from modelmeter.hardware.page_time import Levels, PageTime
from modelmeter.models.deepseek_ocr.engine import Step
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.analysis import PageResult, Workload
from modelmeter.report.model_report.closed_forms import has_sympy, stage_formulas
from modelmeter.report.model_report.data import DecodePoint, PageKind, StageReport
from modelmeter.report.model_report.metrics import STAGE_NAMES, StageName
from modelmeter.report.model_report.records import StageRecord
from modelmeter.report.model_report.timed import roofline, stage_timing
from modelmeter.report.model_report.tree import module_tree
from modelmeter.report.timing.timing import PageTiming

MOST_POINTS: Final = 33
"""Points of a curve over decode, the first and the last step among them."""


def page_kind(
    model: DeepseekOCRModel, page: PageResult, timed: PageTiming | None, workload: Workload, pages: int
) -> PageKind:
    """The kind of `page`, of which there are so many. The model is left in decode with the page's cache."""
    time = None if timed is None else timed.time
    views = page.views
    return PageKind(
        mode=views.mode,
        grid=views.grid,
        views=views.views,
        image_tokens=views.image_tokens,
        context_len=page.context_len,
        pages=pages,
        stages={name: _stage(name, page, time) for name in page.stages},
        tree=module_tree(model.network, _records(model, page, time, workload)),
        decode=_decode(model, page, time, workload),
        roofline=() if time is None else roofline(time),
        formulas=stage_formulas(model, views) if has_sympy() else (),
    )


def _stage(name: str, page: PageResult, time: PageTime | None) -> StageReport:
    stage = page.stages[name]
    stages = {} if time is None else {"vision": time.vision, "prefill": time.prefill, "decode": time.decode}
    timing = stage_timing(stages[name]) if name in stages else None
    return StageReport(cost=stage.cost, parts=stage.parts, time=timing)


def _records(model: DeepseekOCRModel, page: PageResult, time: PageTime | None, workload: Workload) -> list[StageRecord]:
    """The stages recorded again (the model remembers its layers' recordings), or as they were timed."""
    timelines = (None,) * 3 if time is None else (time.vision.timeline, time.prefill.timeline, time.decode.timeline)
    found = []
    for name, timeline in zip(STAGE_NAMES, timelines, strict=True):
        _start(model, name, page, workload)
        trace = model.trace() if timeline is None else timeline.trace
        found.append(StageRecord(name=name, cost=page.stages[name].cost, trace=trace, timeline=timeline))
    return found


def _start(model: DeepseekOCRModel, stage: StageName, page: PageResult, workload: Workload) -> None:
    model.set_views(page.views)
    if stage == "vision":
        model.start_vision(workload.batch_size)
    elif stage == "prefill":
        model.start_prefill(page.context_len, workload.batch_size)
    else:
        model.start_decode()


def _decode(
    model: DeepseekOCRModel, page: PageResult, time: PageTime | None, workload: Workload
) -> tuple[DecodePoint, ...]:
    batch, weights = workload.batch_size, model.parameter_bytes()
    points = []
    for step in _sampled(workload.decode_tokens):
        past = page.context_len + step - 1
        forward = Step(mode="decode", batch=batch, queries=1, past=past)
        cost, _ = model.engine.stage(forward, model.kv_bytes_per_token(batch) * past)
        held = Needs(model.engine, Run(views=page.views, context_len=page.context_len, decode_tokens=step))
        points.append(
            DecodePoint(
                step=step,
                cached_tokens=past,
                kv_cache_bytes=cost.kv_cache_bytes,
                activation_peak_bytes=cost.activations_bytes,
                memory_bytes=weights + held.peak_bytes("decode", batch),
                flops=cost.cost.flops,
                io_bytes=cost.cost.io_bytes,
                seconds=None if time is None else _levels(time, step),
            )
        )
    return tuple(points)


def _sampled(steps: int) -> list[int]:
    """At most `MOST_POINTS` steps from 1 to `steps`, evenly spaced, both ends among them."""
    if steps <= MOST_POINTS:
        return list(range(1, steps + 1))
    last = MOST_POINTS - 1
    return [1 + (steps - 1) * place // last for place in range(MOST_POINTS)]


def _levels(time: PageTime, step: int) -> Levels:
    return Levels(**{name: float(seconds[step - 1]) for name, seconds in time.steps.items()})
