"""The fit finds the numbers back that made the measurements."""

import attrs
import pytest

from modelmeter.hardware.efficiency import Calibration, Efficiency
from modelmeter.hardware.machine import Machine
from modelmeter.live.calibration.attention import attention_cases, step
from modelmeter.live.calibration.fit import fit
from modelmeter.live.calibration.products import batched, experts, gate, grouped, linear, product_cases
from modelmeter.live.calibration.traffic import spread_bias, traffic_cases

SIZES = [(m, n, k) for m in (1, 4, 16, 64, 256, 1024) for n, k in ((256, 512), (1024, 1024), (4096, 512))]


@pytest.mark.parametrize("overlap", [0.0, 0.4, 1.0])
def test_products_without_noise(samples_of, device, overlap):
    made = Efficiency(tensor=0.8, memory=0.4, overlap=overlap, seconds=5e-6)
    found = fit(samples_of([linear(*size) for size in SIZES], made, device), device)
    assert list(found) == ["matmul"]
    assert attrs.asdict(found["matmul"].efficiency) == pytest.approx(attrs.asdict(made), rel=0.02, abs=0.02)
    assert found["matmul"].efficiency.seconds == pytest.approx(5e-6, rel=0.02)
    assert found["matmul"].worst_error < 0.01
    assert found["matmul"].operators == len(SIZES)


def test_products_with_five_percent_of_noise(samples_of, device):
    made = Efficiency(tensor=0.8, memory=0.4, overlap=0.3, seconds=5e-6)
    found = fit(samples_of([linear(*size) for size in SIZES], made, device, noise=0.05), device)["matmul"]
    assert found.efficiency.tensor == pytest.approx(0.8, rel=0.1)
    assert found.efficiency.memory == pytest.approx(0.4, rel=0.1)
    assert found.median_error < 0.05
    assert found.worst_error < 4 * 0.05


def test_one_odd_size_bends_nothing(samples_of, device):
    made = Efficiency(tensor=0.8, memory=0.4, seconds=5e-6)
    samples = samples_of([linear(*size) for size in SIZES], made, device)
    odd = attrs.evolve(samples[0], timing=attrs.evolve(samples[0].timing, seconds=10 * samples[0].timing.seconds))
    found = fit([odd, *samples[1:]], device)["matmul"]
    assert found.efficiency.tensor == pytest.approx(0.8, rel=0.05)
    assert found.efficiency.memory == pytest.approx(0.4, rel=0.05)
    assert found.worst_error == pytest.approx(0.9, abs=0.01)  # and it is said: predicted is a tenth of its time


def test_vector_and_memory_of_elementwise_operators(samples_of, device):
    made = Efficiency(vector=0.015, memory=0.6, seconds=1e-6)  # some sizes wait for one, some for the other
    cases = [case for case in traffic_cases(quick=False) if case.kind == "elementwise"]
    found = fit(samples_of(cases, made, device), device)["elementwise"]
    assert found.efficiency.vector == pytest.approx(0.015, rel=0.02)
    assert found.efficiency.memory == pytest.approx(0.6, rel=0.02)
    assert found.worst_error < 0.02


def test_seconds_a_row(samples_of, device):
    made = Efficiency(vector=0.5, memory=0.5, row_seconds=2e-8)
    cases = [spread_bias(heads, side) for heads in (2, 9) for side in (6, 14, 24, 40)]
    found = fit(samples_of(cases, made, device), device)["broadcast"]
    assert found.efficiency.row_seconds == pytest.approx(2e-8, rel=0.05)
    assert found.worst_error < 0.02


@pytest.mark.parametrize("block", [1.0, 128.0, 512.0])
def test_the_blocks_of_a_causal_kernel(samples_of, device, block):
    made = Efficiency(tensor=0.5, causal_block=block)
    cases = [case for case in attention_cases(quick=False) if case.kind == "attention"]
    found = fit(samples_of(cases, made, device), device)["attention"]
    assert found.efficiency.causal_block == block
    assert found.efficiency.tensor == pytest.approx(0.5, rel=0.02)


def test_a_rate_above_the_devices_own_is_no_share(samples_of, device):
    faster = attrs.evolve(device, vector={"bf16": 2e12, "fp32": 2e11}, bandwidth=2e10, l2_bandwidth=8e10)
    samples = samples_of([linear(*size) for size in SIZES], Efficiency(), faster)
    found = fit(samples, device)
    reached = found["matmul"].efficiency
    assert (reached.tensor, reached.memory) == pytest.approx((1, 1))  # at most the rate: never below the roofline
    assert found["matmul"].worst_error == pytest.approx(1.0)  # twice the time, and it is said


@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_samples_are_fitted_with_fewer_numbers(samples_of, device, number):
    made = Efficiency(tensor=0.5, memory=0.5)
    found = fit(samples_of([linear(*size) for size in SIZES[:: 18 // number][:number]], made, device), device)
    assert found["matmul"].worst_error < 0.05


def test_each_class_has_its_own(samples_of, device):
    cases = [gate(40, 64, 512), experts(20, 256, 512), grouped(20, 256, 512), batched(3, 40, 64, 40), step(1, 4, 100)]
    made = Efficiency(tensor=0.5, vector=0.5, memory=0.5)
    found = fit(samples_of(cases, made, device), device)
    assert set(found) == {"fp32_matmul", "matmul", "grouped_matmul", "batched_matmul", "attention_step"}


def test_calibrated_is_never_below_the_roofline(samples_of, device):
    cases = [*product_cases(quick=True), *attention_cases(quick=True), *traffic_cases(quick=True)]
    made = Efficiency(tensor=0.7, vector=0.05, memory=0.6, overlap=0.5, seconds=1e-6)
    fitted = fit(samples_of(cases, made, device, noise=0.5), device)
    classes = {kind: one.efficiency for kind, one in fitted.items()}
    calibrated = Machine(device=device, calibration=Calibration(classes=classes, host_seconds=0.0))
    roofline = Machine(device=device)
    for case in cases:
        assert calibrated.terms(case.op).seconds >= roofline.terms(case.op).seconds * (1 - 1e-12)
