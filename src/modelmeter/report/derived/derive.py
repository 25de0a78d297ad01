"""`derive_table`: one of the derived tables, of a model over candidate shapes."""

from collections.abc import Sequence
from typing import Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.device import Device
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.derived.kvcache import KVCACHE
from modelmeter.report.derived.stages import FLOPS_BY_PART, INTENSITY, SPLIT
from modelmeter.report.derived.table import DerivedTable, Row, TableKind
from modelmeter.report.derived.throughput import THROUGHPUT
from modelmeter.report.derived.vram import VRAM
from modelmeter.report.derived.work import TableWork, points
from modelmeter.sweeps.shapes import Shape, check_shapes, read_shapes

_KINDS = (KVCACHE, THROUGHPUT, VRAM, SPLIT, INTENSITY, FLOPS_BY_PART)
TABLES: Final[dict[str, TableKind]] = {kind.name: kind for kind in _KINDS}


def derive_table(
    name: str,
    *,
    model: DeepseekOCRModel | None = None,
    shapes: Sequence[Shape] | None = None,
    work: TableWork | None = None,
    devices: Sequence[Device] = (),
) -> DerivedTable:
    """The table `name` (of `TABLES`) over `shapes` (default: those that come with modelmeter).

    With several devices each shape has a row for each of them. The model is left in some stage of the last shape.
    Raises `ModelMeterError` for an unknown name, a device where it changes nothing, no shapes, or one given twice.
    """
    if name not in TABLES:
        raise ModelMeterError(f"unknown table {name!r}: choose among {', '.join(TABLES)}")
    kind = TABLES[name]
    if devices and not kind.uses_devices:
        of_devices = ", ".join(other.name for other in _KINDS if other.uses_devices)
        raise ModelMeterError(f"a device changes nothing in {name}: leave it out; it is for {of_devices}")
    names = [device.name for device in devices]
    for device in names:
        if names.count(device) > 1:
            raise ModelMeterError(f"the device {device} is named twice: name each once")
    model, work = model or DeepseekOCRModel.from_config(), work or TableWork()
    rows: list[Row] = []
    for point in points(read_shapes() if shapes is None else check_shapes(name, shapes), work):
        model.set_views(point.views)  # raises where the model has other patches
        rows += kind.rows(model, point, work, devices)
    return DerivedTable(kind=kind, model=model, work=work, devices=tuple(devices), rows=tuple(rows))
