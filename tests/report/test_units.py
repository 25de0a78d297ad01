"""Numbers as people read them: three digits, the right prefix, never further from the number than the last digit."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter.report import units

STEPS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
whole = st.integers(min_value=0, max_value=10**24)


def read(text, steps):
    """A printed number as a number."""
    number, _, prefix = text.partition(" ")
    return float(number) * (steps[prefix] if number != "0" else 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (999, "999"),
        (1000, "1.00 k"),
        (9_994, "9.99 k"),
        (9_996, "10.0 k"),
        (99_940, "99.9 k"),
        (99_960, "100 k"),
        (999_400, "999 k"),
        (999_600, "1.00 M"),
        (4_568_380_069_376, "4.57 T"),
        (10**15, "1.00 P"),
        (123 * 10**15, "123 P"),
    ],
)
def test_flops(value, text):
    assert units.flops(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1 B"),
        (1023, "1023 B"),
        (2**10, "1.00 KiB"),
        (3 * 2**10 // 2, "1.50 KiB"),
        (1000 * 2**20, "1000 MiB"),
        (2**30, "1.00 GiB"),
        (6_672_212_480, "6.21 GiB"),
        (100 * 2**40, "100 TiB"),
    ],
)
def test_size(value, text):
    assert units.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.9031, "0.903"), (104.27, "104"), (999.4, "999"), (999.7, "1000"), (12345.6, "12346")]
)  # fmt: skip
def test_ratio(value, text):
    assert units.ratio(value) == text


@given(whole)
def test_flops_are_right_to_three_digits(value):
    assert read(units.flops(value), STEPS) == pytest.approx(value, rel=0.0051, abs=0)


@given(whole)
def test_sizes_are_right_to_three_digits(value):
    assert read(units.size(value), BYTES) == pytest.approx(value, rel=0.0051, abs=0)


@given(whole, whole)
def test_a_larger_number_never_reads_smaller(one, other):
    small, large = sorted((one, other))
    assert read(units.flops(small), STEPS) <= read(units.flops(large), STEPS)
    assert read(units.size(small), BYTES) <= read(units.size(large), BYTES)


@given(st.floats(min_value=0, max_value=10**9))
def test_ratios_are_right_to_three_digits_and_need_no_exponent(value):
    text = units.ratio(value)
    assert float(text) == pytest.approx(value, rel=0.0051, abs=1e-300)
    assert value < 0.0001 or "e" not in text


@given(whole)
def test_no_more_than_four_digits_up_to_the_last_prefix(value):
    if value < 999 * 10**15:
        assert len(re.sub("[^0-9]", "", units.flops(value))) <= 3
    if value < 999 * 2**40:
        assert len(re.sub("[^0-9]", "", units.size(value))) <= 4  # 1000 to 1023 of a binary prefix


@pytest.mark.parametrize("unit", [units.flops, units.size])
def test_numbers_without_end_stay_short(unit):
    for exponent in (18, 30, 100):
        assert len(unit(10**exponent)) <= 16


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1e-15, "0"),  # what is left of adding up
        (5.25e-9, "5.25 ns"),
        (1e-6, "1.00 us"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (59.9, "59.9 s"),
        (90, "1.50 min"),
        (7200, "2.00 h"),
        (86_400 * 365, "365 d"),
        (86_400 * 123_456, "1.23e+05 d"),  # the largest unit: no endless row of digits
    ],
)
def test_seconds(value, text):
    assert units.seconds(value) == text
