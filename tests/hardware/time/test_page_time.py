"""The time of a page: what TTFT, TPOT and the rates are made of, by arithmetic on a made-up device."""

import attrs
import numpy as np
import pytest
from support import arithmetic as a
from support.devices import made_up

import modelmeter as mm
from modelmeter.hardware.efficiency import CLASSES, Calibration, Efficiency
from modelmeter.hardware.floor import floor_of
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import MOST_STEPS, Levels, decode_steps, required_rates, time_page
from modelmeter.hardware.timeline import Timeline

BASE = mm.plan_views(1000, 1000, mode="base")  # 273 image tokens
SLOWED = Calibration(classes=dict.fromkeys(CLASSES, Efficiency(tensor=0.5, memory=0.8)), host_seconds=1e-5)


def paged(*, machine=None, **options):
    """A page of one view on the made-up device, without a host between kernels."""
    return time_page(mm.DeepseekOCRModel.from_config(), BASE, machine or on(), **options)


def on(execution="graph", calibration=None, **changed):
    """A machine of the made-up device."""
    return Machine(device=made_up(**changed), execution=execution, calibration=calibration)


def levels(value):
    """The three numbers."""
    return (value.bound, value.roofline, value.calibrated)


@pytest.mark.parametrize("calibration", [None, SLOWED], ids=["roofline", "calibrated"])
def test_ttft_is_the_host_and_the_prefill(calibration):
    page = paged(machine=on(calibration=calibration), host_seconds=0.25, decode_tokens=3)
    assert page.ttft.roofline == page.prefill.seconds.roofline + 0.25
    assert page.ttft.bound == page.prefill.seconds.bound  # a host can always be faster
    assert page.ttft.predicted == page.prefill.seconds.predicted + 0.25
    assert (page.ttft.calibrated is None) == (calibration is None)
    assert page.prefill.seconds.roofline > page.vision.seconds.roofline > 0  # vision is a part of it


@pytest.mark.parametrize("calibration", [None, SLOWED], ids=["roofline", "calibrated"])
def test_tpot_is_the_mean_of_the_steps(calibration):
    page = paged(machine=on(calibration=calibration), host_seconds=0.25, decode_tokens=40)
    names = ["bound", "roofline"] + ["calibrated"] * (calibration is not None)
    assert list(page.steps) == names
    for name in names:
        steps = page.steps[name]
        assert steps.shape == (40,)
        assert getattr(page.tpot, name) == pytest.approx(np.mean(steps), rel=1e-12)
        assert getattr(page.decode_total, name) == pytest.approx(sum(steps.tolist()), rel=1e-12)
        whole = getattr(page.ttft, name) + getattr(page.decode_total, name)
        assert getattr(page.total, name) == pytest.approx(whole, rel=1e-12)
        assert steps[0] == pytest.approx(getattr(page.decode.seconds, name), rel=2e-3)  # experts are not rounded here
        assert (np.diff(steps) > 0).all()  # the cache grows


def test_each_step_is_that_of_its_cache():
    page = paged(decode_tokens=4)
    model = mm.DeepseekOCRModel.from_config()
    for i in range(4):
        model.start_prefill(283 + i)
        model.start_decode()
        assert page.steps["bound"][i] == floor_of(model).seconds(made_up())
        assert page.steps["roofline"][i] == pytest.approx(Timeline(model.trace(), on()).seconds, rel=2e-3)
        assert page.steps["bound"][i] == pytest.approx(step_bytes(283 + i) / 1e12, rel=1e-12)


def step_bytes(cached):
    """What a decode step cannot do without: at 100 TFLOP/s and 1 TB/s its bytes take longer than its FLOPs."""
    experts = 58 * 3 * a.H * a.MOE  # of 64 in a layer that one token leaves out
    weights = 32_852_480 + 11 * (233_720_320 - experts) + a.H + a.H * a.VOCAB
    return 2 * weights + a.KV_BYTES_PER_TOKEN * (cached + 1)


def test_no_tokens_to_decode():
    page = paged(decode_tokens=0, host_seconds=0.1)
    assert levels(page.decode_total) == (0, 0, None)
    assert levels(page.total) == levels(page.ttft)
    assert levels(page.tpot) == levels(page.decode.seconds)  # of the step that would be next
    assert page.pages_per_second == pytest.approx(1 / page.ttft.roofline, rel=1e-12)
    assert levels(paged(decode_tokens=0, machine=on(calibration=SLOWED)).decode_total) == (0, 0, 0)


