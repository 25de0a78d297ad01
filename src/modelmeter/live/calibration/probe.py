"""Single operators and stages that were timed on a GPU (`gpu_probe.json`): fit on some, predict the rest.

Of the operators of a name, in order of their times, the fit sees every other one and both ends; the rest and all stages
of the whole model are predicted. Nothing of the whole model is fitted to: the host's seconds a kernel are those
of one `torch.nn.Linear` alone.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from modelmeter.core import ops
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.op import Op
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import BF16, FP32
from modelmeter.hardware.device import Device
from modelmeter.hardware.efficiency import Calibration
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import time_stage
from modelmeter.live.calibration import attention, products
from modelmeter.live.calibration.cases import Sample, priced
from modelmeter.live.calibration.clock import Timing
from modelmeter.live.calibration.fit import Fitted, fit
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan

Row = Mapping[str, Any]
EXPERTS, TOP_K = 64, 6
WIDTH, INNER = 1280, 6848  # what the probe's elementwise operators work on


@attrs.frozen(kw_only=True)
class Compared:
    """One row: what was measured and what is predicted, seconds; whether the fit saw it."""

    name: str
    kind: str
    measured: float
    predicted: float
    fitted: bool

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted / self.measured - 1


@attrs.frozen(kw_only=True)
class Probe:
    """A fit on a part of a probe, and every row beside it."""

    fitted: Mapping[str, Fitted]
    host_seconds: float
    operators: tuple[Compared, ...]
    stages: tuple[Compared, ...]


def read_probe(path: Path, device: Device) -> Probe:
    """Fit on a part of the operators of a probe of `device`, and predict all. Raises where it is no probe."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelMeterError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelMeterError(f"{path} is not JSON: {error}") from error
    if not str(data.get("schema", "")).startswith("gpu_probe/") or "sections" not in data:
        raise ModelMeterError(f"{path} is no gpu_probe.json: its schema is {data.get('schema')!r}")
    return compare_probe(data["sections"], device)


def compare_probe(sections: Mapping[str, Any], device: Device) -> Probe:
    """The same of the sections of a probe."""
    samples = list(probe_samples(sections))
    chosen = _chosen(samples)
    fitted = fit(chosen, device)
    host = float(sections["launch"]["host_seconds_linear_module"])
    classes = {kind: one.efficiency for kind, one in fitted.items()}
    calibration = Calibration(classes=classes, host_seconds=host)
    machine = Machine(device=attrs.evolve(device, calibration={}), execution="eager", calibration=calibration)
    seen = {id(sample) for sample in chosen}
    operators = [
        Compared(
            name=sample.name,
            kind=sample.kind,
            measured=sample.timing.seconds,
            predicted=float(machine.terms(sample.op).seconds),
            fitted=id(sample) in seen,
        )
        for sample in samples
    ]
    stages = tuple(_stages(sections.get("model", {}), machine))
    return Probe(fitted=fitted, host_seconds=host, operators=tuple(operators), stages=stages)


def probe_samples(sections: Mapping[str, Any]) -> Iterator[Sample]:
    """Its operators; rows that failed and kernels that are none of the model's are left out."""
    for section, read in _SECTIONS.items():
        for row in _sound(sections.get(section, ())):
            yield from read(row)


def _chosen(samples: Sequence[Sample]) -> list[Sample]:
    """What the fit sees: of operators that are named alike every other one from the longest on, and the shortest."""
    alike: dict[str, list[Sample]] = {}
    for sample in samples:
        alike.setdefault(re.sub(r"[\d, ]+", " ", sample.name), []).append(sample)
    found: list[Sample] = []
    for group in alike.values():
        ordered = sorted(group, key=lambda sample: sample.timing.seconds, reverse=True)
        found += [sample for i, sample in enumerate(ordered) if i % 2 == 0 or i == len(ordered) - 1]
    return found


def _products(row: Row) -> Iterator[Sample]:
    case = products.linear(row["m"], row["n"], row["k"])
    yield _sample(case.name, case.op, row)


def _experts(row: Row) -> Iterator[Sample]:
    if row["how"] != "grouped_mm":  # a loop in Python is launches more than products
        return
    tokens, hit = row["tokens"], row["experts_hit_mean"]
    n, k = row["n"], row["k"]

    def run(recorder: Recorder) -> None:
        rows = recorder.take((tokens * TOP_K, k), BF16)
        ops.grouped_linear(rows, products.weight(EXPERTS, n, k), round(2 * n * k * hit), groups=hit)

    yield _sample(f"experts {tokens} tokens", priced(run), row)


