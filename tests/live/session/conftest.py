"""A small session with random weights, and views that it takes in a moment."""

from typing import Any

import pytest

from modelmeter import ViewPlan
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL

TILED = ViewPlan.from_grid((2, 1), base_size=256, tile_size=128)
ONE_VIEW = ViewPlan.from_grid((1, 1), base_size=256)


@pytest.fixture(scope="package")
def session() -> DeepSeekOCRSession:
    """Eager attention, bf16, on the CPU."""
    return DeepSeekOCRSession.from_config(SMALL)


@pytest.fixture
def quick() -> dict[str, Any]:
    """No warm-up, one prefill: for what is not about timing."""
    return {"warm_up": 0, "repeats": 1}
