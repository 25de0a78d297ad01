"""A `FitReport` on a terminal and as Markdown. Renderers take data and change none of it."""

from typing import TYPE_CHECKING

from modelmeter.hardware.fit import CacheFit, PrecisionOption
from modelmeter.hardware.limits import MAX_BATCH, BatchLimit, ContextLimit
from modelmeter.hardware.needs import BLOCK_TOKENS
from modelmeter.report import units
from modelmeter.report.fit import FitReport
from modelmeter.report.grid import Table, console_for, escape, markdown_table, print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console

_HELD = {
    "concat": "grown by copying",
    "in_place": "in place",
    "blocks": f"in blocks of {BLOCK_TOKENS}",
}


def print_fit(report: FitReport, console: "Console | None" = None) -> None:
    """Print the report; plain text without colour where the output is not a terminal."""
    console = console_for(console)
    print_line(console, heading(report), style="bold")
    for table in fit_tables(report):
        print_table(console, table)
    console.print()
    print_line(console, verdict(report), style="bold")
    for line in notes(report):
        print_line(console, f"- {line}")


def to_markdown(report: FitReport) -> str:
    """The same as Markdown."""
    lines = [f"# What fits {report.found.device.name}", "", heading(report), ""]
    for table in fit_tables(report):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    if report.errors:
        lines += ["## Not read", "", *[f"- {escape(str(error))}" for error in report.errors], ""]
    lines += [f"**{verdict(report)}**", "", *[f"- {line}" for line in notes(report)]]
    return "\n".join(lines) + "\n"


def heading(report: FitReport) -> str:
    """One line: the device, the page that decides, the workload."""
    found, page = report.found, report.deciding_page
    several = f", the largest of {len(report.pages)} pages" if len(report.pages) > 1 else ""
    plan = found.workload.views
    views = " + ".join(f"{count} x {side}" for count, side in (plan.views if plan else ()))
    steps, batch = found.workload.decode_tokens, found.batch_size
    return (
        f"{found.device.name} ({found.device.title}): {page.label}{several}; mode {report.workload.mode}, "
        f"views {views}; {found.workload.context_len} tokens of context, {steps} decode steps, batch of {batch}"
    )


def verdict(report: FitReport) -> str:
    """One line: whether it fits, or what is missing and what would fit."""
    found = report.found
    if not found.holds_weights:
        return (
            f"The weights do not fit: {_gib(found.budget.missing_bytes)} are missing beside context, workspace and "
            f"reserve. {_would_fit([option for option in found.options if option.holds_weights], 'hold them')}"
        )
    if not found.fits:
        lacking = min(-found.left_bytes(cache) for cache in found.caches)
        return (
            f"A batch of {found.batch_size} does not fit: {_gib(lacking)} are missing. "
            f"{_would_fit([option for option in found.options if option.holds_run], 'fit')}"
        )
    fitting = [cache for cache in found.caches if found.left_bytes(cache) >= 0]
    left = ", ".join(f"{units.size(found.left_bytes(cache))} {_HELD[cache.held]}" for cache in fitting)
    largest = ", ".join(f"{_count(cache.run)} {_HELD[cache.held]}" for cache in found.caches)
    beyond = (
        f" But context and decode steps are {found.workload.end} tokens, and the model has {found.positions} positions."
        if found.too_long
        else ""
    )
    return (
        f"A batch of {found.batch_size} fits, KV cache and what is left: {left}. "
        f"Largest batch of the run: {largest}.{beyond}"
    )


def fit_tables(report: FitReport) -> list[Table]:
    """The memory, the stages, what fits of each, and other precisions where this one does not."""
    tables = [_memory(report), _stages(report)]
    if report.found.holds_weights:
        tables += [*[_batches(report, cache) for cache in report.found.caches], _contexts(report)]
    return [*tables, *([_options(report)] if report.found.options else [])]


def notes(report: FitReport) -> list[str]:
    """What the numbers rest on."""
    found = report.found
    model = found.model
    lines = [
        f"weights: {model.precision.describe()}",
        f"code: {model.conventions.implementation}; attention: {model.conventions.attention}; "
        f"logits: {model.conventions.logits}; KV cache: {model.conventions.cache}",
        "bytes of weights, KV cache, activations and logits are exact; context and workspace are assumptions "
        "(--cuda-context), the allocator's fragmentation and rounding are not counted: the reserve is for them",
        "prefill includes vision; decode is its last step; activations and KV cache need not peak at the same moment",
        f"in blocks: reserved for the worst case, all tokens of the run from the start, {BLOCK_TOKENS} tokens a block; "
        + (f"{found.prefill_batch} prefilled at once" if found.prefill_batch else "all prefilled at once")
        + " (--prefill-batch)",
    ]
    return lines


