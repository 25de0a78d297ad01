"""A device by itself: what it derives, what it refuses, how it can be used."""

import copy
import math
import pickle

import attrs
import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.device import Device, Link

MADE_UP = Device(
    name="made-up",
    title="Made-up 1 GB",
    tensor={"bf16": 4e12, "fp32": 1e12},
    vector={"fp32": 2e12, "fp16": 3e12},
    memory_bytes=10**9,
    bandwidth=1e11,
    link=Link(name="wire", bandwidth=1e9),
)


def test_a_peak_is_the_larger_of_tensor_and_vector():
    assert MADE_UP.peaks == {"fp32": 2e12, "bf16": 4e12, "fp16": 3e12}


def test_numbers_are_the_values_that_are_known():
    assert MADE_UP.numbers == {
        "tensor.bf16": 4e12,
        "tensor.fp32": 1e12,
        "vector.fp32": 2e12,
        "vector.fp16": 3e12,
        "memory_bytes": 10**9,
        "bandwidth": 1e11,
        "link.bandwidth": 1e9,
    }


def test_equal_by_value_and_a_key_of_a_dict():
    other = attrs.evolve(MADE_UP, bandwidth=2e11)
    assert {MADE_UP: 1, other: 2, copy.deepcopy(MADE_UP): 3} == {MADE_UP: 3, other: 2}
    assert pickle.loads(pickle.dumps(MADE_UP)) == MADE_UP  # a sweep sends devices to other processes


def test_it_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        MADE_UP.bandwidth = 1.0
    rates = {"bf16": 1e12}
    device = attrs.evolve(MADE_UP, tensor=rates)
    rates["bf16"] = 0.0
    assert device.tensor == {"bf16": 1e12}


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("field", ["bandwidth", "memory_bytes", "l2_bytes", "power_watts", "launch_seconds"])
def test_no_value_can_be_zero_negative_or_infinite(field, wrong):
    with pytest.raises(ModelMeterError, match=rf"device made-up: {field} is {wrong}: .*greater than zero"):
        attrs.evolve(MADE_UP, **{field: wrong})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensor": {"bf61": 1.0}}, "unknown dtype bf61: use one of fp32, tf32, bf16"),
        ({"tensor": {"bf16": 0.0}}, "tensor.bf16 is 0.0"),
        ({"tensor": {}, "vector": {}}, "no peak: give tensor or vector"),
        ({"kind": "toaster"}, "unknown kind 'toaster': use one of gpu"),
        ({"link": Link(name="wire", bandwidth=0.0)}, "link.bandwidth is 0.0"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ModelMeterError, match=message):
        attrs.evolve(MADE_UP, **change)
