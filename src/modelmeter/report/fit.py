"""`fit_pages`: what fits a device's memory on the pages of documents, and that as plain data (`modelmeter.fit/1`)."""

import json
from collections.abc import Iterable
from typing import Any

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import Page, PageError
from modelmeter.hardware.device import Device
from modelmeter.hardware.fit import CacheFit, MemoryFit, PrecisionOption, fit
from modelmeter.hardware.memory import DEFAULT_RESERVE, Share, Size
from modelmeter.hardware.needs import BLOCK_TOKENS
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views
from modelmeter.report.analysis import Workload
from modelmeter.report.conventions import convention_notes

SCHEMA = "modelmeter.fit/1"


@attrs.frozen(kw_only=True)
class FitReport:
    """What fits, the pages it is of, and those that could not be read. `kinds` is the index of each page's workload."""

    found: MemoryFit
    workload: Workload
    reserve: str
    pages: tuple[Page, ...]
    kinds: tuple[int, ...]
    errors: tuple[PageError, ...]

    @property
    def deciding_page(self) -> Page:
        """The first page of the kind that decides."""
        return self.pages[self.kinds.index(self.found.decides)]


def fit_pages(
    pages: Iterable[Page | PageError],
    *,
    model: DeepseekOCRModel,
    device: Device,
    workload: Workload | None = None,
    prefill_batch: int | None = None,
    reserve: Share = DEFAULT_RESERVE,
    cuda_context: Size | None = None,
) -> FitReport:
    """`fit` over all pages; pages with the same views are one kind. Raises where not one page could be read."""
    work = workload or Workload()
    given = list(pages)
    read = [page for page in given if isinstance(page, Page)]
    errors = [page for page in given if isinstance(page, PageError)]
    if not read:
        why = f" ({errors[0]})" if errors else ""
        raise ModelMeterError(f"no page could be read{why}: name files, directories or sizes such as 1654x2339")
    plans = [_plan(page, work, model) for page in read]
    keys = [(plan.grid, plan.views) for plan in plans]
    kinds: dict[Any, ViewPlan] = {}
    for key, plan in zip(keys, plans, strict=True):
        kinds.setdefault(key, plan)
    places = {key: index for index, key in enumerate(kinds)}
    found = fit(
        model,
        device,
        views=list(kinds.values()),
        prompt_tokens=work.prompt_tokens,
        decode_tokens=work.decode_tokens,
        batch_size=work.batch_size,
        prefill_batch=prefill_batch,
        reserve=reserve,
        cuda_context=cuda_context,
    )
    return FitReport(
        found=found,
        workload=work,
        reserve=str(reserve),
        pages=tuple(read),
        kinds=tuple(places[key] for key in keys),
        errors=tuple(errors),
    )


def _plan(page: Page, work: Workload, model: DeepseekOCRModel) -> ViewPlan:
    patch_size = 16 if model.config is None else model.config.sam.patch_size
    return plan_views(page.width, page.height, mode=work.mode, max_tiles=work.max_tiles, patch_size=patch_size)


def fit_data(report: FitReport) -> dict[str, Any]:
    """The report as dicts, lists, strings and numbers; integers are exact bytes."""
    found, work = report.found, report.workload
    model, config = found.model, found.model.config
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "conventions": {
            **attrs.asdict(model.conventions),
            "max_tiles": work.max_tiles,
            "notes": convention_notes(model.conventions),
        },
        "precision": {**attrs.asdict(model.precision), "text": model.precision.describe()},
        "model": {
            "name": "" if config is None else config.name,
            "parameters": model.parameter_count(),
            "max_positions": found.positions,
        },
        "device": {"name": found.device.name, "title": found.device.title},
        "workload": {
            "mode": work.mode,
            "max_tiles": work.max_tiles,
            "prompt_tokens": work.prompt_tokens,
            "decode_tokens": work.decode_tokens,
            "batch_size": work.batch_size,
            "prefill_batch": found.prefill_batch,
            "context_len": found.workload.context_len,
            "deciding_page": report.pages.index(report.deciding_page),
        },
        "memory": {**attrs.asdict(found.budget), "free_bytes": found.budget.free_bytes, "reserve": report.reserve},
        "kv_bytes_per_token": found.kv_bytes_per_token,
        "block_tokens": BLOCK_TOKENS,
        "stages": [attrs.asdict(stage) for stage in found.stages],
        "caches": [_cache(found, cache) for cache in found.caches],
        "holds_weights": found.holds_weights,
        "missing_bytes": found.budget.missing_bytes,
        "fits": found.fits,
        "precisions": [_option(option) for option in found.options],
        "pages": [_page(report, index) for index in range(len(report.pages))],
        "errors": [{"source": error.source, "message": error.message} for error in report.errors],
    }


def to_json(report: FitReport) -> str:
    """`fit_data` as JSON text."""
    return json.dumps(fit_data(report), indent=1, ensure_ascii=False) + "\n"


def _cache(found: MemoryFit, cache: CacheFit) -> dict[str, Any]:
    return {**attrs.asdict(cache), "left_bytes": found.left_bytes(cache)}


def _option(option: PrecisionOption) -> dict[str, Any]:
    return {**attrs.asdict(option), "precision": {**attrs.asdict(option.precision), "text": str(option.precision)}}


def _page(report: FitReport, index: int) -> dict[str, Any]:
    page, kind = report.pages[index], report.kinds[index]
    work = report.found.workloads[kind]
    views = work.views
    if views is None:
        raise ModelMeterError("a page has views")
    return {
        "source": page.source,
        "page": page.number,
        "width": page.width,
        "height": page.height,
        "grid": list(views.grid),
        "image_tokens": views.image_tokens,
        "context_len": work.context_len,
        "decides": kind == report.found.decides,
    }
