"""`time`: how long the pages of a document take on a device, as data."""

import math
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.documents import Page, PageError
from modelmeter.hardware.host import Source, host_seconds
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import PageTime, time_page
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views
from modelmeter.report.analysis import Analysis, Workload


def _wanted_time(instance: Any, attribute: "attrs.Attribute[float | None]", value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ModelMeterError(f"a wanted {attribute.name.upper()} must be positive seconds, not {value}")


@attrs.frozen(kw_only=True)
class Wanted:
    """Times that someone wants, seconds: what rates they take is told."""

    ttft: float | None = attrs.field(default=None, validator=_wanted_time)
    tpot: float | None = attrs.field(default=None, validator=_wanted_time)


@attrs.frozen(kw_only=True)
class PageTiming:
    """One page: its views and its time (with a batch of B, that of B such pages at once)."""

    page: Page
    views: ViewPlan
    time: PageTime


@attrs.frozen(kw_only=True)
class Timing:
    """All pages on one machine, those that could not be read, and what the times rest on."""

    model: DeepseekOCRModel
    machine: Machine
    precision: Precision
    conventions: Conventions
    workload: Workload
    given_host_seconds: float | None
    wanted: Wanted
    pages: tuple[PageTiming, ...]
    errors: tuple[PageError, ...]

    def kinds(self) -> list[list[PageTiming]]:
        """Pages with the same views, together, in the order of their first."""
        kinds: dict[Any, list[PageTiming]] = {}
        for page in self.pages:
            kinds.setdefault((page.views.grid, page.views.views), []).append(page)
        return list(kinds.values())


def time_pages(
    pages: Iterable[Page | PageError],
    machine: Machine,
    *,
    workload: Workload | None = None,
    config: DeepseekOCRConfig | None = None,
    conventions: Conventions | None = None,
    precision: Precision | None = None,
    host: float | None = None,
    wanted: Wanted | None = None,
) -> Timing:
    """The time of every page. `host` is the host's seconds a page; left out, they follow from its size and file.

    Pages with the same views take the same on the device: they are computed once. Raises `ModelMeterError` for a
    workload that cannot be, and for a wanted time to first token shorter than the host's work on a page.
    """
    workload = workload or Workload()
    precision = precision or Precision()
    model = DeepseekOCRModel.from_config(config, precision=precision, **attrs.asdict(conventions or Conventions()))
    tiling = {"max_tiles": workload.max_tiles, "patch_size": (config or DeepseekOCRConfig()).sam.patch_size}
    plan_views(1, 1, mode=workload.mode, **tiling)  # a wrong mode is the call's error, not each page's
    known: dict[Any, PageTime] = {}
    results: list[PageTiming] = []
    errors: list[PageError] = []
    for page in pages:
        if isinstance(page, PageError):
            errors.append(page)
            continue
        views = plan_views(page.width, page.height, mode=workload.mode, **tiling)
        key = (views.grid, views.views)
        if key not in known:
            known[key] = _time(model, views, machine, workload)
        own = host_seconds(page.width, page.height, views, source=source_of(page)) if host is None else host
        time = attrs.evolve(known[key], host_seconds=own * workload.batch_size)
        if wanted is not None and wanted.ttft is not None:
            time.required(ttft=wanted.ttft)  # raises where the host alone takes longer
        results.append(PageTiming(page=page, views=views, time=time))
    return Timing(
        model=model,
        machine=machine,
        precision=precision,
        conventions=model.conventions,
        workload=workload,
        given_host_seconds=host,
        wanted=wanted or Wanted(),
        pages=tuple(results),
        errors=tuple(errors),
    )


def with_times(analysis: Analysis, machine: Machine) -> Analysis:
    """The analysis with the times of its pages on a machine."""
    timing = time_pages(
        [result.page for result in analysis.pages],
        machine,
        workload=analysis.workload,
        config=analysis.config,
        conventions=analysis.conventions,
        precision=analysis.precision,
    )
    return attrs.evolve(analysis, timing=timing)


def require_pages(timing: Timing) -> Timing:
    """Self. Raises `ModelMeterError` where not one page could be read."""
    if not timing.pages and not timing.errors:
        raise ModelMeterError("no pages to time: name files, directories or sizes such as 1654x2339")
    return timing


def source_of(page: Page) -> Source:
    """What a page is read from. A size without a file is taken for a JPEG of it."""
    return "pdf" if PurePath(page.source).suffix.lower() == ".pdf" else "jpeg"


def _time(model: DeepseekOCRModel, views: ViewPlan, machine: Machine, workload: Workload) -> PageTime:
    return time_page(
        model,
        views,
        machine,
        prompt_tokens=workload.prompt_tokens,
        decode_tokens=workload.decode_tokens,
        batch_size=workload.batch_size,
    )
