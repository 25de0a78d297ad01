"""The Chrome trace: Trace Event JSON whose rows are in order, whose modules nest, and which ends when the page does."""

import json
from itertools import pairwise

import pytest
from support.schema import validator_of

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.report.timing.chrome_trace import to_chrome_trace

from .conftest import A4, RECEIPT

HOST, DEVICE, MODULES = 1, 2, 10
RUNS = [
    {"device": "h200", "execution": "eager"},
    {"device": "h200", "execution": "graph"},
    {"device": "h200", "execution": "fused"},
    {"device": "cpu", "execution": "eager"},
    {"device": "made-up", "execution": "eager", "calibrated": True},
]
SLACK = 1e-6  # microseconds: a picosecond of rounding


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: "-".join(map(str, run.values())))
def run(request, timed):
    """(the time of a page, its trace as data)."""
    timing = timed(A4, RECEIPT, decode_tokens=3, **request.param)
    return timing.pages[0].time, json.loads(to_chrome_trace(timing), parse_constant=pytest.fail)


def complete(data, row=None):
    """Events with a duration, of one row or of all."""
    return [event for event in data["traceEvents"] if event["ph"] == "X" and row in (None, event["tid"])]


def test_every_event_has_what_its_phase_takes(run):
    _, data = run
    for event in data["traceEvents"]:
        assert event["pid"] == 1
        if event["ph"] == "M":  # metadata
            assert event["name"] in ("process_name", "thread_name", "thread_sort_index")
            assert set(event["args"]) <= {"name", "sort_index"}
        else:
            assert event["ph"] == "X"
            assert event["name"]
            assert event["ts"] >= 0 and event["dur"] >= 0
            assert set(event) <= {"name", "ph", "pid", "tid", "ts", "dur", "args"}
    assert data["displayTimeUnit"] in ("ms", "ns")


def test_every_row_has_a_name(run):
    time, data = run
    names = {e["tid"]: e["args"]["name"] for e in data["traceEvents"] if e["name"] == "thread_name"}
    assert set(names) == {event["tid"] for event in complete(data)}
    assert names[DEVICE] == "device" and names[MODULES] == "modules"
    assert (HOST in names) == (time.machine.execution == "eager" or time.host_seconds > 0)
    (title,) = [event["args"]["name"] for event in data["traceEvents"] if event["name"] == "process_name"]
    assert title == f"a.pdf p1 on {time.machine.device.name} (predicted)"  # the first page's


def test_it_says_what_it_is(run):
    time, data = run
    other = data["otherData"]
    assert (other["device"], other["execution"]) == (time.machine.device.name, time.machine.execution)
    assert other["level"] == ("roofline" if time.machine.calibration is None else "calibrated")
    assert (data["modelmeter_version"], data["analytic_model_version"]) == (__version__, ANALYTIC_MODEL_VERSION)
    validator_of("chrome-trace-1").validate(data)
    assert other["predicted"] is True


@pytest.mark.parametrize("row", [HOST, DEVICE])
def test_one_thing_at_a_time(run, row):
    _, data = run
    events = complete(data, row)
    for before, after in pairwise(events):  # they are listed in the order in which they run
        assert before["ts"] + before["dur"] <= after["ts"] + SLACK


def test_modules_nest(run):
    _, data = run
    rows = sorted({event["tid"] for event in complete(data)} - {HOST, DEVICE})
    assert rows == list(range(MODULES, MODULES + len(rows)))
    for row in rows:
        events = sorted(complete(data, row), key=lambda event: event["ts"])
        for before, after in pairwise(events):
            assert before["ts"] + before["dur"] <= after["ts"] + SLACK
    for row in rows[2:]:  # each lies in the event of its parent
        parents = [(e["args"]["path"], e["ts"], e["ts"] + e["dur"]) for e in complete(data, row - 1)]
        for event in complete(data, row):
            path = event["args"]["path"].rpartition(".")[0]
            begin, end = event["ts"], event["ts"] + event["dur"]
            assert any(path == name and start - SLACK <= begin and end <= stop + SLACK for name, start, stop in parents)


