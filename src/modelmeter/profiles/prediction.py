"""`predict`: what the twin says of a profiled workload, by stage and kind of operator, beside what was measured."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal, TypeAlias

import attrs
import numpy as np

from modelmeter.core.dims import Dim, as_dim, exact_plus
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.op import Op
from modelmeter.core.recorder import Segment
from modelmeter.core.trace import Trace
from modelmeter.hardware.device import Device
from modelmeter.hardware.floor import floor_of
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import MOST_STEPS, decoding, mbu, mfu, used_bytes
from modelmeter.hardware.timeline import Level, Timeline
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.profiles.kinds import Kind, operator_kind
from modelmeter.profiles.profile import STAGES, Stage

Covered: TypeAlias = Stage | Literal["all vision"]
_VISION: Final[tuple[Stage, ...]] = ("sam", "clip", "projector")
_PLACES: Final[dict[Stage, tuple[Stage, ...]]] = {
    **dict.fromkeys(_VISION, ("vision", "prefill")),
    "prefill": (),
    "decode": (),
}
"""Where a stage's work is counted that the profile does not tell apart: in the range around it."""


@attrs.frozen(kw_only=True)
class Predicted:
    """A kind of operators in a stage: what the device takes for its kernels, and that with waiting for launches."""

    kernel_seconds: float = 0.0
    seconds: float = 0.0
    launches: float = 0.0

    def __add__(self, other: "Predicted") -> "Predicted":
        return Predicted(
            kernel_seconds=self.kernel_seconds + other.kernel_seconds,
            seconds=self.seconds + other.seconds,
            launches=self.launches + other.launches,
        )

    def times(self, count: int) -> "Predicted":
        """So many of it."""
        return Predicted(
            kernel_seconds=self.kernel_seconds * count, seconds=self.seconds * count, launches=self.launches * count
        )


@attrs.frozen(kw_only=True)
class Work:
    """What a stage needs, as docs/time.md defines it: matrix FLOPs by dtype, and the bytes it uses, once."""

    needed_flops: Mapping[str, Dim]
    used_bytes: Dim

    def plus(self, other: "Work", *, sign: int = 1) -> "Work":
        """The two together (or without the other, with `sign` -1)."""
        names = {**self.needed_flops, **other.needed_flops}
        flops = {n: self.needed_flops.get(n, 0) + sign * other.needed_flops.get(n, 0) for n in names}
        return Work(needed_flops=flops, used_bytes=self.used_bytes + sign * other.used_bytes)

    def times(self, count: int) -> "Work":
        """So many of it."""
        return Work(
            needed_flops={n: v * count for n, v in self.needed_flops.items()}, used_bytes=self.used_bytes * count
        )

    def shares(self, device: Device, seconds: float) -> tuple[float, float]:
        """(MFU, MBU) where it takes `seconds`."""
        return mfu(self.needed_flops, device, seconds), mbu(self.used_bytes, device, seconds)


