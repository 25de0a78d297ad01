"""Shared by the tests of the report: reports to look at."""

import pytest
from support.schema import validator_of

from modelmeter.documents import Page, PageError
from modelmeter.hardware.roofline import machine_of
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.report.analysis import Workload
from modelmeter.report.model_report.build import build_report

A4 = Page("a.pdf", 1, 1191, 1684, "a.pdf p1")
LYING = Page("a.pdf", 2, 1684, 1191, "a.pdf p2")
RECEIPT = Page("b<script>.png", 1, 600, 620, "b<script>.png")
BAD = PageError("c.pdf", "the PDF is damaged")


@pytest.fixture(scope="session")
def reported():
    """reported(*pages, device=..., conventions..., workload...): a report; keywords go where they belong."""

    def build(*pages, device=None, execution="eager", **options):
        chosen = {name: options.pop(name) for name in list(options) if name in Conventions.__annotations__}
        machine = None if device is None else machine_of(device, execution=execution)
        return build_report(pages, workload=Workload(**options), conventions=Conventions(**chosen), machine=machine)

    return build


@pytest.fixture(scope="session")
def timed(reported):
    """Three pages of two kinds on an H200, a file that could not be read, 40 decode steps."""
    return reported(A4, RECEIPT, BAD, A4, device="h200", decode_tokens=40)


@pytest.fixture(scope="session")
def plain(reported):
    """One page of a batch of three without a device, flash attention, two decode steps."""
    return reported(LYING, attention="flash", cache="in_place", batch_size=3, decode_tokens=2)


@pytest.fixture(scope="session")
def schema():
    """The schema of a report."""
    return validator_of("report-1")
