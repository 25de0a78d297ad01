"""Measured scaling of the vendor's own code: counted FLOPs are those of the analytic model, to the last."""

from fractions import Fraction
from pathlib import Path

import pytest

from modelmeter import DeepseekOCRConfig
from modelmeter.live.measuring.measure import measure_scaling
from modelmeter.live.measuring.point import count_flops
from modelmeter.live.measuring.request import MeasureRequest
from modelmeter.live.running.request import ModelChoice
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.report.scaling_compare.measured import CONFIG, FILE, read_measured
from modelmeter.report.scaling_compare.predict import counted_flops

STEPS = 3


@pytest.mark.parametrize("attention", ["eager", "flash"])
@pytest.mark.parametrize(("length", "batch"), [(1, 1), (17, 1), (40, 3)])
def test_counted_flops(small_weights: Path, attention: str, length: int, batch: int) -> None:
    choice = ModelChoice(model_path=small_weights, trust_remote_code=True, attention=attention)
    session: DeepSeekOCRSession = choice.open()
    prefill, decode = count_flops(session, session.synthetic_inputs(length, batch_size=batch), STEPS)
    sizes = {"length": length, "batch_size": batch, "decode_steps": STEPS}
    found = counted_flops(session.config, session.conventions, **sizes)
    assert found == {"prefill": prefill, "decode": Fraction(decode, STEPS)}


def test_a_folder_is_measured_and_its_configuration_kept(small_weights: Path, tmp_path: Path) -> None:
    found = measure_scaling(
        ModelChoice(model_path=small_weights, trust_remote_code=True),
        MeasureRequest(seq_lens=(8, 16), decode_steps=2, repeats=2),
        tmp_path,
    )
    assert read_measured(tmp_path / FILE) == found and found.complete
    assert found.conventions.implementation == "vendor" and found.versions.transformers.startswith("4.46.")
    assert DeepseekOCRConfig.from_hf(tmp_path / CONFIG) == found.config == DeepseekOCRConfig.from_hf(small_weights)
