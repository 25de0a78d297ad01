"""`modelmeter analyze-model` as one call: what is asked for, and the analysis or scaling that answers it."""

from os import PathLike
from pathlib import Path
from typing import Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import PageError, read_pages
from modelmeter.live.analyser.analyser import DeepseekOCRStaticAnalyzer
from modelmeter.live.analyser.data import AnalysisPoint, StaticAnalysis
from modelmeter.live.analyser.grid import read_grid
from modelmeter.live.analyser.scaling import Say, StaticScaling
from modelmeter.live.analyser.write import check_place, write_analysis, write_scaling
from modelmeter.live.reference.choose import choose_adapter, quietly
from modelmeter.live.verification.points import MOST_TOKENS, NO_VIEWS, check_size
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views

DEFAULT_PAGE: Final = "1654x2339"
"""A4 at 200 dots an inch."""


@attrs.frozen(kw_only=True)
class Request:
    """The options of the command. None: not given."""

    page: str | None = None
    mode: str = "gundam"
    max_tiles: int = 9
    prompt_tokens: int = 10
    context_len: int | None = None
    cached: int | None = None
    decode_steps: int = 1
    batch_size: int = 1
    config: str | PathLike[str] | None = None
    model_path: str | PathLike[str] | None = None
    trust_remote_code: bool = False
    attention: str = "eager"
    experts: str | None = None
    grid: str | PathLike[str] | None = None
    output: str | Path | None = None


def run(request: Request, say: Say = lambda line: None) -> StaticAnalysis | StaticScaling:
    """Analyse, or scale over a grid, and write what `output` asks for; `say` hears what is being done.

    Of a scaling the finished points are written as they come. Raises `ModelMeterError` for what cannot be asked,
    before the real model is built where that can be known.
    """
    with quietly():
        return _analyse(request, say) if request.grid is None else _scale(request, say)


def _analyse(request: Request, say: Say) -> StaticAnalysis:
    _check_sizes(request)
    size = _page_size(request)
    if request.output is not None:
        check_place(request.output, scaling=False)
    analyser = _analyser(request, say)
    views = None if size is None else _views(request, size, analyser.adapter.config.sam.patch_size)
    analysis = analyser.analyze(_point(analyser, request, views), say)
    if request.output is not None:
        write_analysis(analysis, request.output)
    return analysis


def _scale(request: Request, say: Say) -> StaticScaling:
    given = {
        "PAGE": request.page is not None,
        "--context-len": request.context_len is not None,
        "--cached": request.cached is not None,
        "--decode-steps": request.decode_steps != 1,
        "--batch-size": request.batch_size != 1,
    }
    unfit = [option for option, is_given in given.items() if is_given]
    if unfit:
        raise ModelMeterError(f"--grid has lengths, steps and batches of its own: drop {', '.join(unfit)}")
    grid, output = read_grid(request.grid or ""), request.output
    if output is None:
        return _analyser(request, say).scaling(grid, say=say)
    check_place(output, scaling=True)

    kept = 0

    def keep(done: StaticScaling) -> None:
        nonlocal kept
        write_scaling(done, output)
        kept = len(done.points)

    try:
        return _analyser(request, say).scaling(grid, keep, say)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted: {kept} of {grid.size} points are in {output}") from None


def _analyser(request: Request, say: Say) -> DeepseekOCRStaticAnalyzer:
    say("building the real model")
    chosen = (request.config, request.model_path, request.trust_remote_code, request.attention, request.experts)
    return DeepseekOCRStaticAnalyzer(choose_adapter(*chosen, weights=False))


def _check_sizes(request: Request) -> None:
    """What is wrong whatever the model is."""
    plan_views(1, 1, mode=request.mode, max_tiles=request.max_tiles)  # raises where there is no such mode
    check_size(request.prompt_tokens, "prompt_tokens", MOST_TOKENS)
    context, cached = (1 if size is None else size for size in (request.context_len, request.cached))
    AnalysisPoint(context_len=context, cached=cached, batch_size=request.batch_size, decode_steps=request.decode_steps)
    if request.page == NO_VIEWS and request.context_len is None:
        raise ModelMeterError(f"a prompt of text alone (page {NO_VIEWS}) needs its length: give --context-len")


def _page_size(request: Request) -> tuple[int, int] | None:
    """(width, height) of the page, of a document its first; None for text alone."""
    if request.page == NO_VIEWS:
        return None
    found = next(iter(read_pages([request.page or DEFAULT_PAGE])))
    if isinstance(found, PageError):
        raise ModelMeterError(str(found))
    return found.width, found.height


def _views(request: Request, size: tuple[int, int], patch_size: int) -> ViewPlan:
    return plan_views(*size, mode=request.mode, max_tiles=request.max_tiles, patch_size=patch_size)


def _point(analyser: DeepseekOCRStaticAnalyzer, request: Request, views: ViewPlan | None) -> AnalysisPoint:
    return analyser.point(
        views,
        prompt_tokens=request.prompt_tokens,
        context_len=request.context_len,
        cached=request.cached,
        batch_size=request.batch_size,
        decode_steps=request.decode_steps,
        page=None if views is None else request.page or DEFAULT_PAGE,
    )
