"""Timelines: single operators by arithmetic on a made-up device, whole stages by what must hold everywhere."""

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.devices import made_up

import modelmeter as mm
from modelmeter.hardware.catalogue import devices
from modelmeter.hardware.efficiency import CLASSES, Calibration, Efficiency
from modelmeter.hardware.floor import floor_of
from modelmeter.hardware.machine import EXECUTIONS, Machine
from modelmeter.hardware.timeline import Timeline
from modelmeter.nn.linear import Linear
from modelmeter.nn.norm import LayerNorm

A4 = mm.plan_views(1654, 2339, mode="gundam")
ENGINE = {"attention": "flash", "cache": "in_place", "experts": "grouped", "logits": "last"}
STAGES = ("vision", "prefill", "decode")


def started(stage, batch=1, **conventions):
    """A model in a stage of an A4 page."""
    model = mm.DeepseekOCRModel.from_config(**conventions)
    model.set_views(A4)
    if stage == "vision":
        model.start_vision(batch)
        return model
    model.start_prefill(913, batch)
    if stage == "decode":
        model.start_decode()
    return model


def one(layer, device, execution="graph", **machine):
    """The one operator of a layer on a device."""
    (operator,) = Timeline(layer.trace(), Machine(device=device, execution=execution, **machine)).operators()
    return operator


def test_a_product_bound_by_the_matrix_units():
    # 4096 x 1280 x 6848: 71.8 GFLOP at 100 TFLOP/s, and 84 MB at 1 TB/s
    operator = one(Linear(1280, 6848, bias=False, seq_len=4096), made_up())
    assert operator.tensor == 2 * 4096 * 1280 * 6848 / 100e12
    assert operator.memory == pytest.approx(2 * (4096 * 1280 + 1280 * 6848 + 4096 * 6848) / 1e12, rel=1e-12)
    assert operator.seconds == operator.tensor
    assert operator.binds == "tensor"


def test_a_product_bound_by_its_weights():
    operator = one(Linear(1280, 6848, bias=False, seq_len=1), made_up())
    assert operator.seconds == pytest.approx(2 * (1280 + 1280 * 6848 + 6848) / 1e12, rel=1e-12)
    assert operator.binds == "memory"


def test_an_elementwise_operator_on_slow_vector_units():
    operator = one(LayerNorm(1280, seq_len=100), made_up(vector={"fp32": 1e9}))
    (op,) = [op for _, op in LayerNorm(1280, seq_len=100).trace().operators()]
    assert operator.seconds == op.cost.cuda_flops / 1e9
    assert operator.binds == "vector"


def test_waves_lengthen_the_tensor_term_alone():
    layer = Linear(1280, 1280, bias=False, seq_len=913)
    plain, tiled = one(layer, made_up()), one(layer, made_up(multiprocessors=108))
    # 15 x 10 tiles of 64 x 128 (15 of 64 overhang 913 less than 8 of 128) and 20 steps of 64 are 3000: 28 rounds on 108
    assert tiled.tensor == pytest.approx(plain.tensor * (28 * 108 * 64 * 128 * 64) / (913 * 1280 * 1280))
    assert tiled.memory == plain.memory


def test_eager_launches_a_kernel_at_a_time():
    layer = Linear(1280, 1280, bias=False, seq_len=1)
    operator = one(layer, made_up(), "eager", given_host_seconds=7e-6)
    busy = 2 * (1280 + 1280 * 1280 + 1280) / 1e12
    assert operator.seconds == pytest.approx(7e-6 + busy)  # the device waits for the first launch
    assert operator.launch == pytest.approx(7e-6)
    assert operator.binds == "launch"


def test_a_known_launch_overhead_takes_the_place_of_the_assumption():
    machine = Machine(device=made_up(launch_seconds=3e-6))
    assert machine.host_seconds == 3e-6
    assert attrs.evolve(machine, given_host_seconds=1e-6).host_seconds == 1e-6
    assert attrs.evolve(machine, execution="graph").host_seconds == 0


