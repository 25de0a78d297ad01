"""A decode step launched from Python beside the same step replayed from a CUDA graph."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import attrs

from gpu_bench.bench import ATTENTION, EXPERTS, Bench, Row
from gpu_bench.predict import Measured, Point
from modelmeter.live.calibration.clock import clock_of

if TYPE_CHECKING:
    from modelmeter.live.calibration.stages import StageRun, Stages

NAME = "graphs"
POINTS = ((1, 913), (16, 913), (1, 4096), (64, 431))
"""(batch, tokens cached): a Gundam page's, a Base page's, and a long one."""
REPEATS = 25


def graphs(bench: Bench) -> Iterator[Row]:
    """A row a point: both times, and what the host's launches cost."""
    from modelmeter.live.calibration.stages import Stages

    stages = Stages(
        bench.config, clock_of(bench.device), attention=ATTENTION, experts=EXPERTS, model=bench.session.model
    )
    points: list[tuple[str, Callable[[], Row]]] = [
        (f"decode after {context}, batch {batch}", partial(_steps, bench, stages, batch, context))
        for batch, context in (POINTS[:1] if bench.quick else POINTS)
    ]
    yield from bench.points(points)


def _steps(bench: Bench, stages: "Stages", batch: int, context: int) -> Row:
    stages.decode(batch, context, REPEATS)  # meets every length, as for pages
    eager = stages.decode(batch, context, REPEATS)
    _keep(bench, eager, "eager")
    row: Row = {"batch": batch, "context_len": context, "eager": attrs.asdict(eager.timing)}
    graph = stages.decode_graph(batch, context, REPEATS)
    _keep(bench, graph, "graph")
    row["graph"] = attrs.asdict(graph.timing)
    row["speed_up"] = eager.timing.seconds / graph.timing.seconds
    row["tokens_per_second"] = batch / graph.timing.seconds
    return row


def _keep(bench: Bench, run: "StageRun", execution: str) -> None:
    step = run.twin.step
    point = Point(
        section=NAME,
        name=run.name,
        stage="decode",
        batch=int(step.batch),
        context_len=int(step.past),
        conventions=run.twin.conventions,
        execution="graph" if execution == "graph" else "eager",
    )
    bench.predictions.measured.append(Measured(point=point, timing=run.timing))
