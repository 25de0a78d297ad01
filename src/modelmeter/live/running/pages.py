"""The pages of a run: found before the model is loaded, prepared one by one."""

import time

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import Page, PageError, read_pages
from modelmeter.documents.sources import is_plain_size
from modelmeter.live.running.request import RunRequest
from modelmeter.live.session.inputs import PreparedInputs
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.models.deepseek_ocr.views import plan_views


def find_pages(request: RunRequest) -> tuple[list[Page], list[PageError]]:
    """The pages of all files, and what could not be read.

    Raises `ModelMeterError` where there is not one page, and for a mode that is none.
    """
    plan_views(1, 1, mode=request.workload.mode, max_tiles=request.workload.max_tiles)
    pages: list[Page] = []
    errors: list[PageError] = []
    for found in read_pages(request.files, dpi=request.dpi):
        if isinstance(found, Page):
            pages.append(found)
        else:
            errors.append(found)
    if pages:
        return pages, errors
    if not errors:
        raise ModelMeterError("no pages to run: name files, directories or sizes such as 1654x2339")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise ModelMeterError(f"no page could be read: {errors[0]}{more}")


def prepare_page(session: DeepSeekOCRSession, page: Page, request: RunRequest) -> tuple[PreparedInputs, float | None]:
    """(inputs, seconds of the host's work). A plain size is a page of noise, which no one reads: None.

    Raises `ModelMeterError` for a picture that is none.
    """
    work = request.workload
    if is_plain_size(page.source):
        views = plan_views(
            page.width,
            page.height,
            mode=work.mode,
            max_tiles=work.max_tiles,
            patch_size=session.config.sam.patch_size,
        )
        length = views.image_tokens + work.prompt_tokens
        return session.synthetic_inputs(length, batch_size=work.batch_size, views=views), None
    start = time.perf_counter()
    inputs = session.prepare_inputs(
        page,
        mode=work.mode,
        max_tiles=work.max_tiles,
        prompt=request.prompt,
        prompt_tokens=work.prompt_tokens,
        batch_size=work.batch_size,
        dpi=request.dpi,
    )
    return inputs, time.perf_counter() - start