def _attention(row: Row) -> Iterator[Sample]:
    b, heads, queries, keys, width = row["shape"]
    if queries == 1:
        case = attention.step(b, heads, keys - 1, width)
    else:
        case = attention.attention(
            b, heads, queries, width, biased=row["kind"] == "bias", causal=row["kind"] == "causal"
        )
    yield _sample(case.name, case.op, row["sdpa"])


def _bandwidth(row: Row) -> Iterator[Sample]:
    number = row["bytes_read"] // BF16.itemsize
    shape = (number,)
    twins: dict[str, Callable[[Recorder], Any]] = {
        "copy": lambda r: ops.cat((r.take(shape, BF16),), shape),
        "add": lambda r: ops.unary("add", r.take(shape, BF16)),
        "sum_read_only": lambda r: ops.reduce("sum", r.take(shape, BF16), (1,)),
    }
    for name, twin in twins.items():
        if name in row:
            yield _sample(f"{name} {number}", priced(twin), row[name])


def _elementwise(row: Row) -> Iterator[Sample]:
    tokens, name = row["tokens"], row["op"]
    narrow, inner = (tokens, WIDTH), (tokens, INNER)
    twins: dict[str, Callable[[Recorder], Any]] = {
        "layer_norm": lambda r: ops.layer_norm(r.take(narrow, BF16), products.weight(WIDTH), products.weight(WIDTH)),
        "add": lambda r: ops.unary("add", r.take(narrow, BF16)),
        "silu": lambda r: ops.unary("silu", r.take(inner, BF16)),
        "gelu": lambda r: ops.unary("gelu", r.take(inner, BF16)),
        "mul": lambda r: ops.unary("mul", r.take(inner, BF16)),
        "to_float": lambda r: ops.cast(r.take(inner, BF16), FP32),
    }
    if name in twins:  # the others are two kernels, or none of the model's
        yield _sample(f"{name} {tokens}", priced(twins[name]), row)


_SECTIONS: Final[Mapping[str, Callable[[Row], Iterator[Sample]]]] = {
    "matmul": _products,
    "grouped_matmul": _experts,
    "attention": _attention,
    "bandwidth": _bandwidth,
    "elementwise": _elementwise,
}


def _sample(name: str, op: Op, row: Row) -> Sample:
    """The time in a replayed graph where there is one: that of the kernel alone."""
    found = row["graph"] if "graph" in row else row["eager"]
    median, low, high = (float(found[key]) for key in ("median", "min", "max"))
    timing = Timing(
        seconds=median, low=low, first_quartile=low, third_quartile=high, high=high, repeats=int(found["repeats"])
    )
    return Sample(name=name, op=op, timing=timing)


def _stages(model: Mapping[str, Any], machine: Machine) -> Iterator[Compared]:
    """Whole-model stages with SDPA and grouped experts: towers and projector of each view; text alone."""

    def compared(name: str, kind: str, measured: float) -> Compared:
        predicted = time_stage(twin, machine).seconds.predicted
        return Compared(name=name, kind=kind, measured=measured, predicted=predicted, fitted=False)

    for row in _sound(model.get("vision", ())):
        twin = _twin()
        twin.set_views(ViewPlan.from_grid((1, 1), base_size=row["side"]))
        twin.start_vision(row["views"])
        yield compared(f"vision {row['views']} x {row['side']}", "vision", row["time"]["median"])
    for row in _sound(model.get("prefill", ())):
        twin = _twin()
        twin.start_prefill(row["tokens"], row["batch"])
        yield compared(f"prefill {row['tokens']}, batch {row['batch']}", "prefill", row["time"]["median"])
    for row in _sound(model.get("decode", ())):
        twin = _twin()
        twin.start_prefill(row["cached_first"] + len(row["seconds"]) // 2, row["batch"])
        twin.start_decode()
        name = f"decode after {row['cached_first']}, batch {row['batch']}"
        yield compared(name, "decode", row["median_after_two"])


def _sound(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if "error" not in row]


def _twin() -> DeepseekOCRModel:
    return DeepseekOCRModel.from_config(
        DeepseekOCRConfig(),
        implementation="transformers",
        attention="flash",
        experts="grouped",
        logits="last",
        causal="triangle",
    )
