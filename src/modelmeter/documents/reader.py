"""`read_pages`: the pages of any mix of sources, as a stream in which a bad file is one error and not the end."""

import math
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents.pages import Page, PageError
from modelmeter.documents.sources import FORMATS, Source, find

_HEAD: Final = 1024  # bytes; readers accept %PDF- anywhere in the first 1024 (PDF 1.7, appendix H.3.4.1)


def read_pages(sources: Source | Iterable[Source], *, dpi: float = 144.0) -> Iterator[Page | PageError]:
    """The pages of the sources, in order and one at a time; only sizes are read, no pixel is decoded.

    A source is a PNG, JPEG, WebP or TIFF file (one page a frame; turned upright as its EXIF orientation says), a PDF
    file (`dpi` pixels an inch, rounded up; crop box and rotation respected, UserUnit not), a directory with all
    below it, a glob pattern, or plain WIDTHxHEIGHT. The kind of a file is told by its content.
    What cannot be read yields a PageError. Raises ModelMeterError if dpi is not a positive finite number.
    """
    _check_dpi(dpi)
    return _read(sources, dpi)


def count_pages(sources: Source | Iterable[Source]) -> int:
    """How many pages and errors `read_pages` will give, for a progress bar: opens every file, reads no PDF page.

    Exact for whole files; an upper bound for a PDF with several damaged pages in a row, as those are one error.
    """
    return sum(_count(item) if isinstance(item, Path) else 1 for item in find(sources))


def _check_dpi(dpi: Any) -> None:
    if isinstance(dpi, bool) or not isinstance(dpi, int | float) or not 0 < dpi < math.inf:
        raise ModelMeterError(f"read_pages(): dpi must be a positive finite number, got {dpi!r}: use 144")


def _read(sources: Source | Iterable[Source], dpi: float) -> Iterator[Page | PageError]:
    for item in find(sources):
        if not isinstance(item, Path):
            yield item
            continue
        kind = _kind(item)
        if isinstance(kind, PageError):
            yield kind
        elif kind == "PDF":
            from modelmeter.documents.pdf import read_pdf

            yield from read_pdf(item, dpi)
        else:
            from modelmeter.documents.images import read_image

            yield from read_image(item, kind)


def _count(path: Path) -> int:
    kind = _kind(path)
    if kind == "PDF":
        from modelmeter.documents.pdf import count_pdf

        return count_pdf(path)
    if kind == "TIFF":
        from modelmeter.documents.images import read_image

        return sum(1 for _ in read_image(path, kind))
    return 1


def _kind(path: Path) -> str | PageError:
    """PDF, PNG, JPEG, WEBP or TIFF, from the first bytes of the file; or why it is none of them."""
    source = str(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe could wait for ever
            return PageError(source, "not a regular file: save it to a file first")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return PageError(source, f"cannot be read ({error.strerror}): check the name and its permissions")
    if not head:
        return PageError(source, "the file is empty (0 bytes): save it again")
    return _sniff(head) or PageError(source, f"not a {FORMATS} file: convert it to one of them")


def _sniff(head: bytes) -> str | None:
    """The file format by its signature, as each format's specification gives it."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):  # the last two: BigTIFF
        return "TIFF"
    return "PDF" if b"%PDF-" in head else None
