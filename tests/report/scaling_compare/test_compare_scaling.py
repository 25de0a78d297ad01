"""Predicted and measured scaling joined by length: differences, ratios, and what MFU and MBU are made of."""

from fractions import Fraction
from typing import Any

import attrs
import pytest
from support.devices import made_up
from support.scaling import REAL, STEPS, analytic, measured, without_counts

from modelmeter import DeepseekOCRModel
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import StageTime, time_stage

from .conftest import Compared

MACHINE = Machine(device=made_up(), execution="eager")


def test_flops_are_joined_by_length(compared: Compared) -> None:
    """Prefill 100 -> 110 and 200 -> 200; of four decode steps 40 -> 38 and 80 -> 80."""
    found = compared(
        analytic({16: (100, 40), 32: (200, 80), 64: (1, 1)}), measured({32: (200, 80), 8: (1, 1), 16: (110, 38)})
    )
    assert [(pair.length, pair.stage) for pair in found.pairs] == [
        (16, "prefill"),
        (16, "decode"),
        (32, "prefill"),
        (32, "decode"),
    ]
    assert [pair.difference for pair in found.pairs] == [10, Fraction(38 - 40, STEPS), 0, 0]
    assert [pair.relative for pair in found.pairs] == [Fraction(10, 100), Fraction(-2, 40), 0, 0]
    assert (found.only_analytic, found.only_measured) == ((64,), (8,))
    assert found.largest is found.pairs[0]


@pytest.mark.parametrize(
    ("threshold", "exceeding"), [(Fraction(1, 10), 0), (Fraction(99, 1000), 1), (Fraction(1, 20), 1), (0, 2)]
)
def test_a_threshold_is_for_both_directions_and_not_reached_by_what_equals_it(
    compared: Compared, threshold: Any, exceeding: int
) -> None:
    found = compared(
        analytic({16: (100, 40), 32: (200, 80)}), measured({16: (110, 38), 32: (200, 80)}), threshold=threshold
    )
    assert found.exceeding == exceeding


def test_what_was_none_exceeds_any_threshold(compared: Compared) -> None:
    found = compared(analytic({16: (0, 40)}), measured({16: (5, 40)}), threshold=Fraction(100))
    assert (found.pairs[0].relative, found.exceeding) == (None, 1)


def test_statistics_are_of_sizes(compared: Compared) -> None:
    """Relative differences of +10%, -20% and 0: the mean is 10%, the median 10%, the largest 20%."""
    ours = analytic({16: (100, 4), 32: (100, 4), 64: (100, 4)})
    found = compared(ours, measured({16: (110, 4), 32: (80, 4), 64: (100, 4)}))
    assert attrs.astuple(found.flops_statistics("prefill")) == pytest.approx((0.1, 0.1, 0.2))
    assert attrs.astuple(found.flops_statistics("decode")) == (0, 0, 0)
    assert found.time_statistics("prefill") is None  # nothing is predicted


def test_other_numbers_of_steps_are_compared_a_step(compared: Compared) -> None:
    """8 steps of 10 each are 80, 4 of them 40."""
    found = compared(analytic({16: (100, 40)}), measured({16: (100, 80)}, decode_steps=8))
    assert [(setting.name, setting.a, setting.b) for setting in found.settings] == [("decode_steps", 4, 8)]
    assert found.exceeding == 0 and found.pairs[1].difference == 0


def test_settings_that_differ_are_named_conventions_first(compared: Compared) -> None:
    ours = analytic({16: (1, 1)}, conventions=attrs.evolve(REAL, logits="all", attention="flash"), batch_size=2)
    found = compared(ours, measured({16: (1, 1)}))
    assert [(setting.name, setting.a, setting.b) for setting in found.settings] == [
        ("conventions.attention", "flash", "eager"),
        ("conventions.logits", "all", "last"),
        ("batch_size", 2, 1),
    ]


def test_without_counts_there_are_times_alone(compared: Compared) -> None:
    found = compared(analytic({16: (100, 40)}), without_counts(measured({16: (1, 1)})), threshold=Fraction(0))
    assert [pair.difference for pair in found.pairs] == [None, None]
    assert [pair.seconds for pair in found.pairs] == [0.080, 0.005]
    assert found.exceeding == 0 and found.flops_statistics("prefill") is None


def stages(length: int, batch: int) -> tuple[StageTime, list[StageTime]]:
    """The prefill and each decode step by itself, with whole numbers for lengths."""
    model = DeepseekOCRModel.from_config(**attrs.asdict(REAL))
    model.start_prefill(length, batch)
    prefill, steps = time_stage(model, MACHINE), []
    model.start_decode()
    for _ in range(STEPS):
        steps.append(time_stage(model, MACHINE))
        model.decode_one_token()
    return prefill, steps


@pytest.mark.parametrize("batch", [1, 3])
def test_times_and_utilisation_are_those_of_the_stages(compared: Compared, batch: int) -> None:
    """Of decode: the mean of the steps' times, and what all steps need over what all took."""
    found = compared(
        analytic({48: (1, 1)}, batch_size=batch), measured({48: (1, 1)}, batch_size=batch), machine=MACHINE
    )
    prefill, decode = found.pairs
    whole, steps = stages(48, batch)
    assert prefill.predicted is not None and decode.predicted is not None
    assert prefill.predicted.seconds == whole.seconds
    for level in ("bound", "roofline"):
        mean = sum(getattr(step.seconds, level) for step in steps) / STEPS
        assert getattr(decode.predicted.seconds, level) == pytest.approx(mean, rel=1e-12)
    assert prefill.ratio == pytest.approx(0.080 / whole.seconds.roofline, rel=1e-12)
    assert decode.ratio == pytest.approx(0.005 * STEPS / sum(step.seconds.roofline for step in steps), rel=1e-12)
    assert prefill.mfu == pytest.approx(whole.mfu * whole.seconds.roofline / 0.080, rel=1e-12)
    assert prefill.mbu == pytest.approx(whole.mbu * whole.seconds.roofline / 0.080, rel=1e-12)
    needed = sum(step.mfu * step.seconds.roofline for step in steps)
    used = sum(step.mbu * step.seconds.roofline for step in steps)
    assert decode.mfu == pytest.approx(needed / (0.005 * STEPS), rel=1e-12)
    assert decode.mbu == pytest.approx(used / (0.005 * STEPS), rel=1e-12)


def test_utilisation_by_hand(compared: Compared) -> None:
    """A decode step reads the head's weights at least: 2 bytes of 129,280 x 1,280, of 1 TB/s in 5 ms."""
    found = compared(analytic({48: (1, 1)}), measured({48: (1, 1)}), machine=MACHINE)
    head = 2 * 129_280 * 1_280
    mbu = found.pairs[1].mbu
    assert mbu is not None and head / (1e12 * 0.005) < mbu < 6_672_212_480 / (1e12 * 0.005)


def test_fp16_is_predicted_in_fp16(compared: Compared) -> None:
    """The products of bf16 become products of fp16, as many; those of the gate stay in fp32."""
    needed = []
    for kind, dtype in (("bf16", "bfloat16"), ("fp16", "float16")):
        text = {"precision": f"all weights {kind}; KV cache {kind}"}
        found = compared(analytic({64: (1, 1)}, **text), measured({64: (1, 1)}, dtype=dtype, **text), machine=MACHINE)
        assert found.settings == () and found.pairs[0].predicted is not None
        needed.append(found.pairs[0].predicted.needed_flops)
    assert [set(flops) for flops in needed] == [{"bf16", "fp32"}, {"fp16", "fp32"}]
    assert needed[0]["bf16"] == needed[1]["fp16"]
