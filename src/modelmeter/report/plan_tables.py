"""A `PlanReport` on a terminal and as Markdown. Renderers take data and change none of it."""

from typing import TYPE_CHECKING

from modelmeter.hardware.capacity.plan import DevicePlan, Fleet
from modelmeter.report import units
from modelmeter.report.conventions import convention_notes
from modelmeter.report.grid import Table, console_for, escape, markdown_table, print_line, print_table
from modelmeter.report.plan import PlanReport, cautions

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS = (
    "device",
    "binds",
    "batch",
    "pages/s\na GPU",
    "pages/day\na GPU",
    "GPUs",
    "load",
    "TTFT\np95",
    "TPOT\np95",
    "price /\nM pages",
    "kWh /\nM pages",
)
_LARGE = 1e12  # amounts beyond are written as a power of ten
_STAGE_COLUMNS = ("device", "vision", "prefill", "decode", "level", "latencies by", "closed form")


def print_plan(report: PlanReport, console: "Console | None" = None) -> None:
    """Print the report; plain text without colour where the output is not a terminal."""
    console = console_for(console)
    print_line(console, heading(report), style="bold")
    for table in plan_tables(report):
        print_table(console, table)
    console.print()
    for line in [*cautions(report), *impossible(report), *notes(report)]:
        print_line(console, f"- {line}")


def to_markdown(report: PlanReport) -> str:
    """The same as Markdown."""
    lines = ["# GPUs for these pages", "", heading(report), ""]
    for table in plan_tables(report):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    lines += [f"- {escape(line)}" for line in [*cautions(report), *impossible(report), *notes(report)]]
    return "\n".join(lines) + "\n"


def heading(report: PlanReport) -> str:
    """One line: the demand, the pages, the limits."""
    mix, limits = report.pages.mix, report.limits
    tokens = float(mix.token_shares @ mix.tokens)
    kinds = f"{len(mix.kinds)} kinds of pages" if len(mix.kinds) > 1 else f"pages of views {mix.kinds[0].name}"
    context = float(mix.shares @ mix.contexts)
    wanted = [
        f"{name.upper()} <= {units.seconds(limit)}"
        for name, limit in (("ttft", limits.ttft), ("tpot", limits.tpot))
        if limit is not None
    ]
    return (
        f"{report.pages_per_day:,.0f} pages a day, {kinds}, {context:,.0f} tokens of context and {tokens:,.0f} of "
        f"output a page; {' and '.join(wanted) + ' at the 95th percentile' if wanted else 'no limits of latency'}; "
        f"{report.running.policy}, {_executions(report)}"
    )


def _executions(report: PlanReport) -> str:
    """How the devices are run: "graph", or "graph (h200), eager (cpu)" where they are not run alike."""
    names: dict[str, list[str]] = {}
    for plan in report.devices:
        names.setdefault(plan.execution, []).append(plan.device.name)
    if len(names) == 1:
        return next(iter(names))
    return ", ".join(f"{execution} ({', '.join(devices)})" for execution, devices in names.items())


def plan_tables(report: PlanReport) -> list[Table]:
    """A row a device: its fleet; and what its stages wait for."""
    fleets = [(plan, plan.fleet) for plan in report.devices if plan.fleet is not None]
    rows = tuple(_row(plan, fleet) for plan, fleet in fleets)
    stages = tuple(_stage_row(plan, fleet) for plan, fleet in fleets)
    return [
        Table(title="Plan", columns=_COLUMNS, rows=rows, text_columns=2),
        Table(title="What each stage waits for", columns=_STAGE_COLUMNS, rows=stages, text_columns=7),
    ]


def impossible(report: PlanReport) -> list[str]:
    """Why devices are missing from the table."""
    return [f"{plan.device.name}: {plan.impossible}" for plan in report.devices if plan.impossible is not None]


def notes(report: PlanReport) -> list[str]:
    """What the numbers mean."""
    running = report.running
    return [
        "pages arrive at random (Poisson) and go to a GPU at random; latencies are those at the load of the table",
        "TTFT: host work, queue, vision and prefill; TPOT: (end - first token) / (tokens - 1), stalls by prefill in it",
        f"pages/s a GPU: the most under the limits, at up to {report.limits.utilisation:.0%} of saturation; "
        f"{running.host_workers} host workers a GPU; {running.reserve} of memory in reserve",
        "price and energy are those of all GPUs all the time; kWh is an upper bound: full TDP always, without the host",
        "binds: what a higher rate would break (throughput: the GPU itself); stages: the resource they wait for most",
        report.model.precision.describe(),
        *convention_notes(report.model.conventions)[1:4],
    ]


def _row(plan: DevicePlan, fleet: Fleet) -> tuple[str, ...]:
    gpu, steady = fleet.gpu, fleet.steady
    return (
        plan.device.name,
        gpu.binds,
        f"{gpu.server.max_batch}",
        f"{gpu.rate:.3g}",
        f"{gpu.rate * 86_400:,.0f}",
        f"{fleet.gpus:,}",
        f"{steady.rate / gpu.saturation:.0%}",
        _seconds(steady.latency("ttft_p95")),
        _seconds(steady.latency("tpot_p95")),
        _amount(fleet.cost_per_million),
        _amount(fleet.energy_per_million),
    )


def _stage_row(plan: DevicePlan, fleet: Fleet) -> tuple[str, ...]:
    steady = fleet.steady
    method, check = "closed form", ""
    if steady.measured is not None:
        method = f"simulation, {steady.measured.replications} runs, ± {steady.widest:.1%}"
    if steady.difference is not None:
        check = f"{'within' if steady.agrees else 'parts by'} {steady.difference:.1%}"
    return (
        plan.device.name,
        *[fleet.stages[name] for name in ("vision", "prefill", "decode")],
        plan.level,
        method,
        check,
    )


def _seconds(value: float | None) -> str:
    return "unbounded" if value is None else units.seconds(value)


def _amount(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if value < 999.5 or value >= _LARGE else f"{value:,.0f}"