@attrs.frozen(kw_only=True)
class Prediction:
    """`parts` by stage and kind; `work` of the stages, where it is known of them as a whole."""

    machine: Machine
    level: Level
    parts: Mapping[tuple[Stage, Kind], Predicted]
    work: Mapping[Covered, Work]

    def of(self, stages: Collection[Stage], kind: Kind | None = None) -> Predicted:
        """All that is predicted of some stages, or of one kind in them."""
        chosen = (part for (stage, own), part in self.parts.items() if stage in stages and kind in (None, own))
        return sum(chosen, Predicted())

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Those that anything is predicted of, in order."""
        return tuple(stage for stage in STAGES if any(found == stage for found, _ in self.parts))

    @property
    def complete(self) -> bool:
        """Whether the work of all stages together is known."""
        return all(stage in self.work or (stage in _VISION and "all vision" in self.work) for stage in self.stages)


def predict(
    model: DeepseekOCRModel,
    views: ViewPlan,
    machine: Machine,
    *,
    stages: Collection[Stage],
    prompt_tokens: int = 10,
    decode_tokens: int = 0,
    batch_size: int = 1,
    runs: int = 1,
) -> Prediction:
    """`runs` times a batch of pages, each with its decode steps: of that the `stages` that a profile has.

    What it has no range for counts in the range around it: of a profile with no range but "prefill" the vision too, of
    one without ranges all. Calibrated where the device is, else its roofline.
    """
    steps = as_dim(decode_tokens, "decode_tokens", least=0)
    batch, count = as_dim(batch_size, "batch_size"), as_dim(runs, "runs")
    context = views.image_tokens + as_dim(prompt_tokens, "prompt_tokens", least=0)
    if steps > MOST_STEPS:
        raise ModelMeterError(f"decode_tokens is {steps}: times are of at most {MOST_STEPS:,} steps, one by one")
    places = {stage: _place(stage, stages) for stage in _PLACES}
    model.set_views(views)
    model.start_vision(batch)
    vision = _work(model, model.trace(), 1)
    model.start_prefill(context, batch)
    trace = model.trace()
    parts = _parts(model, trace, machine, places, "prefill", 1)
    work = _prefill_work(vision, _work(model, trace, 1), places)
    if steps:
        model = decoding(model, exact_plus(context, np.arange(steps)), batch)
        trace = model.trace()
        for key, found in _parts(model, trace, machine, places, "decode", steps).items():
            parts[key] = parts.get(key, Predicted()) + found
        _add_work(work, places["decode"], _work(model, trace, steps))
    return Prediction(
        machine=machine,
        level="roofline" if machine.calibration is None else "calibrated",
        parts={name: part.times(count) for name, part in parts.items()},
        work={name: found.times(count) for name, found in work.items()},
    )


def _place(stage: Stage, stages: Collection[Stage]) -> Stage | None:
    """The stage of a profile in which `stage` counts; None where the profile does not have it."""
    named = set(stages) - {"unknown"}
    if not named:
        return "unknown"
    return next((found for found in (stage, *_PLACES[stage]) if found in named), None)


def _parts(
    model: DeepseekOCRModel,
    trace: Trace,
    machine: Machine,
    places: Mapping[Stage, Stage | None],
    stage: Stage,
    steps: int,
) -> dict[tuple[Stage, Kind], Predicted]:
    """Time and launches of a trace by stage and kind; of `steps` decode steps the sums."""

    def name(part: str, op: Op) -> tuple[Stage | None, Kind]:
        own = next((found for found in _VISION if found == part and stage == "prefill"), stage)
        return places[own], operator_kind(op.name)

    operators = [(name(part, op), op) for part, op in _operators(model.engine.pieces(trace))]
    spans = Timeline(trace, machine).split(iter(operators))
    busy: dict[tuple[Stage | None, Kind], float] = {}
    launches: dict[tuple[Stage | None, Kind], float] = {}
    known: dict[int, tuple[float, float]] = {}
    for key, op in operators:
        if id(op) not in known:
            known[id(op)] = _sum(machine.terms(op).seconds, steps), _sum(machine.launches(op), steps)
        seconds, count = known[id(op)]
        busy[key], launches[key] = busy.get(key, 0.0) + seconds, launches.get(key, 0.0) + count
    found = {}
    for (place, kind), span in spans.items():
        total = _sum(span.seconds, steps)
        if place is not None and (total or launches[place, kind]):
            own = total if machine.synchronous else busy[place, kind]  # on a CPU an operator is its own launch
            found[place, kind] = Predicted(kernel_seconds=own, seconds=total, launches=launches[place, kind])
    return found


def _operators(pieces: Iterator[tuple[str, Op | Segment]]) -> Iterator[tuple[str, Op]]:
    for part, piece in pieces:
        if isinstance(piece, Op):
            yield part, piece
        else:
            yield from _operators((part, item) for item in piece.items)


def _work(model: DeepseekOCRModel, trace: Trace, steps: int) -> Work:
    """What the stage last started needs; of decode steps all together."""
    floor = floor_of(model)
    flops = {name: _sum(value, steps) for name, value in floor.flops_by_dtype.items()}
    return Work(needed_flops=flops, used_bytes=_sum(used_bytes(model, trace), steps))


def _prefill_work(vision: Work, whole: Work, places: Mapping[Stage, Stage | None]) -> dict[Covered, Work]:
    """The work of vision and prefill by the stages it counts in; of none that has a part of the vision alone."""
    apart = {places[stage] for stage in _VISION}
    rest = places["prefill"]
    work: dict[Covered, Work] = {}
    if apart == {rest}:
        _add_work(work, rest, whole)
    elif rest not in apart:
        if None not in apart:
            name: Covered | None = apart.pop() if len(apart) == 1 else "all vision"
            _add_work(work, name, vision)
        _add_work(work, rest, whole.plus(vision, sign=-1))
    return work


def _add_work(work: dict[Covered, Work], name: Covered | None, more: Work) -> None:
    if name is not None:
        work[name] = work[name].plus(more) if name in work else more


def _sum(value: Dim, steps: int) -> float:
    """Of all steps: a number is that of each."""
    return float(np.sum(value)) if isinstance(value, np.ndarray) else float(value) * steps
