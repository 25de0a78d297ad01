"""Page sizes of a PDF file, by PDFium; nothing is rendered."""

import math
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from modelmeter.documents.pages import Page, PageError, sized_page

POINTS_PER_INCH: Final = 72  # PDF 1.7, 8.3.2.3
_NOISE: Final = 1e-6  # relative; PDFium's sizes are 32-bit floats (6e-8) and differences of two of them
_BEYOND: Final = 10.0**9  # pixels; larger sizes are shown as this one

# Why a document does not open (FPDF_ERR_* of fpdfview.h), and the remedy
_CAUSES: Final = {
    2: "the file cannot be accessed: check its permissions",
    3: "the PDF is damaged or cut short: save or download it again",
    4: "the PDF is encrypted and needs a password: save a copy without one",
    5: "the PDF is encrypted in a way that is not supported: save a copy without protection",
    6: "the PDF has no readable page: save it again",
}


def read_pdf(path: Path, dpi: float) -> Iterator[Page | PageError]:
    """The pages of a PDF file: their visible size (crop box, rotated) at `dpi` pixels an inch, rounded up.

    Pages are read one at a time. Damaged pages in a row are one error; a document that does not open is one error.
    UserUnit is not applied: PDFium does not, neither here nor when it renders.
    """
    source = str(path)
    document = _open(path)
    if isinstance(document, PageError):
        yield document
        return
    with document:
        for bad, run in groupby(_sizes(document), key=lambda item: item[1] is None):
            if bad:
                yield _damaged(source, [number for number, _ in run])
                continue
            for number, size in run:
                assert size is not None
                pixels = _pixels(size[0], dpi), _pixels(size[1], dpi)
                label = f"{path.name} p{number}"
                yield sized_page(source, number, pixels, label=label, remedy="crop the page or lower the dpi")


def count_pdf(path: Path) -> int:
    """Pages that the document claims to have; 1 (the error) when it does not open."""
    document = _open(path)
    if isinstance(document, PageError):
        return 1
    with document:
        return len(document)


def _open(path: Path) -> Any:
    """The open PDFium document, or the reason why there is none."""
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        return PdfDocument(path)
    except PdfiumError as error:
        return PageError(str(path), _CAUSES.get(error.err_code, f"not a readable PDF ({error}): save it again"))
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be encoded
        return PageError(str(path), f"cannot be opened ({error}): check the name and its permissions")


def _sizes(document: Any) -> Iterator[tuple[int, tuple[float, float] | None]]:
    """(number, (width, height) in points) of each page; None for a page that cannot be read."""
    from pypdfium2 import PdfiumError

    for index in range(len(document)):
        try:
            yield index + 1, document.get_page_size(index)
        except PdfiumError:
            yield index + 1, None


def _damaged(source: str, numbers: list[int]) -> PageError:
    pages = f"page {numbers[0]}" if len(numbers) == 1 else f"pages {numbers[0]} to {numbers[-1]}"
    return PageError(source, f"{pages} cannot be read (missing or damaged): save the document again")


def _pixels(points: float, dpi: float) -> int:
    """Points as pixels, rounded up; what lies within float noise of a whole number is that number."""
    exact = min(points * dpi / POINTS_PER_INCH, _BEYOND)
    nearest = round(exact)
    return nearest if nearest and abs(exact - nearest) <= _NOISE * exact else math.ceil(exact)
