"""Units and numbers on axes."""

import numpy as np
import pytest

from modelmeter.report.plots.scale import Scale, is_wide, plain, scale_for, short_number


@pytest.mark.parametrize(
    ("unit", "largest", "scale"),
    [
        ("FLOP", 4.6e12, Scale(1e12, "TFLOP")),
        ("FLOP", 1e12, Scale(1e12, "TFLOP")),
        ("FLOP", 999.0, Scale(1.0, "FLOP")),
        ("FLOP", 3e16, Scale(1e15, "PFLOP")),
        ("B", 2.0**30, Scale(2.0**30, "GiB")),
        ("B", 2.0**30 - 1, Scale(2.0**20, "MiB")),
        ("B/s", 4.8e12, Scale(1e12, "TB/s")),
        ("FLOP/s", 2e9, Scale(1e9, "GFLOP/s")),
        ("s", 0.0062, Scale(1e-3, "ms")),
        ("s", 1e-9, Scale(1e-6, "us")),  # the smallest step
        ("s", 0.0, Scale(1.0, "s")),
        ("FLOP/B", 120.0, Scale(1.0, "FLOP per byte")),
        ("tokens", 5e6, Scale(1.0, "tokens")),
    ],
)
def test_the_prefix_is_that_of_the_largest_number(unit, largest, scale):
    assert scale_for(unit, [np.array([0.0, largest]), np.array([np.nan])]) == scale


def test_no_numbers_have_no_prefix():
    assert scale_for("FLOP", [np.array([np.nan])]) == Scale(1.0, "FLOP")


def test_wide_is_positive_and_beyond_the_ratio():
    assert is_wide([np.array([1.0, 10.0]), np.array([101.0, np.nan])], 100)
    assert not is_wide([np.array([1.0, 100.0])], 100)
    assert not is_wide([np.array([0.0, 1e9])], 100)
    assert not is_wide([], 100)


def test_numbers_on_axes_are_plain():
    assert [plain(value) for value in (0, 0.25, 12, 999, 1200, 4096.0, 1e-7)] == [
        "0", "0.25", "12", "999", "1,200", "4,096", "1e-07"
    ]  # fmt: skip
    assert [short_number(value) for value in (0.03014, 6.211, 999.4, 999.5, 12345.0)] == [
        "0.0301", "6.21", "999", "1,000", "12,345"
    ]  # fmt: skip
