"""Reports of verifications to look at: one of a small real model, and one made up in which much is wrong."""

import attrs
import pytest
from support.schema import validator_of
from support.small import CONTEXT, VIEWS, small_config

from modelmeter import Conventions, DeepseekOCRConfig, ViewPlan
from modelmeter.core.trace import Unpriced
from modelmeter.live.verification.compare import Check, OperatorCheck, Row
from modelmeter.live.verification.points import Sizes, points_of
from modelmeter.live.verification.selection import Report, Shown, select
from modelmeter.live.verification.verify import Comparison, Point, Routing, Verification, verify


@pytest.fixture(scope="session")
def verification():
    """Every stage of a small model, two decode steps."""
    from modelmeter.live.reference.transformers5 import UnlimitedOcr

    adapter = UnlimitedOcr(DeepseekOCRConfig.from_hf(small_config()))
    return verify(adapter, points_of(Sizes(views=VIEWS, context_len=(CONTEXT,), decode_steps=2)))


@pytest.fixture(scope="session")
def report(verification):
    """All of it."""
    return select(verification)


@pytest.fixture(scope="session")
def validator():
    """The schema of a verification."""
    return validator_of("verification-1")


def row(path, layer, times, flops=(6 * 10**9, 6 * 10**9), peak=(1000, 1000), operators=(), **more):
    """A row of two exact quantities and two bounded ones; each is (measured, analytic)."""
    checks = (
        Check("counted_flops", *flops),
        Check("parameters", *more.get("parameters", (2**20, 2**20))),
        Check("parameter_bytes", *more.get("parameter_bytes", (2**21, 2**21))),
        Check("activation_bytes", *more.get("activations", (10**6, 1_012_345)), 0.05),
        Check("peak_bytes", *peak, 0.15),
    )
    others = tuple(path.replace(".0", f".{i}", 1) for i in range(1, times))
    return Row((path, *others), layer, checks, tuple(operators))


MM = OperatorCheck("mm", 3, 3, 600, 600, 60, 60)
ONLY_REAL = OperatorCheck("aminmax", 1, 0, 0, 0, 8, 0)
ONLY_TWIN = OperatorCheck("clone", 0, 2, 0, 0, 0, 16)
WRONG_MM = OperatorCheck("mm", 3, 3, 600, 500, 60, 60)


@pytest.fixture(scope="session")
def sound():
    """A made-up verification in which all is well: vision, and two steps of decode with real routing."""
    vision = Comparison(
        Point(stage="vision", views=ViewPlan.from_grid((2, 3))),
        row("", "", 1, operators=[MM, ONLY_REAL]),
        (row("model.sam_model", "ImageEncoderViT", 1), row("model.sam_model.blocks.0", "Block", 12, operators=[MM])),
        (),
    )
    steps = [
        Comparison(
            Point(stage="decode", context_len=913, step=step, batch=2),
            row("", "", 1, (5, 5), operators=[MM, ONLY_TWIN]),
            (row("lm_head", "LMHead", 1, (2, 2)), row("model.layers.0", "DeepseekV2DecoderLayer", 12, (step, step))),
            (),
            Routing((4, 5, 3), 4.5, 8),
        )
        for step in range(2)
    ]
    return Verification("a model|made up", Conventions(coverage="max"), (vision, *steps))


@pytest.fixture(scope="session")
def broken(sound):
    """The same with much wrong: an inner layer and all around it, a peak, an operator, one that nobody prices."""
    vision, step, last = sound.comparisons
    off = (6 * 10**9, 6 * 10**9 + 128)
    vision = attrs.evolve(
        vision,
        total=row("", "", 1, off, operators=[WRONG_MM, ONLY_REAL]),
        layers=(
            row("model.sam_model", "ImageEncoderViT", 1, off),
            row("model.sam_model.blocks.0", "Block", 8, off),
            row("model.sam_model.blocks.2", "Block", 4, off),
            row("model.sam_model.blocks.0.attn", "Attention", 12, off, (1000, 2000)),
            row("model.projector", "MlpProjector", 1, operators=[WRONG_MM]),
            row("model.splice", "Splice", 1, activations=(0, 5)),
        ),
        unpriced=(Unpriced("fft", "model.sam_model.neck", 3),),
    )
    return Verification(sound.reference, sound.conventions, (vision, step, last))


@pytest.fixture(scope="session")
def sound_report(sound):
    """Everything of `sound`."""
    return select(sound)


@pytest.fixture(scope="session")
def broken_report(broken) -> Report:
    """Everything of `broken`."""
    return select(broken)


@pytest.fixture(scope="session")
def nothing() -> Report:
    """A report of one point without rows."""
    return Report("none", Conventions(), (Shown(Point(stage="vision"), None, (), ()),))