def test_one_token_to_decode():
    page = paged(decode_tokens=1)
    assert page.tpot.bound == page.decode_total.bound == step_bytes(283) / 1e12
    assert page.total.roofline == pytest.approx(page.ttft.roofline + page.steps["roofline"][0], rel=1e-12)


def test_rates_of_a_batch():
    page = paged(batch_size=6, decode_tokens=10, host_seconds=0.5)
    assert page.tokens_per_second == pytest.approx(6 / page.tpot.roofline, rel=1e-12)
    assert page.pages_per_second == pytest.approx(6 / page.total.roofline, rel=1e-12)
    assert page.total.roofline > 0.5  # the host's half second is of the whole batch
    one = paged(decode_tokens=10)
    assert one.tpot.roofline < page.tpot.roofline < 6 * one.tpot.roofline  # weights are read once for all six
    assert page.decode.floor.weight_bytes == one.decode.floor.weight_bytes
    assert page.decode.floor.kv_bytes == 6 * one.decode.floor.kv_bytes


def test_mfu_and_mbu_of_a_decode_step():
    page = paged(decode_tokens=1)
    seconds = page.decode.seconds.roofline
    assert page.decode.mfu == pytest.approx(a.decoder(1, 1, 283, vendor=False) / (100e12 * seconds), rel=1e-12)
    # Weights the step used, once: one token reaches six experts, as in the floor; and its row of the embedding.
    rotary = 12 * 64 * 4  # the vendor's layers each have their table of 64 frequencies in fp32
    used = step_bytes(283) + 2 * a.H + rotary
    assert page.decode.used_bytes == used
    assert page.decode.mbu == pytest.approx(used / (1e12 * seconds), rel=1e-12)
    assert 0 < page.decode.mfu < page.decode.mbu < 1


def test_mfu_and_mbu_fall_as_the_time_grows():
    plain, slowed = paged(decode_tokens=1), paged(decode_tokens=1, machine=on(calibration=SLOWED))
    for stage in ("vision", "prefill", "decode"):
        fast, slow = getattr(plain, stage), getattr(slowed, stage)
        assert slow.seconds.roofline == fast.seconds.roofline  # each level keeps its own number
        ratio = slow.seconds.calibrated / fast.seconds.roofline
        assert 1 < ratio <= 2  # between the shares 0.8 and 0.5 that are reached, of what has a time
        assert fast.mfu == pytest.approx(slow.mfu * ratio, rel=1e-12)
        assert fast.mbu == pytest.approx(slow.mbu * ratio, rel=1e-12)


def test_the_rates_of_half_the_peaks_double_a_calibrated_time():
    half = Calibration(classes=dict.fromkeys(CLASSES, Efficiency(tensor=0.5, vector=0.5, memory=0.5)), host_seconds=0.0)
    page = paged(decode_tokens=2, machine=on(calibration=half), host_seconds=0.125)
    for name in ("prefill", "decode", "tpot", "decode_total"):
        value = getattr(page, name)
        value = value if isinstance(value, Levels) else value.seconds
        assert value.calibrated == pytest.approx(2 * value.roofline, rel=1e-12)
    assert page.ttft.calibrated == pytest.approx(0.125 + 2 * (page.ttft.roofline - 0.125), rel=1e-12)
    assert sum(span.seconds for span in page.prefill.parts.values()) == pytest.approx(page.prefill.seconds.calibrated)


def test_required_rates():
    page = paged(decode_tokens=1, host_seconds=0.25)
    rates = page.required(tpot=0.002)
    assert rates.flops == page.decode.cost.flops / 0.002
    assert rates.num_bytes == page.decode.cost.io_bytes / 0.002
    rates = page.required(ttft=1.25)  # a second is left after the host's work
    assert rates.flops == page.prefill.cost.flops / 1.0
    assert rates.num_bytes == page.prefill.cost.io_bytes / 1.0


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({}, r"takes ttft or tpot, one of them"),
        ({"ttft": 1.0, "tpot": 1.0}, r"takes ttft or tpot, one of them"),
        ({"tpot": 0.0}, "a wanted time must be positive, not 0 s"),
        ({"tpot": -1.0}, "a wanted time must be positive, not -1 s"),
        ({"tpot": float("nan")}, "a wanted time must be positive, not nan s"),
        ({"ttft": 0.25}, r"ends before the host has read the page \(0.25 s\): allow more"),
        ({"ttft": float("nan")}, "a wanted time must be positive"),
    ],
)
def test_a_wanted_time_that_cannot_be(wanted, words):
    with pytest.raises(mm.ModelMeterError, match=words):
        paged(decode_tokens=1, host_seconds=0.25).required(**wanted)


