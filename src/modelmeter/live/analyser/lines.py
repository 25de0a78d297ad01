"""What an analysis found wrong or left out, in lines that reports print and files hold."""

from collections.abc import Iterator
from typing import Final

from modelmeter.live.analyser.data import StageRow, StaticAnalysis
from modelmeter.live.analyser.scaling import StaticScaling
from modelmeter.live.verification.compare import Row
from modelmeter.live.verification.render import differences as differences_of
from modelmeter.live.verification.render import one_sided, unmatched, unpriced
from modelmeter.live.verification.selection import Report, Shown, select
from modelmeter.live.verification.verify import Point
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.report.conventions import convention_notes

_NOTES: Final = (
    "+- or difference: what the twin has more or less; of FLOPs, weights, KV cache and parameters 0 is asked for, of "
    "activations moved and their peak the bounds of `modelmeter verify`",
    "joining: what runs between SAM, CLIP and projector to make image tokens; bounded as a part of vision",
    "peaks: of sam, clip and projector their largest call's, beyond what was alive before; of vision, prefill and "
    "decode all that is alive",
    "prefill is the page's pass without its vision, decode the sum of all steps, run everything",
)


def notes(conventions: Conventions) -> list[str]:
    """What the numbers mean, and how the twin was run."""
    return [*convention_notes(conventions)[:4], *_NOTES]


def differences(analysis: StaticAnalysis) -> Iterator[str]:
    """A line for every quantity or operator of a stage that differs more than it may, then those of modules."""
    stages = [_as_row(row) for row in analysis.stages]
    shown = Shown(Point(stage="page"), None, tuple(stages), ())
    for line in differences_of(Report(analysis.reference, analysis.verification.conventions, (shown,))):
        yield line.removeprefix("page, ")
    for stage, weights in analysis.weights.items():
        if not weights.ok:
            yield (
                f"stage {stage}: parameters: real {weights.count:,} ({weights.num_bytes:,} bytes), "
                f"twin {weights.analytic_count:,} ({weights.analytic_bytes:,} bytes)"
            )
    yield from differences_of(select(analysis.verification))


def scaling_differences(scaling: StaticScaling) -> Iterator[str]:
    """The same of the points of a grid."""
    for point in scaling.points:
        where = f"length {point.length}, batch {point.batch_size}, {point.decode_steps} steps"
        shown = Shown(Point(stage="page"), None, (_as_row(point.prefill), _as_row(point.decode)), ())
        for line in differences_of(Report(scaling.reference, scaling.conventions, (shown,))):
            yield f"{where}: {line.removeprefix('page, ')}"
        if point.unpriced:
            yield f"{where}: operators without a price: {', '.join(point.unpriced)}"


def left_out(analysis: StaticAnalysis) -> list[str]:
    """Operators that nobody prices."""
    return list(unpriced(select(analysis.verification)))


def unmatched_modules(analysis: StaticAnalysis) -> list[str]:
    """Modules that one side alone calls."""
    return list(unmatched(select(analysis.verification)))


def one_sided_operators(analysis: StaticAnalysis) -> list[str]:
    """Operators that one side alone ran. They count no FLOPs."""
    return list(one_sided(select(analysis.verification)))


def _as_row(row: StageRow) -> Row:
    """A stage in the form in which `verify` has modules."""
    return Row((row.name,), "stage", row.checks, tuple(each.check for each in row.operators))
