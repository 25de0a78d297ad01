"""From a `run` and its sizes to a recording: ints and symbols as they are, arrays once nothing can overflow."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from modelmeter.core.dims import Dim, check_sweep, is_array, is_number
from modelmeter.core.recorder import RecordOptions, Segment, record

CHUNK = 8_192
"""Points of a sweep recorded at once: 64 KiB an array stays in the cache and below malloc's threshold for mapping pages
(twice the points cost twice the time a point)."""
_LARGE_BLOCK = 16 << 20  # bytes
INT64_ROOM = 2**62
"""Largest number a sweep may reach in int64: half of the range, for the intermediate products of S * (S - 1) / 2."""

Run: TypeAlias = Callable[..., Any]
"""`run(recorder, *dims)` makes its inputs and calls a layer."""


def evaluate(run: Run, dims: Sequence[Dim], options: RecordOptions) -> Segment:
    """Record `run(recorder, *dims)`.

    With arrays the largest corner is priced in Python ints first: int64 where all its numbers stay below 2**62, Python
    ints in object arrays beyond, so that nothing wraps.
    """
    sweeps = [dim for dim in dims if is_array(dim)]
    if not sweeps:
        plain = all([is_number(dim) for dim in dims])
        return record(lambda recorder: run(recorder, *dims), options, plain=plain)
    dtype = _dtype_for(run, dims, options)
    exact = tuple([dim.astype(dtype) if is_array(dim) else dim for dim in dims])
    return record(lambda recorder: run(recorder, *exact), options, by_identity=True)


def fold(
    run: Run, dims: Sequence[Dim], options: RecordOptions, read: Callable[[Segment], tuple[Dim, ...]]
) -> tuple[Dim, ...]:
    """The quantities that `read` takes from the recording; long sweeps are recorded in chunks."""
    sweeps = [dim for dim in dims if is_array(dim)]
    check_sweep(**{f"size {i + 1}": dim for i, dim in enumerate(dims)})
    shape = np.broadcast_shapes(*[sweep.shape for sweep in sweeps])
    if int(np.prod(shape, dtype=np.int64)) <= CHUNK:
        return read(evaluate(run, dims, options))
    dtype = _dtype_for(run, dims, options)
    flat = [np.broadcast_to(dim, shape).reshape(-1).astype(dtype) if is_array(dim) else dim for dim in dims]
    size = int(np.prod(shape, dtype=np.int64))
    # Letting go of one large block tells glibc's malloc to keep freed memory from here on (its dynamic threshold),
    # instead of handing each chunk's arrays back to the system and faulting them in again: three times faster.
    np.empty(_LARGE_BLOCK, dtype=np.uint8)
    results: list[np.ndarray] = []
    for start in range(0, size, CHUNK):
        part = [dim[start : start + CHUNK] if is_array(dim) else dim for dim in flat]
        _record_chunk(run, part, options, read, results, slice(start, start + CHUNK), size)
    return tuple([result.reshape(shape) for result in results])


def _record_chunk(
    run: Run, part: list[Dim], options: RecordOptions, read: Any, results: list[Any], where: slice, size: int
) -> None:
    values = read(record(lambda recorder: run(recorder, *part), options, by_identity=True))
    for i, value in enumerate(values):
        if len(results) <= i:
            results.append(np.empty(size, dtype=np.asarray(value).dtype))
        results[i][where] = value


def _dtype_for(run: Run, dims: Sequence[Dim], options: RecordOptions) -> Any:
    check_sweep(**{f"size {i + 1}": dim for i, dim in enumerate(dims)})
    corner = [int(dim.max()) if is_array(dim) else dim for dim in dims]
    top = record(lambda recorder: run(recorder, *corner), options)
    numbers = (*top.numbers, *top.backward_numbers, top.peak()[1], top.saved_bytes)
    return np.int64 if sum(numbers) < INT64_ROOM else object
