"""`compare_scaling`: predicted and measured scaling joined by length, as data."""

import math
import statistics
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Final, Literal, TypeAlias

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.machine import Machine
from modelmeter.report.compare.compare import Setting
from modelmeter.report.scaling_compare.analytic import AnalyticPoint, AnalyticScaling, read_analytic
from modelmeter.report.scaling_compare.measured import MeasuredPoint, MeasuredScaling, Spread, read_measured
from modelmeter.report.scaling_compare.pair import ScalingPair
from modelmeter.report.scaling_compare.predict import Prediction, Predictor

StageName: TypeAlias = Literal["prefill", "decode"]
STAGES: Final[tuple[StageName, ...]] = ("prefill", "decode")
THRESHOLD: Final = Fraction(5, 100)


@attrs.frozen(kw_only=True)
class StagePair:
    """A stage of a length on both sides. Decode is a step: FLOPs and time of the mean one.

    Seconds are medians, with the quartiles of `spread`; FLOPs are None where they were not counted, `predicted` where
    no device was named.
    """

    length: int
    stage: StageName
    analytic_flops: Fraction
    measured_flops: Fraction | None
    seconds: float
    spread: Spread
    predicted: Prediction | None

    @property
    def difference(self) -> Fraction | None:
        """Measured less analytic FLOPs."""
        return None if self.measured_flops is None else self.measured_flops - self.analytic_flops

    @property
    def relative(self) -> Fraction | None:
        """That over the analytic FLOPs; None where these are 0."""
        if self.difference is None or not self.analytic_flops:
            return None
        return self.difference / self.analytic_flops

    @property
    def size(self) -> Fraction | float:
        """The relative difference without its sign, infinite from 0; 0 where FLOPs were not counted."""
        if not self.difference:
            return Fraction(0)
        return math.inf if self.relative is None else abs(self.relative)

    @property
    def ratio(self) -> float | None:
        """Measured over predicted time, at the predicted level."""
        return None if self.predicted is None else self.seconds / self.predicted.seconds.predicted

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation at the measured time."""
        return None if self.predicted is None else self.predicted.mfu(self.seconds)

    @property
    def mbu(self) -> float | None:
        """Model bandwidth utilisation at the measured time."""
        return None if self.predicted is None else self.predicted.mbu(self.seconds)


@attrs.frozen(kw_only=True)
class Statistics:
    """Mean, median and largest of some numbers, one a length."""

    mean: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Statistics | None":
        """None of no numbers."""
        if not values:
            return None
        return cls(mean=statistics.fmean(values), median=statistics.median(values), max=max(values))


@attrs.frozen(kw_only=True)
class ScalingComparison:
    """Both sides over the lengths that they share, prefill then decode of each.

    `settings` differ between the files; `command` is the one that asked for this.
    """

    files: ScalingPair
    analytic: AnalyticScaling
    measured: MeasuredScaling
    settings: tuple[Setting, ...]
    machine: Machine | None
    threshold: Fraction
    command: str | None
    pairs: tuple[StagePair, ...]
    only_analytic: tuple[int, ...]
    only_measured: tuple[int, ...]

    @property
    def exceeding(self) -> int:
        """How many FLOP differences are above the threshold, in either direction."""
        return sum(pair.size > self.threshold for pair in self.pairs)

    @property
    def largest(self) -> StagePair:
        """Where FLOPs differ the most, relatively."""
        return max(self.pairs, key=lambda pair: pair.size)

    def of_stage(self, stage: StageName) -> Iterator[StagePair]:
        """The pairs of a stage, in order of length."""
        return (pair for pair in self.pairs if pair.stage == stage)

    def flops_statistics(self, stage: StageName) -> Statistics | None:
        """Of the relative FLOP differences without their signs."""
        found = [pair.relative for pair in self.of_stage(stage)]
        return Statistics.of([float(abs(relative)) for relative in found if relative is not None])

    def time_statistics(self, stage: StageName) -> Statistics | None:
        """Of measured over predicted time."""
        found = [pair.ratio for pair in self.of_stage(stage)]
        return Statistics.of([ratio for ratio in found if ratio is not None])


def compare_scaling(
    files: ScalingPair,
    *,
    machine: Machine | None = None,
    threshold: Fraction = THRESHOLD,
    command: str | None = None,
) -> ScalingComparison:
    """The two files of a pair, joined by length; on a `machine` with predicted times, MFU and MBU.

    Raises `ModelMeterError` for files that are not whole, or that share no length.
    """
    analytic, measured = read_analytic(files.analytic), read_measured(files.measured)
    shared = sorted(set(analytic.lengths) & set(measured.lengths))
    if not shared:
        raise ModelMeterError(_nothing_shared(files, analytic, measured))
    predictor = None if machine is None else Predictor(measured, machine)
    ours = {point.seq_len_prefill: point for point in analytic.points}
    theirs = {point.seq_len_prefill: point for point in measured.points}
    pairs: list[StagePair] = []
    for length in shared:
        predicted = (None, None) if predictor is None else predictor.of(length)
        pairs += _pairs(analytic, measured, ours[length], theirs[length], predicted)
    return ScalingComparison(
        files=files,
        analytic=analytic,
        measured=measured,
        settings=differing(analytic, measured),
        machine=machine,
        threshold=threshold,
        command=command,
        pairs=tuple(pairs),
        only_analytic=tuple(sorted(set(analytic.lengths) - set(shared))),
        only_measured=tuple(sorted(set(measured.lengths) - set(shared))),
    )


def differing(analytic: AnalyticScaling, measured: MeasuredScaling) -> tuple[Setting, ...]:
    """What the two sides are of and that differs: conventions, then the model, precision, batch and steps."""
    names = ("model", "precision", "batch_size", "decode_steps")
    sides = [
        (f"conventions.{name}", value, getattr(measured.conventions, name))
        for name, value in attrs.asdict(analytic.conventions).items()
    ]
    sides += [(name, getattr(analytic, name), getattr(measured, name)) for name in names]
    return tuple(Setting(name=name, a=a, b=b) for name, a, b in sides if a != b)


def _pairs(
    analytic: AnalyticScaling,
    measured: MeasuredScaling,
    ours: AnalyticPoint,
    theirs: MeasuredPoint,
    predicted: tuple[Prediction | None, Prediction | None],
) -> list[StagePair]:
    prefill, decode, length = theirs.prefill, theirs.decode, theirs.seq_len_prefill
    return [
        StagePair(
            length=length,
            stage="prefill",
            analytic_flops=Fraction(ours.prefill_flops),
            measured_flops=_share(prefill.flops, 1),
            seconds=prefill.time_ms / 1e3,
            spread=prefill.spread,
            predicted=predicted[0],
        ),
        StagePair(
            length=length,
            stage="decode",
            analytic_flops=Fraction(ours.decode_flops, analytic.decode_steps),
            measured_flops=_share(decode.flops, measured.decode_steps),
            seconds=decode.time_ms_per_token / 1e3,
            spread=decode.spread,
            predicted=predicted[1],
        ),
    ]


def _share(flops: int | None, steps: int) -> Fraction | None:
    return None if flops is None else Fraction(flops, steps)


def _nothing_shared(files: ScalingPair, analytic: AnalyticScaling, measured: MeasuredScaling) -> str:
    of = [_listed(side.lengths) for side in (analytic, measured)]
    if not measured.points:
        return f"{files.measured} has no finished point: run modelmeter measure into its folder again"
    return (
        f"{files.analytic} (lengths {of[0]}) and {files.measured} ({of[1]}) share no length: "
        f"make the first with modelmeter sweep seq-len --seq-lens {' '.join(map(str, measured.lengths))}"
    )


def _listed(lengths: Sequence[Any]) -> str:
    return ", ".join(map(str, lengths)) or "none"