def test_modules_have_the_names_of_the_model(run):
    _, data = run
    paths = {event["args"]["path"] for event in complete(data) if event["tid"] > MODULES}
    for path in ("model.sam_model", "model.vision_model", "model.projector", "model.layers.0", "lm_head"):
        assert path in paths
    assert {f"model.layers.{i}.self_attn" for i in range(12)} < paths
    stages = [event["name"] for event in complete(data, MODULES)]
    assert stages == ["prefill", "decode step"]


def test_the_last_event_ends_when_the_first_token_after_the_prefill_does(run):
    time, data = run
    end = max(event["ts"] + event["dur"] for event in complete(data))
    whole = time.host_seconds + time.prefill.seconds.predicted + time.decode.seconds.predicted
    assert end == pytest.approx(whole * 1e6, rel=1e-9)
    first = min(event["ts"] for event in complete(data, MODULES))
    assert first == pytest.approx(time.host_seconds * 1e6, rel=1e-12)  # the device begins when the host has read


def test_every_operator_with_device_time_is_there_once(run):
    time, data = run
    expected = []
    for stage in (time.prefill, time.decode):
        expected += [(item.op.name, item.path, item.busy) for item in stage.timeline.operators() if item.busy > 0]
    found = complete(data, DEVICE)
    assert [(event["name"], event["args"]["module"]) for event in found] == [(name, path) for name, path, _ in expected]
    busy = sum(event["dur"] for event in found)
    assert busy == pytest.approx(1e6 * sum(seconds for _, _, seconds in expected), rel=1e-9)


def test_nothing_runs_before_it_was_launched(run):
    time, data = run
    operators = [*time.prefill.timeline.operators(), *time.decode.timeline.operators()]
    launched = iter([event for event in complete(data, HOST) if event["name"] != "read and resize"])
    ran = iter(complete(data, DEVICE))
    for item in operators:
        launch = next(launched) if item.host_seconds else None
        event = next(ran) if item.busy else None
        if launch is not None and event is not None:
            assert launch["name"] == event["name"] == item.op.name
            assert launch["ts"] + launch["dur"] <= event["ts"] + SLACK
    assert next(launched, None) is next(ran, None) is None


def test_the_arguments_of_an_operator(run):
    time, data = run
    event = complete(data, DEVICE)[-1]
    arguments = event["args"]
    item = [item for item in time.decode.timeline.operators() if item.busy > 0][-1]
    assert event["name"] == item.op.name
    assert arguments["flops"] == item.op.cost.flops
    assert arguments["bytes"] == item.op.cost.io_bytes
    assert arguments["shape"] == list(item.op.shape)
    assert arguments["binds"] in ("tensor", "vector", "memory", "launch")
    longest = max(arguments["tensor_us"], arguments["vector_us"], arguments["memory_us"])
    assert longest <= event["dur"] * (1 + 1e-12)


def test_the_host_launches_each_kernel_in_eager_execution_alone(timed):
    def launched(execution):
        timing = timed(RECEIPT, decode_tokens=1, host=0.0, execution=execution)
        return timing.pages[0].time, complete(json.loads(to_chrome_trace(timing)), HOST)

    time, events = launched("eager")
    kernels = time.prefill.timeline.launches + time.decode.timeline.launches
    assert sum(event["dur"] for event in events) == pytest.approx(kernels * time.machine.host_seconds * 1e6, rel=1e-9)
    assert launched("graph")[1] == launched("fused")[1] == []


def test_reading_the_page_is_the_first_event(timed):
    timing = timed(RECEIPT, decode_tokens=1, host=0.125, execution="graph")
    (event,) = complete(json.loads(to_chrome_trace(timing)), HOST)
    assert (event["name"], event["ts"], event["dur"]) == ("read and resize", 0.0, 125_000.0)


def test_fused_operators_without_time_are_left_out(timed):
    """Joined to their neighbours, on a device whose vector rate is unknown, they take none."""
    timing = timed(RECEIPT, decode_tokens=1, execution="fused", device="tpu-v5e")
    events = complete(json.loads(to_chrome_trace(timing)), DEVICE)
    assert events and min(event["dur"] for event in events) > 0
    assert {event["name"] for event in events}.isdisjoint({"silu", "pow", "rsqrt", "_softmax", "topk"})
