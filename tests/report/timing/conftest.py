"""Shared by the tests of times: timings to look at."""

import pytest
from support.devices import made_up
from support.schema import validator_of

from modelmeter.documents import Page, PageError
from modelmeter.hardware.efficiency import CLASSES, Calibration, Efficiency
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.roofline import machine_of
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.report.analysis import Workload
from modelmeter.report.timing.timing import time_pages

A4 = Page("a.pdf", 1, 1191, 1684, "a.pdf p1")
RECEIPT = Page("b.png", 1, 600, 620, "b.png")
BAD = PageError("c.pdf", "the PDF is damaged")
CALIBRATION = Calibration(
    classes=dict.fromkeys(CLASSES, Efficiency(tensor=0.6, vector=0.5, memory=0.8, seconds=1e-6)),
    host_seconds=8e-6,
    provenance={"date": "2026-11-01", "library": "torch 2.13"},
)


@pytest.fixture(scope="session")
def machine():
    """machine(device, execution, calibrated): a catalogued device by name, or the made-up one."""

    def build(device="h200", execution="eager", calibrated=False, **given):
        known = made_up(multiprocessors=108) if device == "made-up" else machine_of(device).device
        return Machine(device=known, execution=execution, calibration=CALIBRATION if calibrated else None, **given)

    return build


@pytest.fixture(scope="session")
def timed(machine):
    """timed(*pages, device..., conventions..., workload..., more...): times; keywords go where they belong."""

    def run(*pages, device="h200", execution="eager", calibrated=False, **options):
        chosen = {name: options.pop(name) for name in list(options) if name in Conventions.__annotations__}
        given = {name: options.pop(name) for name in list(options) if name == "given_host_seconds"}
        work = {name: options.pop(name) for name in list(options) if name in Workload.__annotations__}
        return time_pages(
            pages,
            machine(device, execution, calibrated, **given),
            workload=Workload(**work),
            conventions=Conventions(**chosen),
            **options,
        )

    return run


@pytest.fixture(scope="session")
def document(timed):
    """An A4 page, another of its kind, a receipt without tiles and a bad file."""
    pages = [A4, Page("scan|2.png", 1, 1190, 1684, "scan|2.png"), RECEIPT, BAD]
    return timed(*pages, decode_tokens=5, by_layer=2)


@pytest.fixture(scope="session")
def validator():
    """The schema of times."""
    return validator_of("time-1")
