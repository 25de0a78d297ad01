"""Shared by the tests of reports: analyses to look at."""

import pytest
from support.schema import validator_of

from modelmeter.documents import Page, PageError
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.report.analysis import Workload, analyze


def page(width, height, name=None, number=1):
    """A page as `read_pages` gives it."""
    name = name or f"{width}x{height}"
    return Page(source=name, number=number, width=width, height=height, label=name)


@pytest.fixture(scope="session")
def analysed():
    """analysed(*pages, conventions..., workload...): an analysis; keywords go where they belong."""

    def run(*pages, **options):
        chosen = {name: options.pop(name) for name in list(options) if name in Conventions.__annotations__}
        return analyze(pages, workload=Workload(**options), conventions=Conventions(**chosen))

    return run


@pytest.fixture(scope="session")
def document(analysed):
    """A4 upright (2 x 3 tiles), another of almost its size, A4 lying, a receipt without tiles, and a bad file."""
    pages = [page(1191, 1684), page(1190, 1684, "scan|2.png"), page(1684, 1191), page(600, 620)]
    return analysed(*pages, PageError("broken.pdf", "the PDF is damaged"), decode_tokens=5, by_layer=2)


@pytest.fixture(scope="session")
def validator():
    """The schema of an analysis."""
    return validator_of("analysis-1")