def _memory(report: FitReport) -> Table:
    found, budget = report.found, report.found.budget
    own, blocks = found.caches
    rows = [
        ("memory", budget.memory_bytes, found.device.sources.get("memory_bytes", "given")),
        ("reserve", budget.reserve_bytes, f"{report.reserve}, for what is not counted"),
        ("CUDA context", budget.context_bytes, "assumed or given; 250 MiB to 1 GiB are met"),
        ("workspace", budget.workspace_bytes, "assumed: torch's for matrix products"),
        ("weights", budget.weights_bytes, "exact"),
        ("left for pages", budget.free_bytes, ""),
        ("activations and KV at the fullest", own.run_bytes, f"exact, {_fullest(report)}"),
        ("left by the batch", found.left_bytes(own), ""),
        ("KV cache at the end", own.kv_bytes, f"{found.kv_bytes_per_token} a token"),
        ("the same in blocks", blocks.kv_bytes, f"of {BLOCK_TOKENS} tokens"),
    ]
    return Table(
        title=f"Memory, batch of {found.batch_size}",
        columns=("", "from", "bytes", ""),
        rows=tuple((name, source, f"{value:,}", _signed(value)) for name, value, source in rows),
        text_columns=2,
        rules=frozenset({4, 5, 7}),
    )


def _fullest(report: FitReport) -> str:
    """The stage of the run that holds the most, and where."""
    stage = max(report.found.stages, key=lambda stage: (stage.peak_bytes, stage.stage == "prefill"))
    return f"{stage.stage}, {stage.place}"


def _stages(report: FitReport) -> Table:
    rows = [
        (
            stage.stage,
            stage.place or "the whole",
            units.size(stage.activations_bytes),
            units.size(stage.logits_bytes),
            units.size(stage.kv_bytes),
            units.size(stage.peak_bytes),
        )
        for stage in report.found.stages
    ]
    return Table(
        title=f"Stages, batch of {report.found.batch_size}, each alone",
        columns=("stage", "peak in", "activations\nat peak", "logits", "KV at\nthe end", "both at\npeak"),
        rows=tuple(rows),
        text_columns=2,
    )


def _batches(report: FitReport, cache: CacheFit) -> Table:
    free = report.found.budget.free_bytes
    rows = [(limit.stage, _count(limit), _stops(limit, free)) for limit in cache.limits]
    return Table(
        title=f"Largest batch, KV cache {_HELD[cache.held]}",
        columns=("stage", "batch", "why it stops there"),
        rows=tuple(rows),
        text_columns=3,
    )


def _stops(limit: BatchLimit, free_bytes: int) -> str:
    """Why there is no batch of one more."""
    if limit.batch >= MAX_BATCH:
        return "nothing does"
    parts = [f"activations up to {units.size(limit.activations_bytes)}"]
    if limit.kv_bytes:
        parts.append(f"KV up to {units.size(limit.kv_bytes)}")
    return (
        f"{limit.batch + 1:,} take {_gib(limit.needed_bytes)} of {_gib(free_bytes)} in {limit.stopped_by}, most in "
        f"{limit.place or 'the whole'} ({', '.join(parts)})"
    )


def _contexts(report: FitReport) -> Table:
    caches = report.found.caches
    names = {"page": "with this page's views, text after them", "text": "text only"}
    rows = [
        (names[limits[0].images], _ends(limits, report), *[str(limit.context_len or "none") for limit in limits])
        for limits in zip(*[cache.contexts for cache in caches], strict=True)
    ]
    steps = report.found.workload.decode_tokens
    return Table(
        title=f"Longest context, batch of {report.found.batch_size}, {steps} decode steps after it",
        columns=(
            "context",
            "what ends it",
            *[_HELD[cache.held].replace(" by", " by\n").replace(" blocks", " blocks\n") for cache in caches],
        ),
        rows=tuple(rows),
        text_columns=2,
    )


def _ends(limits: tuple[ContextLimit, ...], report: FitReport) -> str:
    """What ends the contexts, once where it is the same for every way of holding the cache."""
    ends = [
        f"the model's {report.found.positions} positions, decode steps included"
        if limit.stopped_by == "positions"
        else f"memory, in {limit.stopped_by}"
        for limit in limits
    ]
    return "; ".join(dict.fromkeys(ends))


def _options(report: FitReport) -> Table:
    rows = [
        (
            option.precision.weights,
            ", ".join(option.precision.parts),
            "yes" if option.holds_weights else "no",
            "yes" if option.holds_run else "no",
            f"{option.weights_bytes:,}",
            units.size(option.weights_bytes),
        )
        for option in report.found.options
    ]
    return Table(
        title="Other precisions",
        columns=("weights", "of", "held", "batch fits", "bytes", ""),
        rows=tuple(rows),
        text_columns=4,
    )


def _would_fit(options: list[PrecisionOption], verb: str) -> str:
    if not options:
        return "No precision of the weights would do."
    names = [f"{option.precision.weights} ({', '.join(option.precision.parts)})" for option in options]
    return f"These would {verb}: {'; '.join(names)}."


def _count(limit: BatchLimit) -> str:
    if limit.batch >= MAX_BATCH:
        return f"over {MAX_BATCH:,}"
    return f"{limit.batch:,}" if limit.batch else "none"


def _signed(num_bytes: int) -> str:
    return f"{'-' if num_bytes < 0 else ''}{units.size(abs(num_bytes))}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
