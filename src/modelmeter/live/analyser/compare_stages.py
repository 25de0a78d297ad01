"""Stages of both sides beside each other: the checks of `verify`, with its bounds, for parts of a pass."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import attrs

from modelmeter.core.cost import Cost
from modelmeter.live.analyser.data import PARTS, OperatorRow, RowName, StageRow, Weights
from modelmeter.live.analyser.split import JOINING, PartName, together
from modelmeter.live.analyser.stages import MODULES, SHARED, MappedParameter, StageName, stage_of
from modelmeter.live.reference.adapter import Quantity
from modelmeter.live.verification.compare import Check, Folded, operator_checks
from modelmeter.live.verification.verify import STAGE_BOUNDS, Stage
from modelmeter.models.deepseek_ocr.network import DeepseekOCRForCausalLM

BOUNDS_OF: Final[Mapping[RowName, Stage]] = {
    "sam": "vision",
    "clip": "vision",
    "projector": "vision",
    "vision": "vision",
    "prefill": "prefill",
    "decode": "decode",
}
"""Whose bounds of `verify` hold for a row. What joins the parts has none of its own: vision's has it in."""
IN_VISION: Final[tuple[PartName, ...]] = ("sam", "clip", "projector", "joining")

Parts = Mapping[PartName, tuple[Folded, Folded]]
"""Each part as it was recorded and as its twin has it."""
Held = Mapping[RowName, tuple[int, int]]
"""Bytes in the caches after a stage, the real one first."""


def stage_rows(
    parts: Parts, held: Held, kinds: Mapping[str, str], skip: Mapping[RowName, Collection[Quantity]]
) -> tuple[StageRow, ...]:
    """The parts that ran, vision as the sum of its own, and the run as the sum of all."""
    rows: list[StageRow] = []
    for name in PARTS:
        if name in parts:
            rows.append(_row(name, parts[name], held, kinds, skip))
        if name == JOINING and any(part in parts for part in IN_VISION):
            vision = [parts[part] for part in IN_VISION if part in parts]
            rows.append(_row("vision", _sum(vision), held, kinds, skip))
    return (*rows, _row("run", _sum(list(parts.values())), held, kinds, skip))


def weights_by_stage(mapped: Sequence[MappedParameter], network: DeepseekOCRForCausalLM) -> dict[StageName, Weights]:
    """Parameters of each stage on both sides; a stage that shares another's has the same, and says so."""
    found: dict[StageName, Weights] = {}
    twins = [(stage_of(path), weight) for path, weight in network.named_parameters() if not weight.tied]
    present = {each.stage for each in mapped}
    for stage in [name for name in MODULES if name in present]:
        real = [each for each in mapped if each.stage == stage]
        twin = [weight for where, weight in twins if where == stage]
        found[stage] = Weights(
            tensors=len(real),
            count=sum(each.count for each in real),
            num_bytes=sum(each.num_bytes for each in real),
            analytic_count=sum(weight.numel for weight in twin),
            analytic_bytes=sum(weight.nbytes for weight in twin),
        )
    for stage, other in SHARED.items():
        if other in found:
            found[stage] = attrs.evolve(found[other], shared_with=other)
    return found


def _row(
    name: RowName,
    sides: tuple[Folded, Folded],
    held: Held,
    kinds: Mapping[str, str],
    skip: Mapping[RowName, Collection[Quantity]],
) -> StageRow:
    real, twin = sides
    measured, analytic = Cost.from_values(real.forward), Cost.from_values(twin.forward)
    checks = [
        Check("counted_flops", measured.counted_flops, analytic.counted_flops),
        Check("kv_traffic_bytes", measured.kv_bytes, analytic.kv_bytes),
        Check("weight_read_bytes", measured.weight_bytes, analytic.weight_bytes),
    ]
    if name in held:
        checks.append(Check("kv_cache_bytes", *held[name]))
    if name in BOUNDS_OF:
        bounds = STAGE_BOUNDS[BOUNDS_OF[name]]
        moved = measured.activation_bytes, analytic.activation_bytes
        checks.append(Check("activation_bytes", *moved, bounds["activation_bytes"]))
        checks.append(Check("peak_bytes", real.peak, twin.peak, bounds["peak_bytes"]))
    skipped = skip.get(name, ())
    return StageRow(
        name=name,
        recorded=measured,
        analytic=analytic,
        checks=tuple(check for check in checks if check.quantity not in skipped),
        operators=_operators(real, twin, kinds),
    )


def _operators(real: Folded, twin: Folded, kinds: Mapping[str, str]) -> tuple[OperatorRow, ...]:
    """Every operator that either side ran, those with the most recorded FLOPs first, then by bytes."""
    found = operator_checks(real, twin)
    flops, num_bytes = (sum(x) for x in ([c.measured_flops for c in found], [c.measured_bytes for c in found]))
    rows = [
        OperatorRow(
            category=kinds[check.name],
            check=check,
            flops_share=check.measured_flops / flops if flops else 0.0,
            bytes_share=check.measured_bytes / num_bytes if num_bytes else 0.0,
        )
        for check in found
    ]
    return tuple(sorted(rows, key=lambda row: (-row.check.measured_flops, -row.check.measured_bytes, row.check.name)))


def _sum(parts: Sequence[tuple[Folded, Folded]]) -> tuple[Folded, Folded]:
    return together([real for real, _ in parts]), together([twin for _, twin in parts])
