"""A page as an upright RGB picture: from a picture file, a page of a PDF, or what is a picture already."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

from PIL import Image, ImageOps

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import MAX_PIXELS, Page, PageError, read_pages
from modelmeter.documents.images import DAMAGE
from modelmeter.documents.pdf import POINTS_PER_INCH

PageSource: TypeAlias = "str | PathLike[str] | tuple[str | PathLike[str], int] | Page | Image.Image"
"""A picture's or PDF's path (its first page), a path and a page number from 1, a page that was read, or a picture."""

_HEAD: Final = 1024  # bytes in which a PDF says that it is one, as documents.reader has it


def open_page(page: PageSource, *, dpi: float = 144.0) -> Image.Image:
    """The page's picture in RGB, turned upright as its EXIF orientation says; a PDF's page is drawn at `dpi`.

    As the vendor's `load_image` does, transparency is dropped. Raises `ModelMeterError`, in one line, for a file that
    is none, holds no such page or no readable picture, and for more pixels than Pillow reads.
    """
    if isinstance(page, Image.Image):
        with _decoding("the picture"):
            return _upright(page, "the picture")
    source, number = _source(page)
    found = _page(source, number, dpi)
    if _is_pdf(source):
        return _drawn(source, found, dpi)
    return _decoded(source, number)


def _source(page: Any) -> tuple[Path, int]:
    """The file and the page's number in it."""
    path: Any = page
    number: Any = 1
    if isinstance(page, Page):
        path, number = page.source, page.number
    elif isinstance(page, tuple) and len(page) == 2:
        path, number = page
    if not isinstance(path, str | PathLike) or isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ModelMeterError(
            f"prepare_inputs(): {page!r} is no page: give a path, (path, page number from 1), a Page or a PIL picture"
        )
    file = Path(path)
    if not file.is_file():
        raise ModelMeterError(
            f"prepare_inputs(): {file} is no file, and only files have pixels: give a picture or a PDF file, or "
            "synthetic_inputs(seq_len, views=...) for a page of a given size"
        )
    return file, number


def _page(source: Path, number: int, dpi: float) -> Page:
    """Page `number` by its size, which is checked before any pixel is decoded."""
    reached, error = 0, None
    for page in read_pages([source], dpi=dpi):
        if isinstance(page, PageError):
            reached, error = reached + 1, page  # or more: damaged pages in a row are one error
            if reached >= number:
                break
        elif page.number == number:
            return page
        elif page.number > number:
            break
        else:
            reached, error = page.number, None  # errors of pages before it are not of the one that is wanted
    if error is not None:
        raise ModelMeterError(f"prepare_inputs(): {error}")
    raise ModelMeterError(f"prepare_inputs(): {source} has no page {number}: pages count from 1")


def _is_pdf(source: Path) -> bool:
    with source.open("rb") as file:
        return b"%PDF-" in file.read(_HEAD)


def _decoded(source: Path, number: int) -> Image.Image:
    with _decoding(str(source)), Image.open(source) as image:
        image.seek(number - 1)
        return _upright(image, str(source))


@contextmanager
def _decoding(what: str) -> Iterator[None]:
    """While this runs, pixels are decoded: Pillow's warnings are dropped, its errors are one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit is twice lower for a warning: sizes are checked
            yield
    except ModelMeterError:
        raise
    except DAMAGE as error:
        raise ModelMeterError(
            f"prepare_inputs(): the pixels of {what} cannot be read ({error}): save or download it again"
        ) from error


def _upright(image: Image.Image, what: str) -> Image.Image:
    if not image.width or not image.height or image.width * image.height > MAX_PIXELS:
        raise ModelMeterError(
            f"prepare_inputs(): {what} is {image.width} x {image.height} pixels: give 1 to {MAX_PIXELS:,} of them"
        )
    turned = ImageOps.exif_transpose(image)
    return turned.convert("RGB")


def _drawn(source: Path, page: Page, dpi: float) -> Image.Image:
    """A page of a PDF, `page.width` x `page.height` pixels."""
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        with PdfDocument(source) as document:
            drawn = document[page.number - 1].render(scale=dpi / POINTS_PER_INCH)
            return drawn.to_pil().convert("RGB")
    except (PdfiumError, OSError, ValueError) as error:
        raise ModelMeterError(
            f"prepare_inputs(): page {page.number} of {source} cannot be drawn ({error}): save the document again"
        ) from error
