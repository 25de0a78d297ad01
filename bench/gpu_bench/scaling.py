"""Measured scaling: prefill and decode over exact lengths of text, with the FLOPs that torch's counter sees."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import attrs

from gpu_bench.bench import Bench, Row
from gpu_bench.pages import twin_of
from modelmeter.live.calibration.clock import Timing

if TYPE_CHECKING:
    from modelmeter.report.scaling_compare.measured import Spread

NAME = "scaling"
LENGTHS = (256, 512, 1024, 2048, 4096, 8176)
"""Tokens of the prompt; the longest leaves the model's 8192 positions room for the steps."""
STEPS = 16
REPEATS = 3


def scaling(bench: Bench) -> Iterator[Row]:
    """A row a length: times of prefill and of a decode step, and FLOPs against the twin's, which are to be equal."""
    lengths, steps = ((16, 48), 4) if bench.quick else (LENGTHS, STEPS)
    points: list[tuple[str, Callable[[], Row]]] = [
        (f"{length:,} tokens", partial(_point, bench, length, steps)) for length in lengths
    ]
    yield from bench.points(points)


def _point(bench: Bench, length: int, steps: int) -> Row:
    from gpu_bench.watched import watch
    from modelmeter.live.measuring.point import measure_point

    session = bench.session
    inputs = session.synthetic_inputs(length)
    session.check_room(inputs, decode_tokens=steps)
    watched = watch(session, inputs, steps)  # meets every length, as for pages
    found = measure_point(session, inputs, decode_steps=steps, flops=True, warm_up=1, repeats=REPEATS)
    prefill, decode = found.prefill, found.decode
    times = timing(prefill.time_ms, prefill.spread), timing(decode.time_ms_per_token, decode.spread)
    took = partial(bench.took, NAME, batch=1)
    took(f"prefill {length}", "prefill", times[0], context_len=length, reached=watched.reached("prefill"))
    middle = length + (steps - 1) // 2
    took(f"decode after {length}", "decode", times[1], context_len=middle, reached=watched.reached("decode"))
    counted, analytic = (prefill.flops or 0) + (decode.flops or 0), analytic_flops(bench, length, steps)
    bench.check(f"analytic = counted FLOPs: {length} tokens", counted == analytic, counted=counted, analytic=analytic)
    return {
        "seq_len": length,
        "decode_steps": steps,
        "times": {"prefill": attrs.asdict(times[0]), "decode": attrs.asdict(times[1])},
        "flops": {"prefill": prefill.flops, "decode": decode.flops, "analytic": analytic},
        "flops_difference": analytic - counted,
    }


def analytic_flops(bench: Bench, length: int, steps: int) -> int:
    """What a FLOP counter is to see of the prefill and all steps, by the twin that decodes along."""
    twin = twin_of(bench)
    twin.start_prefill(length, 1)
    total = int(twin.cost().counted_flops)
    twin.start_decode()
    for _ in range(steps):
        total += int(twin.cost().counted_flops)
        twin.decode_one_token()
    return total


def timing(milliseconds: float, spread: "Spread") -> Timing:
    """A measured point's milliseconds as seconds."""
    return Timing(
        seconds=milliseconds / 1e3,
        low=spread.low_ms / 1e3,
        first_quartile=spread.first_quartile_ms / 1e3,
        third_quartile=spread.third_quartile_ms / 1e3,
        high=spread.high_ms / 1e3,
        repeats=spread.repeats,
    )
