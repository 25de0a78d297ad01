"""Efficiencies: classes of operators, what their numbers do to a time, and what is refused."""

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter import DeepseekOCRModel, ModelMeterError
from modelmeter.core import ops
from modelmeter.core.recorder import RecordOptions, record
from modelmeter.core.tensor import BF16, FP32, INT64, Tensor
from modelmeter.core.trace import Trace
from modelmeter.hardware.device import Device
from modelmeter.hardware.efficiency import CLASSES, LIKE, PERFECT, Calibration, Efficiency, class_of
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.timeline import Timeline
from modelmeter.nn.attention import causal_products, flash_attention

DEVICE = Device(
    name="made-up",
    title="made up",
    kind="cpu",
    tensor={"bf16": 1e12},
    vector={"fp32": 1e11},
    memory_bytes=10**9,
    bandwidth=1e10,
    calibration={},
)


def one(run):
    """The operator that `run(recorder)` records."""
    (op,) = [op for _, op in Trace(record(run, RecordOptions())).operators()]
    return op


def weight(*shape, dtype=BF16):
    return Tensor(shape, dtype, "weight")


def linear(r):
    ops.linear(r.take((8, 64), BF16), weight(32, 64))


def attention(queries, keys, products=None):
    def run(r):
        q, k, v = (r.take((1, 2, n, 16), BF16) for n in (queries, keys, keys))
        flash_attention(q, k, v, masks_itself=True, products=products)

    return run


def machine(**efficiency):
    """The made-up device with one efficiency for all."""
    classes = dict.fromkeys(CLASSES, Efficiency(**efficiency))
    return Machine(device=DEVICE, execution="graph", calibration=Calibration(classes=classes, host_seconds=0.0))


@pytest.mark.parametrize(
    ("kind", "run"),
    [
        ("matmul", linear),
        ("fp32_matmul", lambda r: ops.linear(r.take((8, 64), FP32), weight(32, 64, dtype=FP32))),
        ("grouped_matmul", lambda r: ops.grouped_linear(r.take((8, 64), BF16), weight(4, 32, 64), 999, groups=3)),
        ("batched_matmul", lambda r: ops.bmm(r.take((3, 8, 64), BF16), r.take((3, 64, 5), BF16))),
        ("convolution", lambda r: ops.conv2d(r.take((1, 3, 8, 8), BF16), weight(4, 3, 2, 2), stride=2)),
        ("attention", attention(5, 5)),
        ("attention_step", attention(1, 9)),
        ("elementwise", lambda r: ops.binary("add", r.take((8, 64), BF16), r.take((8, 64), BF16))),
        ("broadcast", lambda r: ops.binary("add", r.take((8, 1), BF16), r.take((1, 64), BF16))),
        ("transcendental", lambda r: ops.softmax(r.take((8, 64), FP32))),
        ("norm", lambda r: ops.layer_norm(r.take((8, 64), BF16), weight(64), weight(64))),
        ("reduction", lambda r: ops.reduce("mean", r.take((8, 64), FP32), (8, 1))),
        ("selection", lambda r: ops.topk(r.take((8, 64), FP32), 6)),
        ("move", lambda r: ops.cast(r.take((8, 64), BF16), FP32)),
        ("transpose", lambda r: ops.clone(r.take((8, 64), BF16))),
        ("gather", lambda r: ops.gather(r.take((8, 64), BF16), r.take((3,), INT64), (3, 64))),
    ],
)
def test_the_class_of_an_operator(kind, run):
    assert class_of(one(run)) == kind


def test_a_loop_over_experts_runs_ordinary_products():
    def loop(r):
        with r.repeated(3):
            ops.grouped_linear(r.take((8, 64), BF16), weight(4, 32, 64), 999, groups=3)

    assert class_of(one(loop)) == "matmul"


def test_every_class_but_the_first_of_a_kind_has_one_that_is_like_it():
    assert set(CLASSES) - set(LIKE) == {"matmul", "convolution", "attention", "elementwise", "move"}
    assert {*LIKE, *LIKE.values()} <= set(CLASSES)


def test_a_class_that_was_not_measured_is_taken_for_the_one_like_it():
    measured = Efficiency(vector=0.5)
    calibration = Calibration(classes={"elementwise": measured}, host_seconds=0.0)
    topk = one(lambda r: ops.topk(r.take((8, 64), FP32), 6))  # a selection is like a reduction, that like arithmetic
    assert calibration.of(topk) is measured
    assert calibration.of(one(linear)) is PERFECT


