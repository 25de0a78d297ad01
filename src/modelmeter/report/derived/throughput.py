"""`required-throughput`: the rates at which a device has to work for a wanted TTFT or TPOT."""

from collections.abc import Iterator, Sequence

from modelmeter.core import units
from modelmeter.core.cost import Cost
from modelmeter.hardware.device import Device
from modelmeter.hardware.floor import best_rate
from modelmeter.hardware.page_time import Rates, required_rates
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.derived.table import SHAPE_COLUMNS, Column, Row, TableKind, shape_values
from modelmeter.report.derived.work import Point, TableWork

_BYTES_PER_GB = 10**9


def _rows(model: DeepseekOCRModel, point: Point, work: TableWork, devices: Sequence[Device]) -> Iterator[Row]:
    wanted = {"prefill": ("ttft", work.ttft)}
    for stage, cost in _costs(model, point, work).items():
        target, seconds = wanted.get(stage, ("tpot", work.tpot))
        rates = required_rates(cost, seconds)
        row = {
            **shape_values(point),
            "target": target,
            "stage": stage,
            "seconds": seconds,
            "flops": cost.flops,
            "io_bytes": cost.io_bytes,
            "tflop_per_second": units.to_tflops(rates.flops),
            "gb_per_second": rates.num_bytes / _BYTES_PER_GB,
        }
        if not devices:
            yield row
        for device in devices:
            yield {**row, **_shares(rates, device, model.precision.float16.name)}


def _costs(model: DeepseekOCRModel, point: Point, work: TableWork) -> dict[str, Cost]:
    """Prefill, the first decode step, and the last where there is another."""
    cache = model.start_prefill(point.context_len, work.batch_size)
    costs = {"prefill": model.cost()}
    model.start_decode()
    costs["first decode step"] = model.cost()
    if work.decode_tokens > 1:
        cache.update(num_new_tokens=work.decode_tokens - 1)
        costs["last decode step"] = model.cost()
    return costs


def _shares(rates: Rates, device: Device, dtype: str) -> Row:
    """What of a device's data-sheet rates that is; above 1 it is out of reach."""
    return {
        "device": device.name,
        "peak_share": rates.flops / best_rate(device, dtype),
        "bandwidth_share": rates.num_bytes / device.bandwidth,
    }


THROUGHPUT = TableKind(
    name="required-throughput",
    title="Throughput required by shape",
    columns=(
        *SHAPE_COLUMNS,
        Column("target", None, "target", key=True),
        Column("stage", None, "stage", key=True),
        Column("seconds", "s", "within"),
        Column("flops", "FLOP", "FLOPs"),
        Column("io_bytes", "B", "bytes\nmoved"),
        Column("tflop_per_second", "TFLOP/s", "TFLOP/s"),
        Column("gb_per_second", "GB/s", "GB/s"),
    ),
    device_columns=(
        Column("device", None, "device", key=True),
        Column("peak_share", "1", "of the\npeak"),
        Column("bandwidth_share", "1", "of the band-\nwidth"),
    ),
    rows=_rows,
    notes=(
        "both rates are needed at once; TTFT: vision and prefill, the host's work left out; TPOT: one decode step of "
        "the whole batch, which grows with the cache: the first, and the last where there are several",
        "TFLOP/s is 1e12 FLOPs a second, GB/s 1e9 bytes a second, as data sheets have them",
    ),
    device_notes=(
        "shares are of the fastest dense rate for the model's 16-bit float and of the memory bandwidth, both of the "
        "data sheet: above 1 the target is out of reach for this code (of the bandwidth: unless activations stay in "
        "caches); below 1 it may still be",
    ),
    over=lambda row: max(row.get("peak_share", 0), row.get("bandwidth_share", 0)) > 1,
)
