"""Counted FLOPs of the real model are those of the analytic one, to the last, at every length, batch and kind."""

from fractions import Fraction
from typing import Any

import attrs
import pytest

from modelmeter import DeepseekOCRModel
from modelmeter.live.measuring.point import count_flops
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL
from modelmeter.report.scaling_compare.predict import counted_flops

STEPS = 3


def analytic(session: DeepSeekOCRSession, length: int, batch: int) -> tuple[int, int]:
    """Prefill, and the sum of the steps, one by one."""
    model = DeepseekOCRModel.from_config(session.config, **attrs.asdict(session.conventions))
    model.start_prefill(length, batch)
    prefill, decode = model.cost().counted_flops, 0
    model.start_decode()
    for _ in range(STEPS):
        decode += model.cost().counted_flops
        model.decode_one_token()
    return prefill, decode


@pytest.mark.parametrize("length", [1, 2, 17, 64])
@pytest.mark.parametrize("batch", [1, 3])
def test_eager(session: DeepSeekOCRSession, length: int, batch: int) -> None:
    inputs = session.synthetic_inputs(length, batch_size=batch)
    assert count_flops(session, inputs, STEPS) == analytic(session, length, batch)


@pytest.mark.parametrize(
    "options",
    [{"attention": "flash"}, {"dtype": "float16"}, {"layers": 2}, {"experts": "grouped_mm"}],
    ids=lambda options: "-".join(map(str, *options.items())),
)
def test_other_kinds(options: dict[str, Any]) -> None:
    session = DeepSeekOCRSession.from_config(SMALL, **options)
    assert count_flops(session, session.synthetic_inputs(20, batch_size=2), STEPS) == analytic(session, 20, 2)


def test_what_the_comparison_asks_the_twin_is_the_same(session: DeepSeekOCRSession) -> None:
    sizes = {"length": 20, "batch_size": 2, "decode_steps": STEPS}
    found = counted_flops(session.config, session.conventions, **sizes)
    prefill, decode = count_flops(session, session.synthetic_inputs(20, batch_size=2), STEPS)
    assert found == {"prefill": prefill, "decode": Fraction(decode, STEPS)}


def test_logits_of_all_positions_would_be_more(session: DeepSeekOCRSession) -> None:
    """19 positions more, 2 FLOPs for each weight of the head [512 256]: the session leaves them out."""
    last = count_flops(session, session.synthetic_inputs(20), 1)[0]
    every = attrs.evolve(session.conventions, logits="all")
    found = counted_flops(session.config, every, length=20, batch_size=1, decode_steps=1)
    assert found["prefill"] - last == 19 * 2 * 512 * 256
