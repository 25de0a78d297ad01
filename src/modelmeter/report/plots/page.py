"""The plots of one page: its stages by part, and their layers."""

from typing import TYPE_CHECKING

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import time_stage
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.plots.layers import layers_figure
from modelmeter.report.plots.panel import figure_of
from modelmeter.report.plots.parts import parts_panels
from modelmeter.report.plots.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def page_plots(
    model: DeepseekOCRModel, context_len: int, batch_size: int = 1, *, machine: Machine | None = None
) -> "dict[str, Figure]":
    """The parts by stage, and the layers of prefill and of the first decode step, for the views that the model has.

    With a `machine` the parts have their time too. The model is left in decode. Raises `ModelMeterError` without views.
    """
    if model.views is None:
        raise ModelMeterError("page_plots() needs views: call set_views(plan_views(width, height)) first")
    stages, seconds, traces = {}, {}, {}
    for stage in ("vision", "prefill", "decode"):
        if stage == "vision":
            model.start_vision(batch_size)
        elif stage == "prefill":
            model.start_prefill(context_len, batch_size)
        else:
            model.start_decode()
        stages[stage], traces[stage] = model.part_costs(), model.trace()
        if machine is not None:
            parts = time_stage(model, machine).parts
            seconds[stage] = {name: float(span.seconds) for name, span in parts.items()}
    page = f"{context_len:,} tokens of context" + (f", batch size {batch_size:,}" if batch_size > 1 else "")
    with styled():
        return {
            "parts-by-stage": figure_of(f"parts by stage, {page}", parts_panels(stages, seconds or None)),
            "layers-prefill-flops": layers_figure(traces["prefill"], f"FLOPs of prefill by layer, {page}"),
            "layers-decode-bytes": layers_figure(
                traces["decode"], f"bytes that a decode step moves, by layer, {page}", "io_bytes"
            ),
        }
