"""Arithmetic on sizes: a helper says the same of an int, of an array's element and of a symbol with a number put in."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from modelmeter import ModelMeterError
from modelmeter.core import dims

small = st.integers(1, 10_000)
x, y = sympy.symbols("x y", positive=True, integer=True)


def three_ways(function, a, b):
    """(with ints, with arrays, with symbols) of a function of two sizes."""
    swept = function(np.array([a, a]), np.array([b, b]))
    formula = function(x, y).subs({x: a, y: b})
    return function(a, b), swept[1], formula


@given(small, small)
@pytest.mark.parametrize("helper", [dims.maximum, dims.minimum, dims.ceil_div, dims.floor_div])
def test_two_sizes(helper, a, b):
    expected = {
        dims.maximum: max(a, b),
        dims.minimum: min(a, b),
        dims.ceil_div: math.ceil(sympy.Rational(a, b)),
        dims.floor_div: a // b,
    }[helper]
    assert three_ways(helper, a, b) == (expected, expected, expected)
    assert type(helper(a, b)) is int


@given(st.lists(small, max_size=6))
def test_prod(sizes):
    """An int64 array wraps silently: whoever sweeps asks first whether it can hold the result (core.evaluate)."""
    assert dims.prod(sizes) == math.prod(sizes)
    assert dims.prod([np.array([size], dtype=object) for size in sizes]) == math.prod(sizes)
    assert dims.prod([np.array([size]) for size in sizes[:4]]) == math.prod(sizes[:4])
    assert dims.prod([x, *sizes]) == x * math.prod(sizes)
    assert dims.prod([]) == 1


def test_prod_mixes_ints_and_arrays():
    swept = dims.prod([3, np.array([1, 2]), 5, np.array([7, 11])])
    assert swept.tolist() == [3 * 5 * 1 * 7, 3 * 5 * 2 * 11]


@given(st.lists(small, min_size=1, max_size=6))
def test_largest(sizes):
    assert dims.largest(sizes) == max(sizes)
    assert dims.largest([np.array([size]) for size in sizes]) == max(sizes)


def test_largest_of_symbols_is_decided_when_numbers_are_put_in():
    found = dims.largest([x + 5, 3 * x, x + 5])
    assert [found.subs(x, n) for n in (1, 2, 3)] == [6, 7, 9]


@given(small, small)
def test_exact_div(a, b):
    assert dims.exact_div(a * b, b, "size") == a
    assert dims.exact_div(np.array([a * b]), b, "size").tolist() == [a]
    assert dims.exact_div(b * x, b, "size") == x


def test_exact_div_names_what_does_not_divide():
    with pytest.raises(ModelMeterError, match="image side: 100 does not divide by 16; choose a multiple of 16"):
        dims.exact_div(100, 16, "image side")
    with pytest.raises(ModelMeterError, match="does not divide by 16"):
        dims.exact_div(np.array([32, 100]), 16, "image side")


def test_same_is_certain_equality():
    assert dims.same(3, 3) and not dims.same(3, 4)
    assert dims.same(np.array([3, 3]), 3) and not dims.same(np.array([3, 4]), 3)
    assert dims.same(x, x) and not dims.same(x, 1) and not dims.same(x, y)


@given(st.integers(1, 5))
def test_not_one(n):
    expected = int(n != 1)
    assert dims.not_one(n) == expected
    assert dims.not_one(np.array([n, 1])).tolist() == [expected, 0]
    assert dims.not_one(x).subs(x, n) == expected


@given(st.integers(0, 200))
def test_power(exponent):
    """(58 / 64) ** T: exact for symbols, correctly rounded to a few bits for numbers."""
    exact = sympy.Rational(58, 64) ** exponent
    assert dims.power(58, 64, x).subs(x, exponent) == exact
    assert dims.power(58, 64, exponent) == pytest.approx(float(exact), rel=1e-12)
    assert dims.power(58, 64, np.array([exponent]))[0] == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize(("value", "whole"), [(0.5, 0), (1.5, 2), (2.5, 2), (2.500001, 3), (7, 7), (-0.5, 0)])
def test_rounded_is_half_to_even(value, whole):
    assert dims.rounded(value) == whole
    assert dims.rounded(np.array([value])).tolist() == [whole]
    assert dims.rounded(np.array([value], dtype=object)).tolist() == [whole]


def test_rounded_leaves_whole_arrays_and_symbols_alone():
    large = np.array([2**53 + 1])  # no float
    assert dims.rounded(large).tolist() == [2**53 + 1]
    assert dims.rounded(sympy.Rational(1, 2)) == sympy.Rational(1, 2)


@given(st.integers(1, 2**70))
def test_as_dim_keeps_ints(size):
    assert dims.as_dim(size, "size") == size
    assert type(dims.as_dim(size, "size")) is int


@pytest.mark.parametrize("size", [np.int32(5), np.uint8(5), np.int64(5)])
def test_as_dim_turns_numpy_ints_into_python_ints(size):
    """A NumPy int would wrap where a Python int does not."""
    assert type(dims.as_dim(size, "size")) is int


def test_as_dim_takes_arrays_lists_and_ranges():
    for sweep in (np.array([1, 2, 3], dtype=np.int16), [1, 2, 3], (1, 2, 3), range(1, 4)):
        found = dims.as_dim(sweep, "size")
        assert found.dtype == np.int64 and found.tolist() == [1, 2, 3]
    huge = dims.as_dim([1, 2**70], "size")
    assert huge.dtype == object and huge.tolist() == [1, 2**70]
    assert dims.as_dim(np.array([2**63], dtype=np.uint64), "size").tolist() == [2**63]
    assert dims.as_dim(x, "size") is x


def test_as_dim_does_not_keep_the_callers_array():
    """Changing it later does not change the model."""
    mine = np.array([1, 2, 3])
    found = dims.as_dim(mine, "size")
    mine[0] = 99
    assert found.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "value", [None, True, 1.0, "3", b"3", np.float64(3), np.array([1.5]), np.array([]), [], object()]
)
def test_as_dim_refuses_what_is_no_size(value):
    with pytest.raises(ModelMeterError, match=r"^seq_len "):
        dims.as_dim(value, "seq_len")


@pytest.mark.parametrize(
    ("value", "least", "message"),
    [
        (0, 1, "seq_len must be positive, not 0"),
        (-3, 0, "seq_len must be at least 0, not -3"),
        (np.array([4, -1]), 1, "seq_len must be positive, not -1"),
        ([2**70, 0], 1, "seq_len must be positive, not 0"),
    ],
)
def test_as_dim_names_the_bound(value, least, message):
    with pytest.raises(ModelMeterError, match=f"^{message}$"):
        dims.as_dim(value, "seq_len", least=least)


def test_as_dim_refuses_an_array_of_booleans():
    with pytest.raises(ModelMeterError):
        dims.as_dim(np.array([True, False]), "size")
    with pytest.raises(ModelMeterError):
        dims.as_dim([True, 2**70], "size")
