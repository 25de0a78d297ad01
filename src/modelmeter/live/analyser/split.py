"""One recorded pass taken apart into stages: the operators, bytes and peaks of each, on either side alike."""

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from modelmeter.core.op import NOTHING, Numbers, Op
from modelmeter.core.trace import Trace
from modelmeter.live.analyser.stages import VISION, StageName, stage_of
from modelmeter.live.verification.compare import Folded, operator_name
from modelmeter.report.model_report.records import category_of

PartName: TypeAlias = StageName | Literal["joining"]
JOINING: Final = "joining"
"""What the containers run themselves to make image tokens: channels joined, tiles laid out, newlines, separator."""
OwnOperators: TypeAlias = Counter[tuple[str, tuple[int, ...], str, Numbers]]


def joining_of(vision: Trace) -> OwnOperators:
    """What a vision pass alone runs between the modules, each operator as often as it ran."""
    return Counter(_key(op) for path, op in vision.operators() if stage_of(path) is None)


def split_pass(trace: Trace, joining: OwnOperators | None = None) -> dict[PartName, Folded]:
    """The stages of a prefill, with images or without. Every operator is in one of them.

    The containers' own operators are `joining` where the vision pass alone runs them too, and else prefill's. The peak
    of a vision module is that of its largest call, beyond what was alive before; prefill's is the most bytes alive
    while none of them runs. Raises `RuntimeError` where the pass lacks one of the `joining` operators.
    """
    left, parts = Counter(joining or {}), dict[PartName, Folded]()
    for path, op in trace.operators():
        stage: PartName | None = stage_of(path)
        if stage is None:
            stage = JOINING if left[_key(op)] > 0 else "prefill"
            if stage == JOINING:
                left[_key(op)] -= 1
        add_operator(parts.setdefault(stage, Folded()), path, op)
    if missing := +left:
        raise RuntimeError(f"the pass with images lacks what vision runs alone: {[key[:2] for key in missing]}")
    for path, segment in trace.segments():
        stage = stage_of(path)
        if stage in VISION and stage in parts:
            parts[stage].peak = max(parts[stage].peak, int(segment.peak()[1]))
    if "prefill" in parts:
        parts["prefill"].peak = int(trace.live_peaks(stage_of, "prefill")["prefill"])
    return parts


def whole_pass(trace: Trace) -> Folded:
    """All of a pass as one part."""
    part = Folded(peak=int(trace.peak_bytes))
    for path, op in trace.operators():
        add_operator(part, path, op)
    return part


def add_operator(part: Folded, path: str, op: Op) -> None:
    """An operator that ran in the module at `path`."""
    part.forward = added(part.forward, op.numbers)
    part.count(path, op)


def together(parts: list[Folded]) -> Folded:
    """Several parts as one: costs and operators add up, the largest peak counts."""
    whole = Folded(peak=max((part.peak for part in parts), default=0))
    for part in parts:
        whole.forward = added(whole.forward, part.forward)
        for name, tally in part.operators.items():
            whole.operators[name] = whole.operators[name].plus(tally) if name in whole.operators else tally
    return whole


def categories(traces: Iterable[Trace]) -> dict[str, str]:
    """Operator name, as comparisons have it -> what kind of work it is."""
    found: dict[str, str] = {}
    for trace in traces:
        for path, op in trace.operators():
            found.setdefault(operator_name(path, op.name), category_of(op).value)
    return found


def added(a: Numbers, b: Numbers) -> Numbers:
    """The eight quantities of two costs, added."""
    return b if a is NOTHING else tuple(x + y for x, y in zip(a, b, strict=True))


def _key(op: Op) -> tuple[str, tuple[int, ...], str, Numbers]:
    return op.name, op.shape, op.dtype.name, op.numbers
