"""How prefill and decode grow: the recorded stages beside the analytic ones at every point of a grid."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import attrs

from modelmeter.live.analyser.collect import Collected
from modelmeter.live.analyser.data import StageRow
from modelmeter.live.analyser.grid import Grid
from modelmeter.live.reference.adapter import Adapter
from modelmeter.live.verification.points import describe
from modelmeter.live.verification.verify import Point, decode_steps, passes
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel

Say: TypeAlias = Callable[[str], None]
"""Hears what is being done."""


@attrs.frozen(kw_only=True)
class ScalingPoint:
    """A prefill of `length` tokens of text in each of `batch_size` sequences, and the sum of the steps after it."""

    length: int
    batch_size: int
    decode_steps: int
    prefill: StageRow
    decode: StageRow
    unpriced: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Both stages inside their bounds, every operator priced."""
        return self.prefill.ok and self.decode.ok and not self.unpriced


@attrs.frozen(kw_only=True)
class StaticScaling:
    """The points of a grid that are done, in the order of the grid."""

    reference: str
    config: DeepseekOCRConfig
    conventions: Conventions
    grid: Grid
    points: tuple[ScalingPoint, ...]

    @property
    def complete(self) -> bool:
        """Whether every point is done."""
        return len(self.points) == self.grid.size

    @property
    def ok(self) -> bool:
        """Every point that is done."""
        return all(point.ok for point in self.points)


def scaling(
    adapter: Adapter,
    twin: DeepseekOCRModel,
    grid: Grid,
    on_point: Callable[[StaticScaling], None] | None = None,
    say: Say = lambda line: None,
) -> StaticScaling:
    """Run every point of `grid` on both sides; after each run `on_point` gets what is done so far."""
    done = StaticScaling(
        reference=adapter.name, config=adapter.config, conventions=adapter.conventions, grid=grid, points=()
    )
    for length, batch in grid.runs():
        found = tuple(_run(adapter, twin, grid, length, batch, say))
        done = attrs.evolve(done, points=(*done.points, *found))
        if on_point is not None:
            on_point(done)
    return done


def _run(
    adapter: Adapter, twin: DeepseekOCRModel, grid: Grid, length: int, batch: int, say: Say
) -> Iterator[ScalingPoint]:
    """One prefill and the most steps of the grid after it; a point at each number of steps."""
    found = Collected(adapter)
    points = [
        Point(stage="prefill", batch=batch, context_len=length),
        *decode_steps(max(grid.decode_steps), batch=batch, context_len=length),
    ]
    at: dict[int, ScalingPoint] = {}
    for each in passes(adapter, announced(points, say), twin):
        found.add(each)
        steps = each.point.step + 1
        if each.point.stage == "decode" and steps in grid.decode_steps:
            rows = {row.name: row for row in found.rows()}
            at[steps] = ScalingPoint(
                length=length,
                batch_size=batch,
                decode_steps=steps,
                prefill=rows["prefill"],
                decode=rows["decode"],
                unpriced=tuple(sorted(found.unpriced)),
            )
    yield from (at[steps] for steps in grid.decode_steps)


def announced(points: Iterable[Point], say: Say) -> Iterator[Point]:
    """The points, each told before it runs."""
    for point in points:
        say(describe(point))
        yield point
