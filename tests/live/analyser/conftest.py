"""Static analyses to look at: of a small real model, and of the released sizes on meta."""

import pytest
from support.small import CONTEXT, small_config

from modelmeter import DeepseekOCRConfig, plan_views
from modelmeter.live.analyser.analyser import DeepseekOCRStaticAnalyzer
from modelmeter.live.analyser.data import StaticAnalysis
from modelmeter.live.analyser.grid import Grid
from modelmeter.live.analyser.scaling import StaticScaling
from modelmeter.live.verification.points import parse_views

SMALL_VIEWS = parse_views("512x512,256x256*2")
A4 = plan_views(1654, 2339)  # 2 x 3 tiles: 903 image tokens
STEPS = 3


@pytest.fixture(scope="session")
def small() -> DeepseekOCRStaticAnalyzer:
    """The small sizes, without data."""
    return DeepseekOCRStaticAnalyzer.from_config(DeepseekOCRConfig.from_hf(small_config()))


@pytest.fixture(scope="session")
def released() -> DeepseekOCRStaticAnalyzer:
    """The released sizes, without data."""
    return DeepseekOCRStaticAnalyzer.from_config()


@pytest.fixture(scope="session")
def analysis(small: DeepseekOCRStaticAnalyzer) -> StaticAnalysis:
    """The small model on a page with tiles, and some decode steps."""
    return small.analyze(small.point(SMALL_VIEWS, context_len=CONTEXT, decode_steps=STEPS))


@pytest.fixture(scope="session")
def page(released: DeepseekOCRStaticAnalyzer) -> StaticAnalysis:
    """The released model on an A4 page, one decode step."""
    return released.analyze(released.point(A4, page="1654x2339"))


@pytest.fixture(scope="session")
def scaled(small: DeepseekOCRStaticAnalyzer) -> StaticScaling:
    """The small model over a grid."""
    return small.scaling(Grid(lengths=(CONTEXT, 2 * CONTEXT), decode_steps=(1, 3), batches=(1, 2)))
