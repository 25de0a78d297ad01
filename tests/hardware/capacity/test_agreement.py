"""Closed form and simulation agree; bench/plan_accuracy.py measures it on devices, with longer simulations."""

import pytest

from modelmeter.hardware.capacity.closed_form import ClosedForm
from modelmeter.hardware.capacity.server import Server
from modelmeter.hardware.capacity.simulation import Sampling, simulate, simulate_saturated

from .conftest import LinearTimes

SAMPLING = Sampling(pages=3000, warm_up=1500, relative=0.02, least=4, most=6)
TIMES = {
    "balanced": LinearTimes(step_page=1e-4, chunk_token=3e-5, sizes=(1.0, 2.5), host=0.01),
    "heavy prefill": LinearTimes(vision=0.08, prefill=0.08, step_page=1e-4, chunk_token=6e-5, sizes=(1.0, 2.0)),
    "heavy decode": LinearTimes(vision=0.005, prefill=0.005, step=0.02, step_page=5e-4, chunk_token=1e-5),
}


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("policy", ["prefill-first", "chunked"])
@pytest.mark.parametrize("load", [0.25, 0.75])
def test_latencies_agree_within_a_tenth(mixed, times, policy, load):
    server = Server(max_batch=256, policy=policy, host_workers=4)
    form = ClosedForm(mixed, server, TIMES[times])
    predicted = form.at(load * form.saturation)
    measured = simulate(mixed, server, TIMES[times], predicted.rate, SAMPLING, first_batch=predicted.mean_batch)
    for name in ("ttft_mean", "ttft_p95", "tpot_mean", "tpot_p95"):
        assert getattr(predicted, name) == pytest.approx(getattr(measured, name).mean, rel=0.10), name


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("policy", ["prefill-first", "chunked"])
@pytest.mark.parametrize("batch", [16, 128])
def test_saturation_agrees_within_a_twentieth(mixed, times, policy, batch):
    server = Server(max_batch=batch, policy=policy)
    measured = simulate_saturated(mixed, server, TIMES[times], SAMPLING)
    assert ClosedForm(mixed, server, TIMES[times]).gpu_saturation == pytest.approx(measured.mean, rel=0.05)
