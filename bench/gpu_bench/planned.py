"""What is predicted for the pages where the model itself cannot run: times without a measurement beside them."""

from collections.abc import Iterator

import attrs

from gpu_bench.bench import Bench, Row
from gpu_bench.pages import PROMPT_TOKENS, page_points
from gpu_bench.predict import Point, as_it_runs, stage_time
from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.models.deepseek_ocr.engine import OperationMode
from modelmeter.models.deepseek_ocr.views import ViewPlan

NAME = "planned"


def planned(bench: Bench) -> Iterator[Row]:
    """A row a page and batch: seconds of each stage at each level of the device as it is known."""
    machine = bench.predictions.machine
    if machine is None:
        raise ModelMeterError("the device is in no catalogue and was not calibrated: nothing can be predicted for it")
    conventions = as_it_runs(
        Conventions(implementation="transformers", attention="flash", experts="grouped", logits="last")
    )
    for name, views, batch in page_points(quick=bench.quick):
        context = views.image_tokens + PROMPT_TOKENS
        row: Row = {"name": name, "batch": batch, "context_len": context}
        stages: list[tuple[OperationMode, int, ViewPlan | None]] = [
            ("vision", 0, views),
            ("prefill", context, views),
            ("decode", context, None),
        ]
        for stage, tokens, seen in stages:
            point = Point(
                section=NAME,
                name=name,
                stage=stage,
                batch=batch,
                context_len=tokens,
                views=seen,
                conventions=conventions,
            )
            row[stage] = attrs.asdict(stage_time(bench.config, point, machine).seconds)
        yield row
