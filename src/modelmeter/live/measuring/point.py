"""One length of the prompt: whole runs against the clock, then one more in which FLOPs are counted."""

import statistics
from collections.abc import Callable
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

from modelmeter.live.calibration.clock import Timing
from modelmeter.live.recording.flops import FLOP_FORMULAS
from modelmeter.live.session.inputs import PreparedInputs
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.report.scaling_compare.measured import MeasuredDecode, MeasuredPoint, MeasuredPrefill, Spread


def measure_point(
    session: DeepSeekOCRSession,
    inputs: PreparedInputs,
    *,
    decode_steps: int,
    flops: bool,
    warm_up: int,
    repeats: int,
    say: Callable[[str], None] = lambda line: None,
) -> MeasuredPoint:
    """Prefill of the inputs (text alone) and `decode_steps` steps, `repeats` times, each into a new cache.

    A step's time is the mean over those of a run; the median of `repeats` such means is told. Raises what the session
    raises, and torch's error where a device's memory is short.
    """
    prefills, steps = [], []
    for repeat in range(repeats):
        say(f"repeat {repeat + 1} of {repeats}")
        with session.start(inputs, warm_up=warm_up if repeat == 0 else 0, repeats=1) as run:
            run.prefill()
            for _ in range(decode_steps):
                run.decode_step()
            found = run.result()
        assert found.prefill is not None
        prefills.append(found.prefill.seconds)
        steps.append(statistics.fmean(found.decode_steps))
    counted = None
    if flops:
        say("counting FLOPs")
        counted = count_flops(session, inputs, decode_steps)
    return MeasuredPoint(
        seq_len_prefill=inputs.context_len,
        prefill=_prefill(Timing.of(prefills), None if counted is None else counted[0]),
        decode=_decode(Timing.of(steps), None if counted is None else counted[1], decode_steps),
    )


def count_flops(session: DeepSeekOCRSession, inputs: PreparedInputs, decode_steps: int) -> tuple[int, int]:
    """What torch's FlopCounterMode sees of the prefill, and of all decode steps, with the formulas that it lacks."""
    with session.start(inputs, warm_up=0, repeats=1) as run:
        return _counted(run.prefill), _counted(lambda: [run.decode_step() for _ in range(decode_steps)])


def _counted(passes: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS) as counter:
        passes()
    return int(counter.get_total_flops())


def _prefill(timing: Timing, flops: int | None) -> MeasuredPrefill:
    return MeasuredPrefill(flops=flops, time_ms=timing.seconds * 1e3, spread=_spread(timing))


def _decode(timing: Timing, flops: int | None, steps: int) -> MeasuredDecode:
    return MeasuredDecode(
        flops=flops,
        flops_per_token=None if flops is None else flops / steps,
        time_ms_per_token=timing.seconds * 1e3,
        spread=_spread(timing),
    )


def _spread(timing: Timing) -> Spread:
    return Spread(
        low_ms=timing.low * 1e3,
        first_quartile_ms=timing.first_quartile * 1e3,
        third_quartile_ms=timing.third_quartile * 1e3,
        high_ms=timing.high * 1e3,
        repeats=timing.repeats,
    )