def test_host_bound_decode_takes_its_launches_and_the_last_kernel():
    model = started("decode")
    timeline = Timeline(model.trace(), Machine(device=made_up(), given_host_seconds=1e-3))
    last = list(timeline.operators())[-1]
    waits = sum(op.busy for op in timeline.operators() if op.op.syncs)
    assert timeline.seconds == pytest.approx(1e-3 * timeline.launches + waits + last.busy)
    assert timeline.total.binds == "launch"


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_the_sum_of_its_operators_and_of_its_parts(stage, execution):
    model = started(stage)
    timeline = Timeline(model.trace(), Machine(device=made_up(multiprocessors=108), execution=execution))
    operators = list(timeline.operators())
    assert sum(op.seconds for op in operators) == pytest.approx(timeline.seconds, rel=1e-12)
    for rows in (timeline.by_layer(), timeline.by_layer(3), timeline.by_op()):
        assert sum(span.seconds for span in rows.values()) == pytest.approx(timeline.seconds, rel=1e-12)
    parts = timeline.split(model.engine.pieces(timeline.trace))
    assert sum(span.seconds for span in parts.values()) == pytest.approx(timeline.seconds, rel=1e-12)
    total = timeline.total
    waits = total.tensor + total.vector + total.memory + total.launch
    assert waits == pytest.approx(total.seconds, rel=1e-12)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("conventions", [{}, ENGINE], ids=["released", "engine"])
def test_levels_are_in_order_on_every_device(stage, conventions):
    """bound <= roofline <= calibrated, and fused <= graph <= eager."""
    model = started(stage, **conventions)
    trace, floor = model.trace(), floor_of(model)
    reached = Efficiency(tensor=0.6, vector=0.5, memory=0.8, seconds=1e-6)
    calibration = Calibration(classes=dict.fromkeys(CLASSES, reached), host_seconds=8e-6)
    for device in devices().values():
        times = []
        for execution in ("fused", "graph", "eager"):
            machine = Machine(device=device, execution=execution)
            roofline = Timeline(trace, machine).seconds
            calibrated = Timeline(trace, attrs.evolve(machine, calibration=calibration)).seconds
            assert floor.seconds(device) <= roofline <= calibrated, device.name
            times.append(roofline)
        assert times == sorted(times), device.name


@pytest.mark.parametrize("batch", [1, 8, 64])
@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_bound_holds_at_other_sizes_and_for_other_code(stage, implementation, batch):
    model = started(stage, batch, implementation=implementation, experts="grouped", coverage="min", causal="triangle")
    trace, floor = model.trace(), floor_of(model)
    for name in ("h200", "a100-40g", "rtx-4090", "mi300x", "cpu"):
        machine = Machine(device=devices()[name], execution="fused")
        assert floor.seconds(machine.device) <= Timeline(trace, machine).seconds, name


@pytest.mark.parametrize("conventions", [{}, ENGINE], ids=["released", "engine"])
@pytest.mark.parametrize("weights", ["bf16", "int8", "int4"])
def test_a_decode_step_at_batch_1_waits_for_memory_on_every_catalogued_device(weights, conventions):
    model = started("decode", precision=mm.Precision(weights=weights), **conventions)
    trace, floor = model.trace(), floor_of(model)
    for device in devices().values():
        total = Timeline(trace, Machine(device=device, execution="graph")).total
        assert total.binds == "memory", device.name
        assert total.memory > 0.9 * total.seconds, device.name  # skinny products are not slowed by padded tiles
        assert floor.memory_seconds(device) > floor.matrix_seconds(device), device.name


def test_a_product_of_one_row_runs_on_vector_units_where_tiles_are_slower():
    layer, device = Linear(1280, 1280, bias=False, seq_len=1), made_up(tensor={"bf16": 20e12}, multiprocessors=100)
    # 16 of a tile's rows are padding on the matrix units: 2 * 16 * 1280 * 1280 at 20 TFLOP/s, 2 * 1280 * 1280 at 10
    assert one(layer, device).tensor == pytest.approx(2 * 1280 * 1280 / 10e12)
    assert one(layer, made_up(tensor={}, vector={"fp32": 10e12}, multiprocessors=100)).tensor == pytest.approx(
        2 * 1280 * 1280 / 10e12
    )


def faster(device, **times):
    """The device with some of its rates multiplied."""
    return attrs.evolve(
        device,
        tensor={name: rate * times.get("tensor", 1) for name, rate in device.tensor.items()},
        vector={name: rate * times.get("vector", 1) for name, rate in device.vector.items()},
        bandwidth=device.bandwidth * times.get("bandwidth", 1),
    )


