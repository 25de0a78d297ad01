"""A run as tables and lines of text."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from modelmeter.live.calibration.clock import Timing
from modelmeter.live.running.rates import StageRun
from modelmeter.live.running.summary import PageRun, RunSummary
from modelmeter.live.shadow.aggregate import Reached
from modelmeter.report import units
from modelmeter.report.grid import Table

if TYPE_CHECKING:
    from rich.console import Console

_NAMES: Final = {
    "host": "host: reading, views",
    "vision": "vision",
    "sam": "  sam",
    "clip": "  clip",
    "projector": "  projector",
    "prefill": "prefill (vision in it)",
    "decode_step": "decode step",
    "decode": "decode",
    "page": "page",
}
_COLUMNS: Final = (
    *("stage", "time", "quartiles", "tokens/s", "TFLOP/s", "MFU", "GB/s", "MBU", "predicted"),
    "measured /\npredicted",
)
_NONE: Final = "-"
_REACHED: Final = ("hit", "expected")
_WEIGHTS: Final = ("weight_bytes_observed", "weight_bytes")


def run_tables(summary: RunSummary) -> list[Table]:
    """A table of stages for each page, and one of all pages where there are several."""
    tables = [_table(_title(page), page.stages, _steps(page)) for page in summary.pages]
    if len(summary.pages) > 1:
        tables.append(_all_pages(summary))
    return tables


def run_lines(summary: RunSummary) -> Iterator[str]:
    """What was found equal, memory, and what the numbers rest on."""
    yield from _found(summary)
    yield from _experts(summary)
    peaks = [page.result.peak_memory_bytes for page in summary.pages if page.result.peak_memory_bytes is not None]
    if peaks:
        cached = max(page.result.kv_cache_bytes for page in summary.pages)
        held = "torch's allocator" if summary.device.startswith("cuda") else "resident, of the whole process"
        yield f"most memory {units.size(max(peaks))} ({held}), largest KV cache {units.size(cached)}"
    if summary.workload.batch_size > 1 and "host" in summary.totals:  # pages of noise differ from each other
        yield (
            f"a batch is one page {summary.workload.batch_size} times: its sequences reach the same experts in decode, "
            "where work and prediction take them for different pages"
        )
    yield f"{summary.model} on {summary.device_title} ({summary.device}); {_predicted_on(summary)}"
    yield (
        "times are medians or sums of them; TFLOP/s: all FLOPs of the stage / time; GB/s: bytes that its operators "
        "move / time; MFU: needed matrix FLOPs / (dense peak x time); MBU: (weights used, once, + KV cache) / "
        "(bandwidth x time)"
    )


def print_run(summary: RunSummary, console: "Console | None" = None) -> None:
    """Tables and lines on the terminal."""
    from modelmeter.report.grid import console_for, print_line, print_table

    console = console_for(console)
    for table in run_tables(summary):
        print_table(console, table)
    console.print()
    for line in run_lines(summary):
        print_line(console, line)


def _all_pages(summary: RunSummary) -> Table:
    steps = sum(page.decode_steps for page in summary.pages)
    cut = sum(page.reason is not None for page in summary.pages)
    title = f"All {len(summary.pages)} pages, one after the other" + (f" ({cut} cut short)" if cut else "")
    return _table(title, summary.totals, f"{steps} steps", page="all pages")


def _table(title: str, stages: Mapping[str, StageRun], steps: str, *, page: str = _NAMES["page"]) -> Table:
    names = {**_NAMES, "decode": f"decode, {steps}", "page": page}
    rows = tuple(_row(names[name], stage) for name, stage in stages.items())
    return Table(title=title, columns=_COLUMNS, rows=rows)


def _row(name: str, stage: StageRun) -> tuple[str, ...]:
    works = stage.work.cost.flops > 0
    return (
        name,
        units.seconds(stage.seconds),
        _spread(stage.spread),
        units.ratio(stage.tokens_per_second) if stage.tokens else _NONE,
        f"{stage.flops_per_second / 1e12:.3g}" if works else _NONE,
        _share(stage.mfu),
        f"{stage.bytes_per_second / 1e9:.3g}" if works else _NONE,
        _share(stage.mbu),
        _NONE if stage.predicted is None else units.seconds(stage.predicted),
        _NONE if stage.ratio is None else units.ratio(stage.ratio),
    )


def _title(run: PageRun) -> str:
    result = run.result
    cut = "" if run.reason is None else " (cut short)"
    batch = f"{result.batch_size} times, each " if result.batch_size > 1 else ""
    return f"{run.page.label}{cut}: {batch}{result.context_len} tokens in, {result.generated_tokens} out"


def _steps(run: PageRun) -> str:
    return f"{run.decode_steps} step" + ("s" if run.decode_steps != 1 else "")


def _spread(timing: Timing | None) -> str:
    if timing is None:
        return ""
    if timing.repeats == 1:
        return "measured once"
    return f"{units.seconds(timing.first_quartile)} to {units.seconds(timing.third_quartile)}, {timing.repeats} times"


def _share(share: float | None) -> str:
    return _NONE if share is None else f"{share * 100:.3g}%"


def _found(summary: RunSummary) -> Iterator[str]:
    """One line where all is equal, else one for each number that is not."""
    wrong = [check for check in summary.checks if not check.equal]
    if summary.checks and not wrong:
        of: dict[str, list[str]] = {}
        for check in summary.checks:
            of.setdefault(check.quantity, []).append(check.of)
        alike: dict[str, list[str]] = {}
        for quantity, modules in of.items():
            alike.setdefault(", ".join(dict.fromkeys(modules)), []).append(quantity)
        found = "; ".join(f"{' and '.join(quantities)} of {modules}" for modules, quantities in alike.items())
        yield f"the run's hooks and cache and the static model agree to the integer: {found}"
    for check in wrong:
        yield (
            f"DIFFERS: {check.quantity} of {check.of}: {check.measured:,} in the run, {check.expected:,} in the static "
            "model"
        )


def _experts(summary: RunSummary) -> Iterator[str]:
    """A line for each stage: the mean over layers and passes."""
    stages: dict[str, list[Reached]] = {}
    for reached in summary.experts:
        stages.setdefault(reached.stage, []).append(reached)
    for stage, layers in stages.items():
        passes = sum(one.passes for one in layers)
        hit, expected = (sum(getattr(one, name) * one.passes for one in layers) / passes for name in _REACHED)
        read, wanted = (sum(getattr(one, name) for one in layers) for name in _WEIGHTS)
        yield (
            f"experts reached in {stage}: {hit:.1f} a layer and pass (expected {expected:.1f}); the layers' weights "
            f"read with them {units.size(read)} (expected {units.size(wanted)})"
        )


def _predicted_on(summary: RunSummary) -> str:
    if summary.machine is None:
        return "no prediction: name the device with --predict-device"
    device = summary.machine.device
    level = "roofline" if summary.machine.calibration is None else "calibrated"
    return f"predicted for {device.title} ({device.name}), {summary.machine.execution}, {level}"
