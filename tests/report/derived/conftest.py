"""Shared by the tests of derived tables."""

import pytest

from modelmeter.hardware import catalogue
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.derived.derive import derive_table
from modelmeter.report.derived.work import TableWork
from modelmeter.sweeps.shapes import Shape

GRIDS = [(1, 1), (1, 2), (2, 3), (3, 2), (9, 1), (4, 8)]


@pytest.fixture(autouse=True)
def own_devices(monkeypatch, tmp_path):
    """No device file of the user."""
    monkeypatch.setattr(catalogue, "user_file", lambda: tmp_path / "none.toml")


@pytest.fixture(scope="session")
def derived():
    """derived(name, grids, devices, precision, conventions and work by name): a table."""

    def run(name, grids=GRIDS, devices=(), precision=None, **options):
        work = {field: options.pop(field) for field in TableWork.__annotations__ if field in options}
        return derive_table(
            name,
            model=DeepseekOCRModel.from_config(precision=precision, **options),
            shapes=[Shape.of(*grid) for grid in grids],
            work=TableWork(**work),
            devices=devices,
        )

    return run
