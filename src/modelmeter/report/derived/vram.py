"""`vram-by-shape`: what each shape's pages take of a device's memory: weights, activations at their peak, KV cache."""

from collections.abc import Iterator, Sequence

from modelmeter.hardware.device import Device
from modelmeter.hardware.memory import memory_budget
from modelmeter.hardware.needs import Needs, Workload
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.derived.table import SHAPE_COLUMNS, Column, Row, TableKind, shape_values
from modelmeter.report.derived.work import Point, TableWork


def _rows(model: DeepseekOCRModel, point: Point, work: TableWork, devices: Sequence[Device]) -> Iterator[Row]:
    run = Workload(views=point.views, context_len=point.context_len, decode_tokens=work.decode_tokens)
    needs, batch = Needs(model.engine, run), work.batch_size
    weights = model.parameter_bytes()
    activations, kv = needs.run_activations_bytes(batch), needs.kv_bytes(batch, run.end)
    at_once = needs.peak_bytes("run", batch)
    row = {
        **shape_values(point),
        "fullest_stage": needs.deciding_stage(batch),
        "weights_bytes": weights,
        "activation_peak_bytes": activations,
        "kv_cache_bytes": kv,
        "vram_bytes": weights + activations + kv,
        "run_bytes": at_once,
        "held_at_once_bytes": weights + at_once,
    }
    if not devices:
        yield row
    for device in devices:
        budget = memory_budget(device, weights, reserve=work.reserve)
        left = budget.free_bytes - at_once
        yield {
            **row,
            "device": device.name,
            "memory_bytes": budget.memory_bytes,
            "free_bytes": budget.free_bytes,
            "left_bytes": left,
            "fits": left >= 0,
        }


VRAM = TableKind(
    name="vram-by-shape",
    title="Memory by shape",
    columns=(
        *SHAPE_COLUMNS,
        Column("fullest_stage", None, "fullest in"),
        Column("weights_bytes", "B", "weights"),
        Column("activation_peak_bytes", "B", "activ.\npeak"),
        Column("kv_cache_bytes", "B", "KV at\nthe end"),
        Column("vram_bytes", "B", "all\nthree"),
        Column("run_bytes", "B", "activ. and KV\nat once", in_text=False),
        Column("held_at_once_bytes", "B", "held\nat once"),
    ),
    device_columns=(
        Column("device", None, "device", key=True),
        Column("fits", None, "fits"),
        Column("memory_bytes", "B", "memory", in_text=False),
        Column("free_bytes", "B", "left for\npages"),
        Column("left_bytes", "B", "left by\nthe batch"),
    ),
    rows=_rows,
    notes=(
        "all three: weights, the largest peak of the activations, and the cache at the end, added up",
        "held at once: weights and the most that activations and cache hold together at any moment of the run; they "
        "need not peak together, and a cache that is copied as it grows holds more for a moment. `modelmeter fit` goes "
        "by it",
    ),
    device_notes=(
        "left for pages: memory less the reserve, the CUDA context and the workspace that `modelmeter fit` assumes, "
        "and the weights; the cache as the model's code holds it, not in blocks",
    ),
    over=lambda row: not row.get("fits", True),
)
