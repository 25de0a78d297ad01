"""What one recording, of many sizes at once, says: costs, peaks, and the times on each machine."""

from collections.abc import Mapping, Set
from typing import Any

import attrs

from modelmeter.core.cost import StageCost
from modelmeter.core.dims import Dim
from modelmeter.core.trace import Trace
from modelmeter.hardware.floor import Floor, floor_of
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import used_bytes
from modelmeter.hardware.timeline import Timeline
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.sweeps.quantities import Answer
from modelmeter.sweeps.steps import DecodeTimes


def measure(
    model: DeepseekOCRModel,
    stage: str,
    plan: ViewPlan | None,
    sizes: Mapping[str, Any],
    machines: list[Machine],
    needs: Set[str],
    times: DecodeTimes | None,
) -> list[Answer]:
    """One answer a machine, or one without times where there is none. `sizes` are ints, or arrays of the same length.

    What `needs` does not name may be left out.
    """
    model.set_views(plan)
    if stage == "vision":
        model.start_vision(sizes["batch_size"])
        return _single_pass(model, machines, needs)
    model.start_prefill(sizes["context_len"], sizes["batch_size"])
    if stage == "run":
        return _run(model, sizes, machines, needs, times)
    if stage == "prefill":
        return _single_pass(model, machines, needs)
    if "decode_tokens" in sizes:
        return _decode_steps(model, sizes, machines, times)
    model.start_decode()
    return _single_pass(model, machines, needs)


def _single_pass(model: DeepseekOCRModel, machines: list[Machine], needs: Set[str]) -> list[Answer]:
    """The stage last started, one forward pass."""
    trace = model.trace()
    common = Answer(
        cost=trace.total,
        peak_bytes=trace.peak_bytes if "peak" in needs else None,
        weights_bytes=model.parameter_bytes(),
        kv_cache_bytes=model.kv_cache_bytes(),
    )
    if not machines:
        return [common]
    floor = floor_of(model) if needs & {"bound", "use"} else None
    used = used_bytes(model, trace) if "use" in needs else None
    return [_on_machine(common, trace, machine, needs, floor, used) for machine in machines]


def _on_machine(
    common: Answer, trace: Trace, machine: Machine, needs: Set[str], floor: Floor | None, used: Dim
) -> Answer:
    roofline, predicted = None, None
    if machine.calibration is None or "roofline" in needs:
        roofline = Timeline(trace, attrs.evolve(machine, calibration=None)).seconds
    if machine.calibration is not None and needs & {"predicted", "use", "run"}:
        predicted = Timeline(trace, machine).seconds
    return attrs.evolve(
        common,
        bound=None if floor is None else floor.seconds(machine.device),
        roofline=roofline,
        predicted=roofline if machine.calibration is None else predicted,
        needed_seconds=None if floor is None else floor.matrix_seconds(machine.device),
        used_bytes=used,
        bandwidth=machine.device.bandwidth,
    )


def _decode_steps(
    model: DeepseekOCRModel, sizes: Mapping[str, Any], machines: list[Machine], times: DecodeTimes | None
) -> list[Answer]:
    """`decode_tokens` steps after the prefill, summed."""
    common = _summed(model.simulate_run(sizes["decode_tokens"]).decode)
    if times is None:
        return [common]
    return [_with_steps(common, times, i, sizes) for i, _ in enumerate(machines)]


def _run(
    model: DeepseekOCRModel,
    sizes: Mapping[str, Any],
    machines: list[Machine],
    needs: Set[str],
    times: DecodeTimes | None,
) -> list[Answer]:
    """Prefill, vision included, and `decode_tokens` steps."""
    common = _summed(model.simulate_run(sizes["decode_tokens"]).total)
    if times is None:
        return [common]
    found = []
    for i, prefill in enumerate(_single_pass(model, machines, needs)):
        steps = _with_steps(common, times, i, sizes)
        run = {"prefill": prefill.predicted, "decode": steps.predicted, "decode_tokens": sizes["decode_tokens"]}
        found.append(attrs.evolve(common, **_added(prefill, steps), **run))
    return found


def _summed(stage: StageCost) -> Answer:
    return Answer(
        cost=stage.cost,
        peak_bytes=stage.activations_bytes,
        weights_bytes=stage.weights_bytes,
        kv_cache_bytes=stage.kv_cache_bytes,
    )


def _with_steps(common: Answer, times: DecodeTimes, machine: int, sizes: Mapping[str, Any]) -> Answer:
    """`common` with the times of the decode steps."""
    points = sizes["batch_size"], sizes["context_len"], sizes["decode_tokens"]
    levels = {level: times.of(machine, level, *points) for level in times.levels(machine)}
    return attrs.evolve(
        common,
        bound=levels["bound"],
        roofline=levels["roofline"],
        predicted=levels.get("calibrated", levels["roofline"]),
    )


def _added(prefill: Answer, steps: Answer) -> dict[str, Any]:
    """The seconds of both, at each level that was asked for."""
    levels = ("bound", "roofline", "predicted")
    both = {level: (getattr(prefill, level), getattr(steps, level)) for level in levels}
    return {level: None if first is None else first + rest for level, (first, rest) in both.items()}
