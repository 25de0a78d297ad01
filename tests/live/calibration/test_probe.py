"""A probe of a made-up GPU: the fit finds its numbers back from half of the rows, and predicts the rest."""

import json

import numpy as np
import pytest

from modelmeter import DeepseekOCRModel, ModelMeterError, ViewPlan
from modelmeter.hardware.device import Device
from modelmeter.hardware.efficiency import Calibration, Efficiency
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import time_stage
from modelmeter.live.calibration.probe import compare_probe, probe_samples, read_probe

PEAK, VECTOR, BANDWIDTH, HOST = 1e15, 5e13, 4e12, 9e-6
GPU = Device(
    name="made-up",
    title="Made up",
    tensor={"bf16": PEAK},
    vector={"fp32": VECTOR},
    memory_bytes=10**11,
    bandwidth=BANDWIDTH,
)
MADE = {
    "matmul": Efficiency(tensor=0.7, memory=0.8, seconds=2e-6),
    "grouped_matmul": Efficiency(tensor=0.4, memory=0.6, seconds=4e-6),
    "attention": Efficiency(tensor=0.5, seconds=3e-6),
    "attention_step": Efficiency(memory=0.5, seconds=3e-6),
    "elementwise": Efficiency(memory=0.75, seconds=1e-6),
    "transcendental": Efficiency(memory=0.7, seconds=1e-6),
    "norm": Efficiency(memory=0.65, seconds=1e-6),
    "reduction": Efficiency(memory=0.9, seconds=1e-6),
    "move": Efficiency(memory=0.85, seconds=1e-6),
}
NOISE = 0.01
SIZES = [1, 4, 16, 64, 256, 1024, 4096]
MILLION = 10**6


def noisy(seed=0):
    """A row's times for seconds, with 1% of noise."""
    generator = np.random.default_rng(seed)

    def times(seconds):
        median = seconds * float(np.exp(NOISE * generator.standard_normal()))
        return {"median": median, "min": 0.99 * median, "max": 1.02 * median, "repeats": 5, "calls": 10}

    return times


def moved(kind, num_bytes, flops=0, width=VECTOR):
    """Seconds of a kernel that moves bytes."""
    reached = MADE[kind]
    return max(flops / width, num_bytes / (BANDWIDTH * reached.memory)) + reached.seconds


def operators(times):
    """The sections of single operators, written out."""
    matmul, experts, elementwise, bandwidth = [], [], [], []
    for m in SIZES:
        for n, k in ((1280, 1280), (6848, 1280), (4096, 4096)):
            t = max(2 * m * n * k / (PEAK * 0.7), 2 * (m * k + n * k + m * n) / (BANDWIDTH * 0.8)) + 2e-6
            matmul.append({"m": m, "n": n, "k": k, "copies": 9, "eager": times(t + HOST), "graph": times(t)})
    for tokens in (*SIZES, 8192, 16384):
        hit, rows, n, k = min(64.0, 5.5 * tokens), tokens * 6, 1792, 1280
        num_bytes = 2 * (rows * k + hit * n * k + rows * n)
        t = max(2 * rows * n * k / (PEAK * 0.4), num_bytes / (BANDWIDTH * 0.6)) + 4e-6
        row = {"tokens": tokens, "experts_hit_mean": hit, "n": n, "k": k}
        experts += [row | {"how": "grouped_mm", "eager": times(t)}, row | {"how": "python_loop", "eager": times(9.0)}]
    for tokens in (64, 913, 4096, 25600):
        narrow, inner = tokens * 1280, tokens * 6848  # numbers in 16 bits: each is read and written
        for name, kind, num_bytes in (
            ("layer_norm", "norm", 4 * narrow + 2 * 2 * 1280 + 2 * 4 * tokens),  # weight and bias; mean and deviation
            ("add", "elementwise", 4 * narrow),
            ("silu", "transcendental", 4 * inner),
            ("mul", "elementwise", 4 * inner),
            ("to_float", "move", 6 * inner),
        ):
            elementwise.append({"tokens": tokens, "op": name, "eager": times(moved(kind, num_bytes))})
        elementwise.append({"tokens": tokens, "op": "softmax_fp32", "error": "OutOfMemoryError()"})
    for number in (MILLION, 16 * MILLION, 256 * MILLION):
        row = {"bytes_read": 2 * number, "bytes_written": 2 * number}
        for name, kind, num_bytes in (("copy", "move", 4 * number), ("sum_read_only", "reduction", 2 * number + 2)):
            row[name] = {"eager": times(moved(kind, num_bytes))}
        bandwidth.append(row)
    sections = {"matmul": matmul, "grouped_matmul": experts, "elementwise": elementwise, "bandwidth": bandwidth}
    return sections | {"attention": _attention(times), "launch": {"host_seconds_linear_module": HOST}}


