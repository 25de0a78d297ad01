"""Shared by the tests of studies: setups, and one point asked of the model itself."""

import numpy as np
import pytest

from modelmeter import DeepseekOCRModel, ViewPlan
from modelmeter.core.cost import COST_FIELDS
from modelmeter.sweeps.studies.setup import Setup

TOKEN = 2 * 12 * 10 * 128 * 2  # bytes that a token holds: keys and values, layers, heads, width, bf16


@pytest.fixture(scope="session")
def setup():
    """Both kinds of attention, no device."""
    return Setup(model=DeepseekOCRModel.from_config())


@pytest.fixture(scope="session")
def timed():
    """The same on two devices."""
    return Setup(model=DeepseekOCRModel.from_config(), devices=("h200", "a100-40g"))


@pytest.fixture(scope="session")
def grid_views():
    """grid_views("2x3"): the views of that grid."""
    return lambda label: ViewPlan.from_grid(tuple(int(side) for side in label.split("x")))


@pytest.fixture(scope="session")
def agrees():
    """agrees(dataset, model, **place): the numbers there are those of the stage that the model stands at."""

    def check(dataset, model, **place):
        here, stage = dataset.sel(place), model.get_forward_cost()
        for name in COST_FIELDS:
            assert int(here[name]) == getattr(stage.cost, name)
        assert int(here["activation_peak_bytes"]) == stage.activations_bytes
        assert int(here["kv_cache_bytes"]) == stage.kv_cache_bytes
        assert int(here["weights_bytes"]) == stage.weights_bytes
        assert here["flops"].dtype == np.int64

    return check
