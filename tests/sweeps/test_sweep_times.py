"""Times of a sweep: those of `time_stage` and `time_page`, and many decode steps as the sum of single ones."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from support.alone import time_alone

import modelmeter as mm

CALIBRATED = Path(__file__).resolve().parents[2] / "bench" / "results" / "cpu-device.toml"
CLOSE = 1e-12  # relative: the same sums of floats, in another order
MACHINES = {"device": ["h200", "a100-40g"], "execution": ["graph", "fused"]}
STAGES = {
    "vision": {"batch_size": [1, 3], "grid": ["2x3"]},
    "prefill": {"grid": ["1x1", "2x3"], "prompt_tokens": [700]},
    "decode": {"context_len": [1, 30_000], "batch_size": [64], "precision": ["bf16", "int4"]},
}


def swept(over, **options):
    """A sweep of the released model."""
    return mm.sweep(mm.DeepseekOCRModel.from_config(), over, **options)


@pytest.mark.parametrize("stage", STAGES)
def test_a_points_times_are_those_of_its_stage(stage):
    over = {**STAGES[stage], **MACHINES}
    found = swept(over, stage=stage)
    names = list(over)
    for labels in itertools.product(*over.values()):
        point = dict(zip(names, labels, strict=True))
        here, alone = found.sel(point), time_alone(stage, point)
        times = {
            "bound_seconds": alone.seconds.bound,
            "roofline_seconds": alone.seconds.roofline,
            "seconds": alone.seconds.predicted,
            "mfu": alone.mfu,
            "mbu": alone.mbu,
        }
        assert {name: here[name].item() for name in times} == pytest.approx(times, rel=CLOSE, abs=0), point


def test_a_calibrated_device_predicts_by_its_calibration():
    found = swept({"context_len": [64, 913], "device": CALIBRATED}, stage="decode")
    for context in (64, 913):
        alone = time_alone("decode", {"context_len": context, "device": CALIBRATED})
        assert alone.calibrated is not None
        here = found.sel(context_len=context)
        assert here.seconds.item() == pytest.approx(alone.seconds.calibrated, rel=CLOSE)
        assert here.roofline_seconds.item() == pytest.approx(alone.seconds.roofline, rel=CLOSE)
        assert here.roofline_seconds.item() != here.seconds.item()


def test_a_run_is_a_page():
    device = mm.get_device("h200")
    over = {"grid": ["1x1", "2x3"], "prompt_tokens": [10, 200], "decode_tokens": [1, 33], "batch_size": [4]}
    found = swept(over, stage="run", device=device)
    for grid, prompt, tokens, batch in itertools.product(*over.values()):
        views = mm.ViewPlan.from_grid(tuple(map(int, grid.split("x"))))
        sizes = {"prompt_tokens": prompt, "decode_tokens": tokens, "batch_size": batch}
        page = mm.time_page(mm.DeepseekOCRModel.from_config(), views, device, **sizes)
        here = found.sel(grid=grid, **sizes)
        assert here.ttft_seconds.item() == pytest.approx(page.ttft.predicted, rel=CLOSE)
        assert here.tpot_seconds.item() == pytest.approx(page.tpot.predicted, rel=CLOSE)
        assert here.seconds.item() == pytest.approx(page.total.predicted, rel=CLOSE)
        assert here.bound_seconds.item() == pytest.approx(page.total.bound, rel=CLOSE)
        assert here.roofline_seconds.item() == pytest.approx(page.total.roofline, rel=CLOSE)


@pytest.mark.parametrize("device", ["h200", CALIBRATED], ids=["roofline", "calibrated"])
def test_many_decode_steps_take_the_sum_of_single_ones(device):
    levels = ["bound_seconds", "roofline_seconds", "seconds"]
    batches, starts, tokens = [1, 8], [1, 100, 9_000], [1, 2, 40]
    over = {"batch_size": batches, "context_len": starts, "decode_tokens": tokens}
    many = swept(over, stage="decode", device=device, quantities=levels)
    single = {"batch_size": batches, "cache_len": np.arange(1, 9_100)}
    steps = swept(single, stage="decode", device=device, quantities=levels)
    for level, batch, start, count in itertools.product(levels, *over.values()):
        alone = steps[level].sel(batch_size=batch, cache_len=slice(start, start + count - 1)).values
        assert len(alone) == count
        here = many[level].sel(batch_size=batch, context_len=start, decode_tokens=count).item()
        # each step is a whole number of 2**-58 s: half of that off at most, 1e-14 of a step of 0.2 ms
        assert here == pytest.approx(math.fsum(alone), rel=CLOSE)


def test_a_points_time_does_not_depend_on_the_others():
    alone = swept({"context_len": [5000], "decode_tokens": [7]}, stage="decode", device="h200")
    among = swept({"context_len": [3, 5000, 123_457], "decode_tokens": [1, 7]}, stage="decode", device="h200")
    for level in ("bound_seconds", "roofline_seconds", "seconds"):
        assert among[level].sel(context_len=5000, decode_tokens=7) == alone[level].squeeze()


def test_costs_have_no_device():
    found = swept({"context_len": [5, 6], "device": ["h200", "b300"]}, stage="decode", execution=["eager", "graph"])
    assert found.flops.dims == ("context_len",)
    assert found.seconds.dims == ("context_len", "device", "execution")


def test_a_device_is_not_timed_for_costs_alone():
    # 10**9 decode steps are too many to time one by one, and nothing has to
    over = {"context_len": [1, 2], "decode_tokens": [10**9]}
    assert swept(over, stage="decode", device="h200", quantities="flops").flops.min() > 0
    with pytest.raises(mm.ModelMeterError, match="1,000,000,001 different decode steps to time, at most 20,000,000"):
        swept(over, stage="decode", device="h200", quantities="seconds")


def test_times_of_sizes_that_int64_does_not_hold_are_seconds():
    over = {"context_len": [10, 10**9], "batch_size": [1, 10**6]}
    found = swept(over, stage="prefill", device="h200")
    assert found.seconds.dtype == found.mfu.dtype == found.arithmetic_intensity.dtype == np.float64
    for context, batch in itertools.product(*over.values()):
        here = found.sel(context_len=context, batch_size=batch)
        alone = time_alone("prefill", {"context_len": context, "batch_size": batch, "device": "h200"})
        assert here.seconds.item() == pytest.approx(alone.seconds.predicted, rel=CLOSE)
        assert here.mfu.item() == pytest.approx(alone.mfu, rel=CLOSE)
        assert here.arithmetic_intensity.item() == alone.cost.flops / alone.cost.io_bytes
