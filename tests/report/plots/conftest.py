"""Studies to draw, made once: small sweeps of the released model."""

import pytest

from modelmeter import DeepseekOCRModel, plan_views
from modelmeter.sweeps.studies.setup import Setup
from modelmeter.sweeps.study import Study
from modelmeter.sweeps.sweep import sweep

BOTH = {"attention": ["eager", "flash"]}
GRIDS = [(1, 1), (2, 1), (1, 2), (3, 2), (2, 3), (3, 3)]
LENGTHS = [256, 1024, 4096]
DEVICES = ["l4", "h200"]


def study(name, **datasets):
    """A study of some datasets."""
    return Study(name=name, description="for a test", datasets=datasets)


@pytest.fixture(scope="session")
def model():
    """The released model, text only. Tests leave it without views."""
    return DeepseekOCRModel.from_config()


@pytest.fixture(scope="session")
def grids(model):
    """Vision, prefill and 100 decode steps over tile grids, eager and flash."""
    over = {"grid": GRIDS, **BOTH}
    return study(
        "grids",
        decode=sweep(model, {**over, "decode_tokens": 100}, stage="decode"),
        vision=sweep(model, over, stage="vision"),
        prefill=sweep(model, over, stage="prefill"),
    )


@pytest.fixture(scope="session")
def lengths(model):
    """Prefill and 16 decode steps over context lengths, eager and flash, on two devices."""
    over = {"context_len": LENGTHS, **BOTH}
    return study(
        "lengths",
        prefill=sweep(model, over, stage="prefill", device=DEVICES),
        decode=sweep(model, {**over, "decode_tokens": 16}, stage="decode", device=DEVICES),
    )


@pytest.fixture(scope="session")
def precisions(model):
    """One context in several precisions."""
    over = {"precision": ["bf16", "fp8", "int4"], "context_len": 1000}
    return study("precisions", prefill=sweep(model, over, stage="prefill", device="h200"))


@pytest.fixture(scope="session")
def pages():
    """The study of pages: 3 without tiles, 2 of A4."""
    from modelmeter.sweeps.studies.pages import pages

    sizes = [(500, 600)] * 3 + [(1654, 2339)] * 2
    return pages(Setup(model=DeepseekOCRModel.from_config(), devices=("h200",)), sizes, decode_steps=4)


@pytest.fixture
def page_model():
    """A model of its own with the views of an A4 page."""
    model = DeepseekOCRModel.from_config()
    model.set_views(plan_views(1654, 2339))
    return model
