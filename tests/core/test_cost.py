"""Cost as an algebra, and StageCost as its other units."""

import attrs
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from modelmeter import Cost, StageCost
from modelmeter.core.cost import COST_FIELDS, STAGE_FIELDS, intensity

numbers = st.integers(0, 2**70)
costs = st.builds(Cost, **dict.fromkeys(COST_FIELDS, numbers))


@given(costs, costs, costs)
def test_addition_is_that_of_each_quantity(a, b, c):
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Cost() == a == Cost() + a
    for name in COST_FIELDS:
        assert getattr(a + b, name) == getattr(a, name) + getattr(b, name)


@given(costs, costs, st.integers(0, 1000), st.integers(0, 1000))
def test_scaling(a, b, n, m):
    assert a * n == n * a
    assert (a + b) * n == a * n + b * n
    assert a * (n + m) == a * n + a * m
    assert (a * n) * m == a * (n * m)
    assert (a * 1, a * 0) == (a, Cost())


@given(costs, st.integers(1, 6))
def test_n_times_is_n_additions(a, n):
    total = Cost()
    for _ in range(n):
        total += a
    assert total == a * n


@given(costs)
def test_sums_are_of_their_parts(cost):
    assert cost.flops == cost.tensor_flops + cost.cuda_flops
    assert cost.weight_bytes == cost.weight_read_bytes
    assert cost.activation_bytes == cost.activation_read_bytes + cost.activation_write_bytes
    assert cost.kv_bytes == cost.kv_read_bytes + cost.kv_write_bytes
    assert cost.io_bytes == cost.weight_bytes + cost.activation_bytes + cost.kv_bytes
    assert Cost.from_values(cost.values()) == cost
    assert len(cost.values()) == len(COST_FIELDS) == 8


@given(costs, costs)
def test_derived_quantities_add(a, b):
    for name in ("flops", "weight_bytes", "activation_bytes", "kv_bytes", "io_bytes"):
        assert getattr(a + b, name) == getattr(a, name) + getattr(b, name)


def test_a_cost_does_not_change():
    cost = Cost(tensor_flops=1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        cost.tensor_flops = 2
    assert hash(cost) == hash(Cost(tensor_flops=1))
    with pytest.raises(TypeError):
        Cost(1)


def test_arrays_and_symbols_add_too():
    swept = Cost(tensor_flops=np.array([1, 2])) + Cost(tensor_flops=10, kv_read_bytes=np.array([5, 6]))
    assert swept.tensor_flops.tolist() == [11, 12] and swept.kv_read_bytes.tolist() == [5, 6]
    n = sympy.Symbol("n")
    assert (Cost(tensor_flops=n) * 3 + Cost(tensor_flops=1)).flops == 3 * n + 1


def test_intensity_is_flops_per_byte_and_zero_where_nothing_moves():
    assert Cost(tensor_flops=6, cuda_flops=2, kv_read_bytes=4).arithmetic_intensity == 2.0
    assert Cost(tensor_flops=6).arithmetic_intensity == 0.0
    assert intensity(np.array([6, 0]), np.array([3, 0])).tolist() == [2.0, 0.0]
    assert intensity(sympy.Symbol("f"), sympy.Symbol("b")) == sympy.Symbol("f") / sympy.Symbol("b")


def test_intensity_of_a_sweep_where_some_points_move_nothing():
    """The same 0.0 as for a single number."""
    assert intensity(np.array([6, 6]), np.array([3, 0])).tolist() == [intensity(6, 3), intensity(6, 0)]


@given(costs, numbers, numbers, numbers)
def test_a_stage_cost_is_the_same_in_units_people_read(cost, weights, activations, kv):
    stage = StageCost(cost=cost, weights_bytes=weights, activations_bytes=activations, kv_cache_bytes=kv)
    assert stage.flops_tflops == cost.flops / 10**12
    assert stage.flops_tensor_tflops == cost.tensor_flops / 10**12
    assert stage.flops_cuda_tflops == cost.cuda_flops / 10**12
    assert stage.io_tb == cost.io_bytes * 8 / 10**12
    assert stage.arithmetic_intensity == cost.arithmetic_intensity
    assert stage.weights_gb == weights / 2**30
    assert stage.activations_gb == activations / 2**30
    assert stage.kv_gb == kv / 2**30
    assert all(isinstance(getattr(stage, name), float) for name in STAGE_FIELDS)


def test_stage_fields_are_those_of_the_design():
    assert STAGE_FIELDS == (
        "flops_tflops",
        "flops_tensor_tflops",
        "flops_cuda_tflops",
        "io_tb",
        "arithmetic_intensity",
        "weights_gb",
        "activations_gb",
        "kv_gb",
    )
