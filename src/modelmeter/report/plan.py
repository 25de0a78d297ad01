"""`plan_devices`: GPUs, cost and energy for a number of pages a day, as data (`modelmeter.plan/1`)."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.capacity.plan import (
    LATENCIES,
    SECONDS_A_DAY,
    SHORT_TTFT,
    DevicePlan,
    Fleet,
    Running,
    Steady,
    check_demand,
    plan_device,
)
from modelmeter.hardware.capacity.search import Limits
from modelmeter.hardware.capacity.simulation import Measured
from modelmeter.hardware.machine import Machine
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.conventions import convention_notes
from modelmeter.report.plan_inputs import Pages

SCHEMA = "modelmeter.plan/1"
_CSV_COLUMNS = (
    "device",
    "execution",
    "level",
    "impossible",
    "batch",
    "memory_batch",
    "binds",
    "gpu_pages_per_second",
    "saturation_pages_per_second",
    "gpus",
    "load",
    *LATENCIES,
    "method",
    "price_per_hour",
    "cost_per_million_pages",
    "energy_kwh_per_million_pages_upper_bound",
)


@attrs.frozen(kw_only=True)
class PlanReport:
    """The plans of several devices, and what was asked."""

    model: DeepseekOCRModel
    pages: Pages
    pages_per_day: float
    limits: Limits
    running: Running
    devices: tuple[DevicePlan, ...]


def plan_devices(
    model: DeepseekOCRModel,
    machines: Sequence[Machine],
    pages: Pages,
    *,
    pages_per_day: float,
    limits: Limits | None = None,
    running: Running | None = None,
    prices: Mapping[str, float] | None = None,
) -> PlanReport:
    """A plan for each device; `prices` an hour by the device's name.

    Raises `ModelMeterError` for what cannot be asked, and, saying why of each, where no device can do it.
    """
    limits, running, prices = limits or Limits(), running or Running(), prices or {}
    _check_names([machine.device.name for machine in machines], prices)
    for price in [None, *prices.values()]:
        check_demand(model, pages.mix, pages_per_day, price)
    plans = tuple(
        plan_device(
            model,
            machine,
            pages.works,
            pages.mix,
            pages_per_day=pages_per_day,
            limits=limits,
            running=running,
            price=prices.get(machine.device.name),
        )
        for machine in machines
    )
    if all(plan.fleet is None for plan in plans):
        raise ModelMeterError("; ".join(f"{plan.device.name}: {plan.impossible}" for plan in plans))
    return PlanReport(
        model=model, pages=pages, pages_per_day=pages_per_day, limits=limits, running=running, devices=plans
    )


def _check_names(names: Sequence[str], prices: Mapping[str, float]) -> None:
    """Raise for a device that is named twice, and for a price of one that is not named."""
    if twice := [name for name in names if names.count(name) > 1]:
        raise ModelMeterError(f"device {twice[0]} is named twice: name each once")
    if unknown := [name for name in prices if name not in names]:
        raise ModelMeterError(f"a price for {unknown[0]}, which is not planned for: add it to the devices")


def cautions(report: PlanReport) -> list[str]:
    """What stands against these figures: waits for slots, of which the closed form knows too little."""
    unsure = [
        f"{plan.device.name} {plan.fleet.steady.predicted.blocked:.0%}"
        for plan in report.devices
        if plan.fleet is not None and plan.fleet.steady.predicted is not None and plan.fleet.steady.unsure
    ]
    if not unsure:
        return []
    return [
        f"careful: pages wait for slots (all are taken {', '.join(unsure)} of the time); the closed form's TTFT is up "
        f"to {SHORT_TTFT:.0%} too short then: leave out --closed-form"
    ]


def plan_data(report: PlanReport) -> dict[str, Any]:
    """The report as dicts, lists, strings and numbers: seconds, pages a second, kWh."""
    mix, model = report.pages.mix, report.model
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "conventions": {**attrs.asdict(model.conventions), "notes": convention_notes(model.conventions)},
        "precision": {**attrs.asdict(model.precision), "text": model.precision.describe()},
        "workload": {
            "pages_per_day": report.pages_per_day,
            "pages_per_second": report.pages_per_day / SECONDS_A_DAY,
            "kinds": [
                {
                    "views": [list(view) for view in work.views.views],
                    "context_len": work.context,
                    "share": share,
                    "host_seconds": work.host_seconds,
                }
                for work, share in zip(report.pages.works, mix.shares.tolist(), strict=True)
            ],
            "output_tokens": {
                "mean": float(mix.token_shares @ mix.tokens),
                "least": min(mix.outputs.values),
                "most": max(mix.outputs.values),
            },
        },
        "limits": attrs.asdict(report.limits),
        "running": {**attrs.asdict(report.running), "reserve": str(report.running.reserve)},
        "devices": [_device(plan) for plan in report.devices],
        "cautions": cautions(report),
    }


def to_json(report: PlanReport) -> str:
    """`plan_data` as JSON text."""
    return json.dumps(plan_data(report), indent=1, ensure_ascii=False) + "\n"


def to_csv(report: PlanReport) -> str:
    """A row for each device."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV_COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for data in plan_data(report)["devices"]:
        fleet = data["fleet"] or {}
        writer.writerow({**data, **fleet, **(fleet.get("latency") or {})})
    return out.getvalue()


def _device(plan: DevicePlan) -> dict[str, Any]:
    return {
        "device": plan.device.name,
        "title": plan.device.title,
        "execution": plan.execution,
        "level": plan.level,
        "impossible": plan.impossible,
        "fleet": None if plan.fleet is None else _fleet(plan.fleet),
    }


def _fleet(fleet: Fleet) -> dict[str, Any]:
    gpu, steady = fleet.gpu, fleet.steady
    return {
        "batch": gpu.server.max_batch,
        "memory_batch": fleet.room.batch,
        "memory_limited": fleet.room.limited,
        "kv_blocks": fleet.room.kv_blocks,
        "binds": gpu.binds,
        "stages_bind": dict(fleet.stages),
        "gpu_pages_per_second": gpu.rate,
        "gpu_pages_per_day": gpu.rate * SECONDS_A_DAY,
        "saturation_pages_per_second": gpu.saturation,
        "gpus": fleet.gpus,
        "load": steady.rate / gpu.saturation,
        "latency": _latency(steady),
        "price_per_hour": fleet.price,
        "cost_per_million_pages": fleet.cost_per_million,
        "gpu_hours_per_million_pages": fleet.gpu_hours_per_million,
        "energy_kwh_per_million_pages_upper_bound": fleet.energy_per_million,
    }


def _latency(steady: Steady) -> dict[str, Any] | None:
    if steady.measured is None and steady.predicted is None:
        return None
    closed = None if steady.predicted is None else attrs.asdict(steady.predicted)
    return {
        "gpu_rate": steady.rate,
        **{name: steady.latency(name) for name in LATENCIES},
        "method": "closed form" if steady.measured is None else "simulation",
        "agrees": steady.agrees,
        "largest_difference": steady.difference,
        "simulation": None if steady.measured is None else _measured(steady.measured),
        "closed_form": closed,
    }


def _measured(measured: Measured) -> dict[str, Any]:
    """Means over replications, with the half widths of their 95% confidence intervals."""
    names = ("throughput", *LATENCIES, "mean_batch")
    return {
        **{name: getattr(measured, name).mean for name in names},
        "half_widths": {name: getattr(measured, name).half_width for name in names},
        "busy": dict(measured.busy),
        "replications": measured.replications,
    }
