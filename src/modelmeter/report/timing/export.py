"""Times as plain data (schema `modelmeter.time/1`), and that as JSON, YAML, CSV or Markdown."""

import csv
import io
import json
from typing import Any

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import LEVELS, Levels, PageTime, StageTime
from modelmeter.hardware.timeline import RESOURCES, Span
from modelmeter.report.conventions import convention_notes
from modelmeter.report.grid import escape, markdown_table
from modelmeter.report.timing.notes import cautions, heading, machine_notes, notes
from modelmeter.report.timing.tables import timing_tables
from modelmeter.report.timing.timing import PageTiming, Timing

SCHEMA = "modelmeter.time/1"
TOTALS = ("ttft", "tpot", "decode_total", "total")


def timing_data(timing: Timing) -> dict[str, Any]:
    """The times as dicts, lists, strings and numbers; seconds everywhere."""
    machine = timing.machine
    workload = attrs.asdict(timing.workload)
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "conventions": {
            **attrs.asdict(timing.conventions),
            "max_tiles": timing.workload.max_tiles,
            "notes": [
                *convention_notes(timing.conventions),
                *machine_notes(machine, timing.precision),
                *cautions(timing),
            ],
        },
        "model": {"name": None if timing.model.config is None else timing.model.config.name},
        "device": device_data(timing.machine),
        "precision": {**attrs.asdict(timing.precision), "description": timing.precision.describe()},
        "workload": {name: value for name, value in workload.items() if name != "by_layer"},
        "pages": [_page(timing, page) for page in timing.pages],
        "errors": [{"source": error.source, "message": error.message} for error in timing.errors],
    }


def device_data(machine: Machine) -> dict[str, Any]:
    """The device's rates, and how it is run."""
    device, calibration = machine.device, machine.calibration
    return {
        "name": device.name,
        "title": device.title,
        "peaks": device.peaks,
        "bandwidth": device.bandwidth,
        "memory_bytes": device.memory_bytes,
        "execution": machine.execution,
        "host_seconds_per_kernel": machine.host_seconds,
        "calibration": None if calibration is None else dict(calibration.provenance),
    }


def to_json(timing: Timing) -> str:
    """`timing_data` as JSON text."""
    return json.dumps(timing_data(timing), indent=1, ensure_ascii=False, default=str) + "\n"


def to_yaml(timing: Timing) -> str:
    """`timing_data` as YAML text."""
    import yaml

    text: str = yaml.safe_dump(json.loads(to_json(timing)), sort_keys=False, allow_unicode=True, width=120)
    return text


def to_csv(timing: Timing) -> str:
    """A row for each page, quantity and level, in seconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["source", "page", "device", "execution", "context_len", "quantity", "level", "seconds"])
    for page in timing.pages:
        place = [page.page.source, page.page.number, timing.machine.device.name, timing.machine.execution]
        for name, levels in _quantities(page.time).items():
            for level, seconds in levels.items():
                writer.writerow([*place, page.time.context_len, name, level, repr(seconds)])
    return out.getvalue()


def to_markdown(timing: Timing) -> str:
    """The tables as Markdown."""
    lines = ["# How long DeepSeek-OCR takes on these pages", "", heading(timing), ""]
    for table in timing_tables(timing):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    if timing.errors:
        lines += ["## Not read", "", *[f"- {escape(str(error))}" for error in timing.errors], ""]
    lines += ["## What the times rest on", "", *[f"- {line}" for line in notes(timing)]]
    return "\n".join(lines) + "\n"


def _quantities(time: PageTime) -> dict[str, dict[str, float]]:
    stages = {name: getattr(time, name).seconds for name in ("vision", "prefill", "decode")}
    return {name: _levels(value) for name, value in {**stages, **{n: getattr(time, n) for n in TOTALS}}.items()}


def _levels(levels: Levels) -> dict[str, float]:
    values = {name: getattr(levels, name) for name in LEVELS}
    return {name: value for name, value in values.items() if value is not None}


def _page(timing: Timing, page: PageTiming) -> dict[str, Any]:
    time, views = page.time, page.views
    return {
        "source": page.page.source,
        "page": page.page.number,
        "width": page.page.width,
        "height": page.page.height,
        "mode": views.mode,
        "grid": list(views.grid),
        "image_tokens": views.image_tokens,
        "context_len": time.context_len,
        "host_seconds": time.host_seconds,
        "stages": {n: _stage(getattr(time, n), timing.workload.by_layer) for n in ("vision", "prefill", "decode")},
        **{name: _levels(getattr(time, name)) for name in TOTALS},
        "required": _required(timing, time),
        "tokens_per_second": time.tokens_per_second,
        "pages_per_second": time.pages_per_second,
    }


def _required(timing: Timing, time: PageTime) -> dict[str, Any]:
    wanted = attrs.asdict(timing.wanted)
    rates = {name: time.required(**{name: seconds}) for name, seconds in wanted.items() if seconds is not None}
    return {name: {"seconds": wanted[name], "flops": r.flops, "bytes": r.num_bytes} for name, r in rates.items()}


def _stage(stage: StageTime, by_layer: int | None) -> dict[str, Any]:
    total = stage.timeline.total
    data = {
        "seconds": _levels(stage.seconds),
        "binds": total.binds,
        "bound_by": stage.bound_by,
        "waits": _waits(total),
        "kernels": float(stage.timeline.launches),
        "mfu": stage.mfu,
        "mbu": stage.mbu,
        "needed_flops": int(stage.floor.flops),
        "compulsory_bytes": int(stage.floor.num_bytes(stage.device)),
        "used_bytes": int(stage.used_bytes),
        "flops": int(stage.cost.flops),
        "io_bytes": int(stage.cost.io_bytes),
        "parts": _spans(stage.parts),
    }
    if by_layer is not None:
        data["layers"] = _spans(stage.timeline.by_layer(by_layer))
    return data


def _spans(spans: dict[str, Span]) -> dict[str, Any]:
    return {name: {"seconds": float(span.seconds), "binds": span.binds} for name, span in spans.items()}


def _waits(span: Span) -> dict[str, float]:
    return {name: float(getattr(span, name)) for name in RESOURCES}
