"""What the twin predicts by stage and kind: it adds up to the times of `modelmeter time`, wherever it is counted."""

import numpy as np
import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.page_time import PageTime, time_page
from modelmeter.hardware.roofline import machine_of
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.profiles.kinds import KINDS
from modelmeter.profiles.prediction import Prediction, predict
from modelmeter.profiles.profile import Stage

VIEWS = ViewPlan.from_grid((2, 1))
STEPS = 5
MODEL = DeepseekOCRModel.from_config()
EVERY_SPLIT: list[tuple[Stage, ...]] = [
    ("unknown",),
    ("prefill", "decode"),
    ("vision", "prefill", "decode"),
    ("sam", "clip", "projector", "prefill", "decode", "unknown"),
    ("sam", "vision", "prefill", "decode"),
    ("clip", "prefill", "decode"),
]


def predicted(*stages: Stage, device: str = "h200", batch: int = 2, runs: int = 1, steps: int = STEPS) -> Prediction:
    """The prediction for a profile with these stages."""
    sizes = {"decode_tokens": steps, "batch_size": batch, "runs": runs}
    return predict(MODEL, VIEWS, machine_of(device), stages=stages, **sizes)


def timed(device: str = "h200", batch: int = 2) -> PageTime:
    """The same page by `time_page`."""
    return time_page(MODEL, VIEWS, device, decode_tokens=STEPS, batch_size=batch)


@pytest.mark.parametrize("stages", EVERY_SPLIT, ids=" ".join)
@pytest.mark.parametrize("device", ["h200", "cpu"])
def test_it_adds_up_to_the_time_of_the_page(stages: tuple[Stage, ...], device: str) -> None:
    found, page = predicted(*stages, device=device), timed(device)
    whole = found.of(stages)
    assert whole.seconds == pytest.approx(page.prefill.seconds.roofline + page.steps["roofline"].sum(), rel=1e-9)
    assert whole.launches == float(page.prefill.timeline.launches) + STEPS * float(page.decode.timeline.launches)
    assert sum(found.of(stages, kind).seconds for kind in KINDS) == pytest.approx(whole.seconds, rel=1e-12)
    assert found.of(stages, "unknown").seconds == 0


def test_each_stage_is_that_of_the_page() -> None:
    found, page = predicted("sam", "clip", "projector", "prefill", "decode"), timed()
    for part in ("sam", "clip", "projector"):
        assert found.of([part]).seconds == pytest.approx(float(page.prefill.parts[part].seconds), rel=1e-9)
    text = sum(float(page.prefill.parts[part].seconds) for part in ("embedding", "decoder", "lm_head"))
    assert found.of(["prefill"]).seconds == pytest.approx(text, rel=1e-9)
    assert found.of(["decode"]).seconds == pytest.approx(page.steps["roofline"].sum(), rel=1e-9)


def test_kernels_of_a_gpu_take_what_keeps_the_device_busy() -> None:
    """Waiting for launches is in `seconds` alone; on a CPU an operator is its own launch."""
    gpu = predicted("prefill", "decode").of(["decode"])
    busy = sum(item.busy for item in timed().decode.timeline.operators())
    assert gpu.kernel_seconds == pytest.approx(STEPS * busy, rel=1e-3)  # the first step's; later ones read more cache
    assert gpu.kernel_seconds < gpu.seconds
    cpu = predicted("prefill", "decode", device="cpu").of(["decode"])
    assert cpu.kernel_seconds == cpu.seconds


def test_what_has_no_range_counts_in_the_range_around_it() -> None:
    apart = predicted("sam", "clip", "projector", "prefill", "decode")
    vision = apart.of(["sam", "clip", "projector"]).seconds
    assert predicted("vision", "prefill", "decode").of(["vision"]).seconds == pytest.approx(vision)
    inside = predicted("prefill", "decode").of(["prefill"]).seconds
    assert inside == pytest.approx(vision + apart.of(["prefill"]).seconds)
    assert predicted("decode").stages == ("decode",)
    assert predicted("sam", "decode").of(["sam"]).seconds == pytest.approx(apart.of(["sam"]).seconds)


def test_the_work_is_that_of_the_page() -> None:
    page, device = timed(), timed().machine.device
    needed = page.prefill.floor.flops
    found = predicted("prefill", "decode").work
    assert sum(found["prefill"].needed_flops.values()) == needed
    assert found["prefill"].used_bytes == page.prefill.used_bytes
    assert found["prefill"].shares(device, page.prefill.seconds.roofline) == (page.prefill.mfu, page.prefill.mbu)
    apart = predicted("sam", "clip", "projector", "prefill").work
    assert sum(apart["all vision"].needed_flops.values()) == page.vision.floor.flops
    assert sum(apart["prefill"].needed_flops.values()) == needed - page.vision.floor.flops
    assert "sam" not in apart


def test_the_work_of_decode_is_that_of_all_its_steps() -> None:
    """Each step uses the weights, and the cache that has grown by a token of each of the two sequences."""
    first = timed().decode
    token = 2 * 2 * 12 * 10 * 128 * 2  # sequences, keys and values, layers, heads, width, bf16
    grown = token * sum(range(STEPS))
    assert predicted("decode").work["decode"].used_bytes == STEPS * first.used_bytes + grown


def test_vision_that_is_apart_in_part_has_no_work_of_its_own() -> None:
    found = predicted("sam", "prefill", "decode")
    assert set(found.work) == {"decode"}
    assert not found.complete
    assert predicted("sam", "clip", "projector", "prefill", "decode").complete


@pytest.mark.parametrize("stages", EVERY_SPLIT, ids=" ".join)
def test_twice_the_runs_is_twice_all(stages: tuple[Stage, ...]) -> None:
    once, twice = predicted(*stages), predicted(*stages, runs=2)
    assert twice.parts.keys() == once.parts.keys()
    for key, part in once.parts.items():
        assert twice.parts[key].seconds == 2 * part.seconds
        assert twice.parts[key].launches == 2 * part.launches
    for name, work in once.work.items():
        assert twice.work[name].used_bytes == 2 * work.used_bytes


def test_a_step_more_is_its_own_time_more() -> None:
    whole = [predicted("decode", steps=steps).of(["decode"]).seconds for steps in (0, 1, 2, 3)]
    steps = timed().steps["roofline"]
    assert np.diff(whole) == pytest.approx(steps[:3])


def test_a_profile_without_decode_predicts_none() -> None:
    found = predicted("prefill", steps=0)
    assert found.stages == ("prefill",)


@pytest.mark.parametrize("sizes", [{"steps": -1}, {"steps": 10**9}, {"runs": 0}, {"batch": 0}])
def test_sizes_that_cannot_be(sizes: dict[str, int]) -> None:
    with pytest.raises(ModelMeterError):
        predicted("decode", **sizes)
