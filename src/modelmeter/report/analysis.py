"""`analyze`: what the model costs on the pages of a document, as data."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs

from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.dims import as_dim
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.core.recorder import RecordOptions
from modelmeter.core.trace import Trace
from modelmeter.documents import Page, PageError
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.engine import Step
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.run import StageParts, sum_of_even_steps, together
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views

if TYPE_CHECKING:
    from modelmeter.report.timing.timing import Timing

STAGES = ("vision", "prefill", "decode", "run")


def _at_least(least: int) -> Any:
    def check(instance: Any, attribute: "attrs.Attribute[int]", value: Any) -> None:
        as_dim(value, attribute.name, least=least)

    return check


def _tiles(instance: Any, attribute: "attrs.Attribute[int]", value: Any) -> None:
    plan_views(1, 1, mode="gundam", max_tiles=value)  # raises where it is no number of tiles


@attrs.frozen(kw_only=True)
class Workload:
    """How each page is run: its views, the text tokens of the prompt, the tokens decoded, equal pages at a time."""

    mode: str = "gundam"
    max_tiles: int = attrs.field(default=9, validator=_tiles)
    prompt_tokens: int = attrs.field(default=10, validator=_at_least(0))
    decode_tokens: int = attrs.field(default=512, validator=_at_least(0))
    batch_size: int = attrs.field(default=1, validator=_at_least(1))
    by_layer: int | None = attrs.field(default=None, validator=attrs.validators.optional(_at_least(1)))


@attrs.frozen(kw_only=True)
class StageResult:
    """One stage: its cost, that of its parts, and (when asked for) of its layers; each adds up to the cost."""

    cost: StageCost
    parts: dict[str, StageCost]
    layers: dict[str, Cost] | None = None


@attrs.frozen(kw_only=True)
class PageResult:
    """One page: its views and the four stages. With a batch of B the stages are those of B such pages at once."""

    page: Page
    views: ViewPlan
    context_len: int
    stages: dict[str, StageResult]


@attrs.frozen(kw_only=True)
class Analysis:
    """All pages, those that could not be read, the totals, and what the numbers rest on.

    Totals: FLOPs and bytes of the pages added up; resident weights, activation peaks and KV cache are the largest, as
    pages run one after the other.
    """

    config: DeepseekOCRConfig
    parameters: int
    weights_bytes: int
    conventions: Conventions
    precision: Precision
    workload: Workload
    pages: tuple[PageResult, ...]
    errors: tuple[PageError, ...]
    totals: dict[str, StageResult]
    timing: "Timing | None" = None
    """How long the pages take, where a device was named."""


def analyze(
    pages: Iterable[Page | PageError],
    *,
    workload: Workload | None = None,
    config: DeepseekOCRConfig | None = None,
    conventions: Conventions | None = None,
    precision: Precision | None = None,
    on_page: Callable[[], None] | None = None,
) -> Analysis:
    """Analyse every page; `on_page` is called after each. Raises `ModelMeterError` for a workload that cannot be.

    Pages with the same views cost the same: they are computed once.
    """
    workload = workload or Workload()
    chosen = attrs.asdict(conventions or Conventions())
    model = DeepseekOCRModel.from_config(config, precision=precision, **chosen)
    tiling = {"max_tiles": workload.max_tiles, "patch_size": (config or DeepseekOCRConfig()).sam.patch_size}
    plan_views(1, 1, mode=workload.mode, **tiling)  # a wrong mode is the call's error, not each page's

    @cache
    def stages(views: tuple[Any, ...]) -> tuple[int, dict[str, StageResult]]:
        return _stages(model, by_key[views], workload)

    by_key: dict[tuple[Any, ...], ViewPlan] = {}
    results: list[PageResult] = []
    errors: list[PageError] = []
    for page in pages:
        if isinstance(page, PageError):
            errors.append(page)
        else:
            views = plan_views(page.width, page.height, mode=workload.mode, **tiling)
            by_key.setdefault((views.grid, views.views), views)
            context, found = stages((views.grid, views.views))
            results.append(PageResult(page=page, views=views, context_len=context, stages=found))
        if on_page is not None:
            on_page()
    return Analysis(
        config=config or DeepseekOCRConfig(),
        parameters=model.parameter_count(),
        weights_bytes=model.parameter_bytes(),
        conventions=model.conventions,
        precision=model.precision,
        workload=workload,
        pages=tuple(results),
        errors=tuple(errors),
        totals={name: _total([page.stages[name] for page in results]) for name in STAGES} if results else {},
    )


def _stages(model: DeepseekOCRModel, views: ViewPlan, workload: Workload) -> tuple[int, dict[str, StageResult]]:
    """(context length, the four stages) of a page with these views."""
    context = views.image_tokens + workload.prompt_tokens
    model.set_views(views)
    model.start_vision(workload.batch_size)
    vision = _stage(model, workload)
    model.start_prefill(context, workload.batch_size)
    prefill = _stage(model, workload)
    run = model.simulate_run(workload.decode_tokens)
    model.start_decode()
    decode = _stage(model, workload)
    layers = None
    if workload.by_layer is not None:
        layers = _run_layers(model, prefill, context, workload)
    whole = StageResult(cost=run.total, parts=run.total_parts, layers=layers)
    return context, {"vision": vision, "prefill": prefill, "decode": decode, "run": whole}


def _stage(model: DeepseekOCRModel, workload: Workload) -> StageResult:
    cost, parts = model.get_stage_parts()
    layers = None if workload.by_layer is None else model.trace().by_layer(workload.by_layer)
    return StageResult(cost=cost, parts=parts, layers=layers)


def _run_layers(model: DeepseekOCRModel, prefill: StageResult, context: int, workload: Workload) -> dict[str, Cost]:
    """Layers of the whole run: the prefill's and all decode steps', whose rows grow evenly with the cache."""
    layers = dict(prefill.layers or {})
    tokens = workload.decode_tokens
    if tokens == 0:
        return layers

    def decode(past: int) -> Trace:
        step = Step(mode="decode", batch=workload.batch_size, queries=1, past=past)
        return model.engine.trace(step, RecordOptions())

    steps = [decode(past).by_layer(workload.by_layer) for past in (context, context + 1, context + tokens - 1)]
    for path in steps[0]:
        summed = sum_of_even_steps([step[path] for step in steps], tokens)
        layers[path] = layers.get(path, Cost()) + summed
    return layers


def _total(stages: list[StageResult]) -> StageResult:
    whole, parts = _largest([(stage.cost, stage.parts) for stage in stages])
    layers: dict[str, Cost] | None = None
    if stages[0].layers is not None:
        layers = {}
        for stage in stages:
            for path, cost in (stage.layers or {}).items():
                layers[path] = layers.get(path, Cost()) + cost
    return StageResult(cost=whole, parts=parts, layers=layers)


def _largest(stages: list[StageParts]) -> StageParts:
    """Costs added up; of the memory the largest."""

    def one(costs: list[StageCost]) -> StageCost:
        return attrs.evolve(together(costs), kv_cache_bytes=max(cost.kv_cache_bytes for cost in costs))

    return one([cost for cost, _ in stages]), {part: one([parts[part] for _, parts in stages]) for part in stages[0][1]}


def require_pages(analysis: Analysis) -> Analysis:
    """Self. Raises `ModelMeterError` where not one page could be read."""
    if not analysis.pages and not analysis.errors:
        raise ModelMeterError("no pages to analyse: name files, directories or sizes such as 1654x2339")
    return analysis