@settings(max_examples=25)
@given(st.sampled_from(["tensor", "vector", "bandwidth"]), st.floats(1, 100), st.sampled_from(EXECUTIONS))
@pytest.mark.parametrize("stage", STAGES)
def test_a_faster_device_is_never_slower(stage, what, factor, execution):
    model = started(stage)
    trace, floor, device = model.trace(), floor_of(model), made_up(multiprocessors=64)
    better = faster(device, **{what: factor})
    assert floor.seconds(better) <= floor.seconds(device)
    times = [Timeline(trace, Machine(device=each, execution=execution)).seconds for each in (better, device)]
    assert times[0] <= times[1] * (1 + 1e-12)


@pytest.mark.parametrize("stage", STAGES)
def test_twice_every_rate_is_half_the_bound(stage):
    floor, device = floor_of(started(stage)), made_up()
    twice = faster(device, tensor=2, vector=2, bandwidth=2)
    assert floor.seconds(twice) == pytest.approx(floor.seconds(device) / 2, rel=1e-12)
    graph = [
        Timeline(started(stage).trace(), Machine(device=each, execution="graph")).seconds for each in (device, twice)
    ]
    assert graph[1] == pytest.approx(graph[0] / 2, rel=1e-12)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_an_array_of_sizes_is_as_many_timelines(execution):
    cached, batches = np.array([1, 17, 913, 5000]), np.array([1, 4, 64, 3])
    machine = Machine(device=devices()["h200"], execution=execution)

    def decode(context, batch):
        model = mm.DeepseekOCRModel.from_config()
        model.start_prefill(context, batch)
        model.start_decode()
        return Timeline(model.trace(), machine).total, floor_of(model).seconds(machine.device)

    whole, bound = decode(cached, batches)
    for i, (context, batch) in enumerate(zip(cached.tolist(), batches.tolist(), strict=True)):
        single, single_bound = decode(context, batch)
        for name in ("seconds", "tensor", "vector", "memory", "launch"):
            assert np.broadcast_to(getattr(whole, name), 4)[i] == pytest.approx(
                getattr(single, name), rel=2e-3, abs=1e-12
            )  # the expected number of experts is rounded for ints alone
        assert bound[i] == pytest.approx(single_bound, rel=1e-12)


def test_a_cpu_runs_in_step_with_its_host():
    device = made_up(kind="cpu", tensor={}, vector={"fp32": 1e12, "bf16": 2e12})
    timeline = Timeline(started("decode").trace(), Machine(device=device, given_host_seconds=1e-5))
    busy = sum(op.busy for op in timeline.operators())
    assert timeline.seconds == pytest.approx(busy + 1e-5 * timeline.launches)


def test_symbols_have_no_time():
    sympy = pytest.importorskip("sympy")
    model = mm.DeepseekOCRModel.from_config()
    model.start_prefill(sympy.Symbol("S", positive=True, integer=True))
    with pytest.raises(mm.ModelMeterError, match="substitute the symbols"):
        model.trace().roofline("h200")


def test_a_trace_in_another_precision():
    trace = started("decode", **ENGINE).trace()
    bf16, int4 = (trace.roofline("h200", execution="graph", precision=p) for p in (None, mm.Precision(weights="int4")))
    assert int4.seconds < 0.6 * bf16.seconds
    with pytest.raises(mm.ModelMeterError, match="build the layer in it"):
        Linear(8, 8).trace().roofline("h200", precision=mm.Precision(weights="int4"))


def test_calibrated_needs_a_calibrated_device():
    with pytest.raises(mm.ModelMeterError, match="not calibrated: give the file that `modelmeter calibrate` wrote"):
        started("decode").trace().calibrated("h200")


@pytest.mark.parametrize("wrong", [{"execution": "lazy"}, {"given_host_seconds": -1e-6}, {"given_host_seconds": 2.0}])
def test_a_machine_that_cannot_be(wrong):
    with pytest.raises(mm.ModelMeterError):
        Machine(device=made_up(), **wrong)


def test_fp16_takes_the_place_of_bf16_where_there_is_none():
    assert Machine(device=devices()["t4"]).computes_in("bf16") == "fp16"
    assert Machine(device=devices()["h200"]).computes_in("fp8") == "fp8"
    assert Machine(device=devices()["b300"]).computes_in("int8") == "bf16"  # fifteen times as fast there
    assert Machine(device=devices()["a100-80g"]).computes_in("fp8") == "bf16"
