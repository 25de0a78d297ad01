"""Operators that call operators: each one's own time, and which of them did something themselves."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_WORK: Final = -1
"""The sort of an operator that launches nothing."""


class Calls(NamedTuple):
    """For each operator, in the order given: its own nanoseconds, whether it counts as a launch, whether nothing called
    it."""

    own: NDArray[np.int64]
    counted: NDArray[np.bool_]
    outermost: NDArray[np.bool_]


def own_times(
    threads: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64], sorts: NDArray[np.int64]
) -> Calls:
    """The nesting of operators, from their times alone: one inside another of its thread was called by it.

    An operator counts where it does work (its sort is not `NO_WORK`) and calls none of its own sort that counts:
    `linear` hands on to `addmm`, which multiplies although it has its bias copied by `copy_`. Own times add up to the
    time of the outermost operators.
    """
    own = lengths.copy()
    counted = sorts != NO_WORK
    sort_of = sorts.tolist()
    outermost = np.ones(len(starts), dtype=np.bool_)
    stack: list[tuple[int, int]] = []  # (its number, its end)
    thread = None
    ends = (starts + lengths).tolist()
    begins, places = starts.tolist(), threads.tolist()
    for i in np.lexsort((-lengths, starts, threads)).tolist():
        if places[i] != thread:
            thread, stack = places[i], []
        while stack and stack[-1][1] <= begins[i]:
            stack.pop()
        if stack:
            caller, end = stack[-1]
            own[caller] -= min(ends[i], end) - begins[i]
            outermost[i] = False
            if counted[i]:
                for above, _ in stack:
                    counted[above] &= sort_of[above] != sort_of[i]
            if ends[i] > end:  # rounding: it ends a little after its caller
                own[i] -= ends[i] - end
                ends[i] = end
        stack.append((i, ends[i]))
    return Calls(own, counted, outermost)
