"""Stages from marked ranges: names, nesting, own time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter.profiles.profile import STAGES
from modelmeter.profiles.ranges import UNKNOWN, Range, StageRanges, stage_of

PREFILL, VISION, SAM, DECODE = (STAGES.index(name) for name in ("prefill", "vision", "sam", "decode"))


def at(ranges: StageRanges, *times: int) -> list[int]:
    """Stages of thread 0 at these times."""
    return ranges.at(np.zeros(len(times), dtype=np.int64), np.array(times, dtype=np.int64)).tolist()


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("prefill", "prefill"),
        ("Decode", "decode"),
        (" decode 3 ", "decode"),
        ("decode_step_12", "decode"),
        ("decode[7]", "decode"),
        ("decode token 4", "decode"),
        ("modelmeter.sam", "sam"),
        ("vision", "vision"),
    ],
)
def test_a_name_with_a_number_is_of_its_stage(name: str, stage: str) -> None:
    found = stage_of(name)
    assert found is not None and STAGES[found] == stage


@pytest.mark.parametrize("name", ["", "decoder", "clip_grad_norm", "sample", "my prefill", "unknown", "ProfilerStep#3"])
def test_another_name_is_of_none(name: str) -> None:
    assert stage_of(name) is None


def test_the_innermost_range_decides() -> None:
    ranges = StageRanges([Range(PREFILL, 0, 0, 100), Range(VISION, 0, 10, 60), Range(SAM, 0, 20, 40)])
    assert at(ranges, -1, 0, 9, 10, 20, 39, 40, 59, 60, 99, 100) == [
        *[UNKNOWN, PREFILL, PREFILL, VISION, SAM, SAM],
        *[VISION, VISION, PREFILL, PREFILL, UNKNOWN],
    ]
    assert ranges.own_time() == {"sam": 20, "vision": 50 - 20, "prefill": 100 - 50}


def test_ranges_that_touch_are_apart() -> None:
    ranges = StageRanges([Range(PREFILL, 0, 0, 10), Range(DECODE, 0, 10, 20), Range(DECODE, 0, 20, 30)])
    assert at(ranges, 9, 10, 19, 20, 30) == [PREFILL, DECODE, DECODE, DECODE, UNKNOWN]
    assert ranges.counts() == {"prefill": 1, "decode": 2}


def test_another_thread_has_no_ranges() -> None:
    ranges = StageRanges([Range(PREFILL, 3, 0, 100)])
    assert ranges.at(np.array([3, 0]), np.array([50, 50])).tolist() == [PREFILL, UNKNOWN]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40), st.integers(1, 40)), max_size=12))
def test_own_times_are_the_time_in_any_range(ranges: list[tuple[int, int, int]]) -> None:
    found = StageRanges([Range(stage, 0, start, start + length) for stage, start, length in ranges])
    moments = {moment for _, start, length in ranges for moment in range(start, start + length)}
    inside = [moment for moment in range(81) if at(found, moment) != [UNKNOWN]]
    assert len(inside) == sum(found.own_time().values()) <= len(moments)