def test_terms_hide_behind_the_longest_as_far_as_they_overlap():
    flops, num_bytes = 2 * 8 * 64 * 32, 2 * (8 * 64 + 32 * 64 + 8 * 32)  # one product; x, weights, output in 2 bytes
    tensor, memory = flops / (1e12 * 0.5), num_bytes / (1e10 * 0.25)
    op = one(linear)
    for overlap in (1.0, 0.75, 0.0):
        shown = machine(tensor=0.5, memory=0.25, overlap=overlap).terms(op)
        assert float(shown.seconds) == pytest.approx(max(tensor, memory) + (1 - overlap) * min(tensor, memory))
        assert shown.tensor / shown.memory == pytest.approx(tensor / memory)  # what binds stays what binds


def test_seconds_a_kernel_and_a_row_come_on_top():
    op = one(lambda r: ops.binary("add", r.take((8, 1), BF16), r.take((1, 64), BF16)))
    bare, with_both = machine().terms(op), machine(seconds=1e-3, row_seconds=1e-4).terms(op)
    assert float(with_both.seconds - bare.seconds) == pytest.approx(1e-3 + 8 * 1e-4)  # one kernel; 8 rows of 64


def test_a_causal_kernel_also_computes_the_blocks_over_the_diagonal():
    needed, counted = causal_products(100, 100, "triangle"), 100 * 100
    op = one(attention(100, 100, needed))
    for block, masked in ((1.0, 0.0), (25.0, 0.25), (100.0, 1.0), (512.0, 1.0)):
        scores = needed + masked * (counted - needed)
        assert float(machine(causal_block=block).terms(op).tensor) * 1e12 == pytest.approx(2 * 2 * 2 * 16 * scores)


@pytest.fixture(scope="module")
def traces():
    """Prefill and decode of the released model: every kind of its operators but vision's."""
    model = DeepseekOCRModel.from_config(attention="flash", implementation="transformers", causal="triangle")
    model.start_prefill(37, 2)
    found = [model.trace()]
    model.start_decode()
    return [*found, model.trace()]


shares = st.floats(1e-3, 1.0)


@given(
    tensor=shares,
    vector=shares,
    memory=shares,
    overlap=st.floats(0, 1),
    seconds=st.floats(0, 1e-3),
    row_seconds=st.floats(0, 1e-6),
    causal_block=st.floats(1, 1e4),
)
def test_no_operator_is_calibrated_below_its_roofline(traces, **efficiency):
    calibrated, roofline = machine(**efficiency), Machine(device=DEVICE, execution="graph")
    for trace in traces:
        for _, op in trace.operators():
            assert calibrated.terms(op).seconds >= roofline.terms(op).seconds * (1 - 1e-12)


def test_sizes_may_be_arrays():
    model = DeepseekOCRModel.from_config(attention="flash", causal="triangle")
    reached = machine(
        tensor=0.5, vector=0.1, memory=0.3, overlap=0.2, seconds=1e-6, row_seconds=1e-9, causal_block=64.0
    )

    def seconds(cached):
        model.start_prefill(cached, 1)
        model.start_decode()
        return Timeline(model.trace(), reached).seconds

    cached = np.array([10, 700, 4000])
    assert seconds(cached) == pytest.approx([float(seconds(int(n))) for n in cached])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tensor": 1.1}, "tensor efficiency is 1.1"),
        ({"memory": 0.0}, "memory efficiency is 0.0"),
        ({"overlap": -0.1}, "overlap is -0.1"),
        ({"seconds": -1e-6}, "-1e-06 seconds a kernel"),
        ({"row_seconds": 2.0}, "2.0 row_seconds a row"),
        ({"causal_block": 0.5}, "causal blocks of 0.5 keys"),
    ],
)
def test_numbers_that_would_beat_the_roofline_are_refused(values, reason):
    with pytest.raises(ModelMeterError, match=reason):
        Efficiency(**values)


def test_the_table_of_a_device_file():
    table = {"classes": {"move": {"memory": 0.5}}, "host_seconds": 2e-6, "date": "today"}
    found = Calibration.from_table(table, "mine")
    assert found.classes == {"move": attrs.evolve(PERFECT, memory=0.5)}
    assert (found.host_seconds, dict(found.provenance)) == (2e-6, {"date": "today"})


@pytest.mark.parametrize(
    "table",
    [
        {"classes": {"moves": {"memory": 0.5}}, "host_seconds": 0},
        {"classes": {"move": {"speed": 0.5}}, "host_seconds": 0},
        {"classes": {"move": {"memory": 0.5}}},
        {"classes": {}, "host_seconds": 0},
    ],
)
def test_a_wrong_table_is_refused_by_its_device(table):
    with pytest.raises(ModelMeterError, match="device mine: calibration"):
        Calibration.from_table(table, "mine")
