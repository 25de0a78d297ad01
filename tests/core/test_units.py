"""The one place that knows 1e12, 8 bits and 2**30."""

from fractions import Fraction

import numpy as np
import pytest

from modelmeter.core import units


@pytest.mark.parametrize(
    ("convert", "whole", "converted"),
    [
        (units.to_tflops, 10**12, 1.0),
        (units.to_tflops, 312 * 10**12, 312.0),
        (units.to_tflops, 0, 0.0),
        (units.to_terabits, 10**12 // 8, 1.0),
        (units.to_terabits, 1, 8e-12),
        (units.to_gib, 2**30, 1.0),
        (units.to_gib, 61_440, 61_440 / 2**30),
    ],
)
def test_known_values(convert, whole, converted):
    assert convert(whole) == converted
    assert convert(np.array([whole, whole]))[1] == converted


@pytest.mark.parametrize(
    ("convert", "factor"),
    [
        (units.to_tflops, Fraction(1, 10**12)),
        (units.to_terabits, Fraction(8, 10**12)),
        (units.to_gib, Fraction(1, 2**30)),
    ],
)
def test_the_factor_is_exact(convert, factor):
    """Within one rounding of the exact quotient, also for numbers no float holds."""
    for whole in (1, 7, 10**9 + 7, 2**53 + 1, 10**18 + 1, 3**60):
        assert convert(whole) == pytest.approx(float(whole * factor), rel=2**-52)


def test_symbols_stay_exact():
    import sympy

    flops = sympy.Symbol("F")
    assert units.to_tflops(flops) == flops / 10**12
    assert units.to_terabits(flops) == flops * 8 / 10**12
    assert units.to_gib(flops) == flops / 2**30
