"""Documents made for a test: PDF files written by hand (PDFium can neither encrypt nor write what is wrong)."""

from collections.abc import Callable
from pathlib import Path

import pytest

A4 = b"/MediaBox [0 0 595 842]"


def pdf_bytes(*pages: bytes, count: int | None = None, inherited: bytes = b"", trailer: bytes = b"") -> bytes:
    """A PDF file; `pages` are the entries of each page's dictionary, `count` what it claims to have."""
    kids = b" ".join(b"%d 0 R" % (number + 3) for number in range(len(pages)))
    tree = b"<</Type /Pages /Kids [%s] /Count %d %s>>" % (kids, len(pages) if count is None else count, inherited)
    objects = [b"<</Type /Catalog /Pages 2 0 R>>", tree]
    objects += [b"<</Type /Page /Parent 2 0 R %s>>" % page for page in pages]
    out, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj %s endobj\n" % (number, body)
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    table += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"trailer <</Size %d /Root 1 0 R %s>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, len(out))
    return out + table + end


@pytest.fixture
def make_pdf(tmp_path: Path) -> Callable[..., Path]:
    """make_pdf(*pages, name=..., **pdf_bytes arguments) writes a PDF file; without pages, one of A4."""

    def make(*pages: bytes, name: str = "document.pdf", **arguments) -> Path:
        path = tmp_path / name
        path.write_bytes(pdf_bytes(*(pages or (A4,)), **arguments))
        return path

    return make