def _attention(times):
    rows = []
    for s in (200, 400, 800, 1600, 3200, 6400):
        t = 4 * 10 * s * s * 128 / (PEAK * 0.5) + 3e-6
        rows.append({"case": f"clip_{s}", "shape": [1, 10, s, s, 128], "kind": "", "sdpa": {"eager": times(t)}})
        scores = 12 * s * s  # with a bias to read, 2 bytes each
        t = max(4 * scores * 64 / (PEAK * 0.5), 2 * (4 * 12 * s * 64 + scores) / BANDWIDTH) + 3e-6
        rows.append({"case": f"sam_{s}", "shape": [1, 12, s, s, 64], "kind": "bias", "sdpa": {"eager": times(t)}})
        cached = 2 * 64 * 10 * s * 128 * 2 + 2 * 2 * 64 * 10 * 128  # keys and values; the query and the output
        t = cached / (BANDWIDTH * 0.5) + 3e-6
        rows.append({"case": f"decode_{s}", "shape": [64, 10, 1, s, 128], "kind": "", "sdpa": {"graph": times(t)}})
    return rows


def stages(slower):
    """The sections of the whole model: `slower` times what the made-up device takes."""
    machine = Machine(device=GPU, calibration=Calibration(classes=MADE, host_seconds=HOST))
    model = DeepseekOCRModel.from_config(
        implementation="transformers", attention="flash", experts="grouped", logits="last", causal="triangle"
    )

    def seconds():
        return slower * time_stage(model, machine).seconds.calibrated

    model.set_views(ViewPlan.from_grid((1, 1), base_size=640))
    model.start_vision(6)
    vision = {"views": 6, "side": 640, "time": {"median": seconds()}}
    model.set_views(None)
    model.start_prefill(913, 4)
    prefill = {"batch": 4, "tokens": 913, "time": {"median": seconds()}}
    model.start_prefill(913 + 3, 4)
    model.start_decode()
    decode = {"batch": 4, "cached_first": 913, "seconds": [1.0] * 6, "median_after_two": seconds()}
    failed = {"batch": 64, "tokens": 8192, "error": "OutOfMemoryError()"}
    return {"model": {"vision": [vision], "prefill": [prefill, failed], "decode": [decode]}}


@pytest.fixture(scope="module")
def probe():
    """The comparison with a probe whose whole model is a tenth slower than its operators."""
    return compare_probe({**operators(noisy()), **stages(1.1)}, GPU)


def test_the_numbers_are_found_back(probe):
    for kind, made in MADE.items():
        reached = probe.fitted[kind].efficiency
        assert reached.seconds == pytest.approx(made.seconds, rel=0.25), kind
        assert reached.memory == pytest.approx(made.memory, rel=0.1) or kind == "attention", kind
        if "matmul" in kind or kind == "attention":
            assert reached.tensor == pytest.approx(made.tensor, rel=0.1), kind


def test_half_of_the_rows_are_predicted_from_the_other_half(probe):
    seen = [row for row in probe.operators if row.fitted]
    unseen = [row for row in probe.operators if not row.fitted]
    assert len(unseen) > len(seen) / 2
    assert {row.kind for row in unseen} == {row.kind for row in seen} == set(MADE)
    for kind in MADE:  # nothing is extrapolated
        times = [row.measured for row in probe.operators if row.kind == kind]
        assert {min(times), max(times)} <= {row.measured for row in seen}
    for row in probe.operators:
        assert abs(row.error) < 5 * NOISE, row


def test_the_stages_are_predicted_from_the_operators(probe):
    assert [row.kind for row in probe.stages] == ["vision", "prefill", "decode"]  # and none for a row that failed
    for row in probe.stages:
        assert not row.fitted
        assert row.error == pytest.approx(1 / 1.1 - 1, abs=0.05)
    assert probe.host_seconds == HOST


def test_a_replayed_graph_is_taken_before_eager_calls():
    row = {"m": 1, "n": 8, "k": 8, "eager": noisy()(9.0), "graph": noisy()(1.0)}
    (sample,) = probe_samples({"matmul": [row]})
    assert sample.timing.seconds == row["graph"]["median"]


def test_a_file(tmp_path):
    path = tmp_path / "gpu_probe.json"
    path.write_text(json.dumps({"schema": "gpu_probe/2", "sections": operators(noisy())}))
    found = read_probe(path, GPU)
    assert found.stages == ()
    assert set(found.fitted) == set(MADE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ('{"schema": "other"}', "is no gpu_probe.json: its schema is 'other'"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_probe(tmp_path, text, reason):
    path = tmp_path / "probe.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ModelMeterError, match=reason):
        read_probe(path, GPU)
