"""What hooks take: runs with and without them, in pairs, as `bench/hook_overhead.py` measures them on a CPU."""

from collections.abc import Callable, Iterator
from functools import partial

from gpu_bench.bench import Bench, Row

NAME = "overhead"
PAIRS, STEPS = 9, 32
CONTEXT = 913
BATCHES = (1, 16)


def overhead(bench: Bench) -> Iterator[Row]:
    """A row a batch: seconds of a decode loop off and on, and the quartiles of their ratio."""
    context, batches = (20, BATCHES[:1]) if bench.quick else (CONTEXT, BATCHES)
    points: list[tuple[str, Callable[[], Row]]] = [
        (f"decode steps after {context}, batch {batch}", partial(_pairs, bench, batch, context)) for batch in batches
    ]
    yield from bench.points(points)


def _pairs(bench: Bench, batch: int, context: int) -> Row:
    from hook_overhead import GOAL, LIMIT, measure

    pairs, steps = (3, 4) if bench.quick else (PAIRS, STEPS)
    inputs = bench.session.synthetic_inputs(context, batch_size=batch)
    bench.session.check_room(inputs, decode_tokens=steps)
    found = measure(bench.session, inputs, steps, pairs)
    ratio = found["decode"]["ratio"]
    if not bench.quick:  # of a small model's steps anything is a large part
        what = f"decode steps with hooks, batch {batch}: at most {LIMIT:g} times as long"
        bench.check(what, ratio <= LIMIT, ratio=ratio)
    sizes = {"batch": batch, "context_len": context, "steps": steps, "pairs": pairs}
    return {**sizes, "goal": GOAL, "limit": LIMIT, **found}
