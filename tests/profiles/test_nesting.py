"""Own times of nested operators: every nanosecond once, whatever the nesting."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelmeter.profiles.nesting import NO_WORK, Calls, own_times

GEMM, COPY = 0, 1


def calls(*operators: tuple[int, int, int], threads: tuple[int, ...] | None = None) -> Calls:
    """Own times of (start, length, sort)."""
    starts, lengths, sorts = (np.array(column, dtype=np.int64) for column in zip(*operators, strict=True))
    places = np.array(threads or [0] * len(operators), dtype=np.int64)
    return own_times(places, starts, lengths, sorts)


def test_a_caller_keeps_what_it_did_itself() -> None:
    """linear (0 to 100) calls t (10 to 15) and addmm (20 to 90), which has its bias copied (30 to 40)."""
    found = calls((0, 100, GEMM), (10, 5, NO_WORK), (20, 70, GEMM), (30, 10, COPY))
    assert found.own.tolist() == [100 - 5 - 70, 5, 70 - 10, 10]
    assert found.counted.tolist() == [False, False, True, True]  # linear hands on to a product of its own sort
    assert found.outermost.tolist() == [True, False, False, False]


def test_the_order_in_the_file_does_not_matter() -> None:
    found = calls((30, 10, COPY), (0, 100, GEMM), (20, 70, GEMM))
    assert found.own.tolist() == [10, 30, 60]


def test_threads_are_apart() -> None:
    found = calls((0, 100, GEMM), (10, 50, GEMM), threads=(0, 1))
    assert found.own.tolist() == [100, 50]
    assert found.outermost.all()


def test_one_that_ends_a_little_after_its_caller_is_inside() -> None:
    found = calls((0, 100, GEMM), (90, 11, COPY))
    assert found.own.tolist() == [90, 10]


def test_one_after_another_is_not_inside() -> None:
    found = calls((0, 100, GEMM), (100, 50, GEMM))
    assert found.own.tolist() == [100, 50]
    assert found.counted.all()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50), st.integers(-1, 2)), min_size=1, max_size=30))
def test_own_times_add_up_to_the_time_of_the_outermost(operators: list[tuple[int, int, int]]) -> None:
    """Even where they overlap without nesting."""
    found = calls(*operators)
    lengths = np.array([length for _, length, _ in operators])
    assert found.own.sum() == lengths[found.outermost].sum()
    assert (found.own >= 0).all()
