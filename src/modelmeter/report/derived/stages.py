"""Tables of every stage of each shape: the split between engines, arithmetic intensity, FLOPs by part."""

from collections.abc import Iterator, Sequence

from modelmeter.hardware.device import Device
from modelmeter.hardware.floor import best_rate
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.parts import PARTS
from modelmeter.report.derived.table import SHAPE_COLUMNS, Column, Row, TableKind, shape_values
from modelmeter.report.derived.work import Point, TableWork, stages_of

_STAGE = Column("stage", None, "stage", key=True)


def _split_rows(model: DeepseekOCRModel, point: Point, work: TableWork, devices: Sequence[Device]) -> Iterator[Row]:
    for name, (stage, _) in stages_of(model, point, work).items():
        cost = stage.cost
        yield {
            **shape_values(point),
            "stage": name,
            "tensor_flops": cost.tensor_flops,
            "cuda_flops": cost.cuda_flops,
            "flops": cost.flops,
            "tensor_share": cost.tensor_flops / cost.flops,
            "cuda_share": cost.cuda_flops / cost.flops,
        }


def _intensity_rows(model: DeepseekOCRModel, point: Point, work: TableWork, devices: Sequence[Device]) -> Iterator[Row]:
    for name, (stage, _) in stages_of(model, point, work).items():
        cost = stage.cost
        row = {
            **shape_values(point),
            "stage": name,
            "flops": cost.flops,
            "weight_bytes": cost.weight_bytes,
            "activation_bytes": cost.activation_bytes,
            "kv_bytes": cost.kv_bytes,
            "io_bytes": cost.io_bytes,
            "arithmetic_intensity": cost.arithmetic_intensity,
        }
        if not devices:
            yield row
        for device in devices:
            ridge = best_rate(device, model.precision.float16.name) / device.bandwidth
            side = "FLOPs" if cost.arithmetic_intensity >= ridge else "bytes"
            yield {**row, "device": device.name, "bound_by": side, "ridge": ridge}


def _part_rows(model: DeepseekOCRModel, point: Point, work: TableWork, devices: Sequence[Device]) -> Iterator[Row]:
    for name, (stage, parts) in stages_of(model, point, work).items():
        by_part = {f"{part}_flops": parts[part].cost.flops for part in PARTS}
        yield {**shape_values(point), "stage": name, **by_part, "flops": stage.cost.flops}


SPLIT = TableKind(
    name="tensor-cuda-split",
    title="FLOPs on tensor and CUDA cores by shape",
    columns=(
        *SHAPE_COLUMNS,
        _STAGE,
        Column("tensor_flops", "FLOP", "tensor\nFLOPs"),
        Column("cuda_flops", "FLOP", "CUDA\nFLOPs"),
        Column("flops", "FLOP", "FLOPs"),
        Column("tensor_share", "1", "tensor\nshare"),
        Column("cuda_share", "1", "CUDA\nshare"),
    ),
    rows=_split_rows,
    notes=("tensor and CUDA cores add up to all FLOPs",),
)
INTENSITY = TableKind(
    name="intensity-by-stage",
    title="Arithmetic intensity by shape and stage",
    columns=(
        *SHAPE_COLUMNS,
        _STAGE,
        Column("flops", "FLOP", "FLOPs"),
        Column("weight_bytes", "B", "weights\nread"),
        Column("activation_bytes", "B", "activ.\nmoved"),
        Column("kv_bytes", "B", "KV\nmoved"),
        Column("io_bytes", "B", "all bytes\nmoved"),
        Column("arithmetic_intensity", "FLOP/B", "FLOP/\nbyte"),
    ),
    device_columns=(
        Column("device", None, "device", key=True),
        Column("bound_by", None, "side of\nthe ridge"),
        Column("ridge", "FLOP/B", "ridge"),
    ),
    rows=_intensity_rows,
    notes=("arithmetic intensity: all FLOPs over all bytes moved",),
    device_notes=(
        "ridge: the fastest dense rate for the model's 16-bit float over the memory bandwidth, both of the data sheet; "
        "a stage below it moves bytes longer than it computes. That is of its sums: `modelmeter time` goes operator by "
        "operator",
    ),
)
FLOPS_BY_PART = TableKind(
    name="flops-by-part",
    title="FLOPs by part of the model, by shape and stage",
    columns=(
        *SHAPE_COLUMNS,
        _STAGE,
        *[Column(f"{part}_flops", "FLOP", part) for part in PARTS],
        Column("flops", "FLOP", "all"),
    ),
    rows=_part_rows,
    notes=("the parts of a stage add up to all of it",),
)