def test_required_rates_of_any_cost():
    cost = mm.Cost(tensor_flops=600, cuda_flops=400, weight_read_bytes=70, activation_write_bytes=30)
    rates = required_rates(cost, 0.5)
    assert (rates.flops, rates.num_bytes) == (2000.0, 200.0)


def test_decode_steps_leave_the_model_where_it_was():
    model = mm.DeepseekOCRModel.from_config()
    model.set_views(BASE)
    cache = model.start_prefill(300, 2)
    before = (model.step, cache.total_len(), model.views)
    decode_steps(model, on(), np.arange(1, 50), 7)
    decode_steps(model, on(), 4000, 1)
    assert (model.step, cache.total_len(), model.views) == before
    assert model.kv_cache is cache
    model.start_decode()
    model.decode_one_token()
    first = model.get_forward_cost()
    decode_steps(model, on(), np.arange(1, 50), 2)
    assert model.get_forward_cost() == first


def test_decode_steps_of_one_length_and_of_none():
    model = mm.DeepseekOCRModel.from_config()
    one = decode_steps(model, on(calibration=SLOWED), 283, 1)
    assert one["bound"] == step_bytes(283) / 1e12
    assert one["bound"] < one["roofline"] < one["calibrated"]
    none = decode_steps(model, on(calibration=SLOWED), np.zeros(0, dtype=int), 1)
    assert {name: steps.tolist() for name, steps in none.items()} == {"bound": [], "roofline": [], "calibrated": []}


def test_the_model_is_left_in_decode_with_the_cache_of_the_page():
    model = mm.DeepseekOCRModel.from_config()
    time_page(model, BASE, on(), prompt_tokens=20, decode_tokens=5, batch_size=3)
    assert model.operation_mode == "decode"
    assert (model.kv_cache.total_len(), model.kv_cache.batch) == (293, 3)


def test_a_device_by_name_is_eager():
    page = time_page(mm.DeepseekOCRModel.from_config(), BASE, "h200", decode_tokens=1)
    assert (page.machine.device.name, page.machine.execution) == ("h200", "eager")
    assert page.decode.timeline.total.binds == "launch"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decode_tokens": MOST_STEPS + 1}, "decode_tokens is 1000001: times are of at most 1,000,000 steps"),
        ({"decode_tokens": -1}, "decode_tokens must be at least 0"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"prompt_tokens": -1}, "prompt_tokens must be at least 0"),
        ({"host_seconds": -0.1}, "host seconds are -0.1: give 0 or more"),
        ({"host_seconds": float("nan")}, "host seconds are nan"),
        ({"host_seconds": float("inf")}, "host seconds are inf"),
    ],
)
def test_a_page_that_cannot_be(options, words):
    with pytest.raises(mm.ModelMeterError, match=words):
        paged(**{"decode_tokens": 1, **options})


def test_a_page_given_another_host_is_checked_too():
    with pytest.raises(mm.ModelMeterError, match="host seconds are -1"):
        attrs.evolve(paged(decode_tokens=1), host_seconds=-1.0)


@pytest.mark.parametrize("option", ["batch_size", "prompt_tokens"])
def test_huge_sizes_take_their_time(option):
    """Beyond 2**63 bytes a step: what the numbers say, not what is left of them."""
    huge = 10**30
    page = paged(**{option: huge}, decode_tokens=2)
    tokens = 273 + (huge if option == "prompt_tokens" else 10)
    batch = huge if option == "batch_size" else 1
    cache = batch * a.KV_BYTES_PER_TOKEN * (tokens + 1)
    assert page.decode.floor.kv_bytes == cache
    assert all(seconds >= cache / 1e12 for seconds in page.steps["bound"])
    assert levels(page.total)[:2] == tuple(sorted(levels(page.total)[:2]))


def test_many_steps_grow_by_a_token_each():
    steps = paged(decode_tokens=20_000).steps["bound"]
    assert steps[-1] - steps[0] == pytest.approx(a.KV_BYTES_PER_TOKEN * 19_999 / 1e12, rel=1e-9)


def test_levels_add_and_scale():
    three, two = Levels(bound=1, roofline=2, calibrated=3), Levels(bound=10, roofline=20)
    assert levels(three + three) == (2, 4, 6)
    assert levels(three + two) == (11, 22, None)  # what one lacks the sum lacks
    assert levels(three * 2) == (2, 4, 6)
    assert (three.predicted, two.predicted) == (3, 20)
