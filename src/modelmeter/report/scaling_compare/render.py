"""A `ScalingComparison` on a terminal and as Markdown. Renderers take data and change none of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from modelmeter.hardware.page_time import LEVELS
from modelmeter.report import units
from modelmeter.report.compare.words import change, percent, share
from modelmeter.report.grid import Table, console_for, escape, markdown_table, print_line, print_table
from modelmeter.report.scaling_compare.advice import findings, matching, notes
from modelmeter.report.scaling_compare.commands import commands
from modelmeter.report.scaling_compare.compare import STAGES, ScalingComparison, StagePair, Statistics
from modelmeter.report.scaling_compare.export import stage_data

if TYPE_CHECKING:
    from rich.console import Console


def print_scaling(found: ScalingComparison, console: "Console | None" = None) -> None:
    """Print the comparison; plain text where the output is not a terminal."""
    console = console_for(console)
    for line in heading(found):
        print_line(console, line, style="bold")
    for table in tables(found):
        print_table(console, table)
    console.print()
    above = matching(found)  # the command of the analytic side, where the settings differ
    again = [f"to run it again: {each}" for each in commands(found) if not any(each in line for line in above)]
    for line in (*notes(found), *again, *lengths(found), *findings(found)):
        print_line(console, line)


def to_markdown(found: ScalingComparison) -> str:
    """The same as Markdown, with the commands that make it again."""
    lines = ["# Predicted and measured scaling", "", *[f"- {escape(line)}" for line in heading(found)], ""]
    for table in tables(found):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    rests_on = [f"- {escape(line)}" for line in notes(found)]
    if rests_on:
        lines += ["## What the predicted times rest on", "", *rests_on, ""]
    lines += ["## What to do", "", *[f"- {escape(line)}" for line in (*lengths(found), *findings(found))], ""]
    lines += ["## How to run it again", "", "```", *commands(found), "```"]
    return "\n".join(lines) + "\n"


def heading(found: ScalingComparison) -> list[str]:
    """The two files and what they are of, the settings that differ, and the device."""
    measured, sizes = found.measured, _sizes(found)
    lines = [
        f"analytic: {found.files.analytic} ({found.analytic.model}, analytic model "
        f"{found.analytic.analytic_model_version})",
        f"measured: {found.files.measured} ({measured.model}, {measured.device.name}, torch {measured.versions.torch}, "
        f"transformers {measured.versions.transformers})",
        sizes,
    ]
    lines += matching(found)
    if found.machine is not None:
        machine = found.machine
        level = "roofline" if machine.calibration is None else "calibrated"
        lines.append(f"predicted: {machine.device.name}, execution {machine.execution}, level {level}")
    return lines


def lengths(found: ScalingComparison) -> list[str]:
    """Lengths that one file alone has, those that were skipped, and whether the measurement was finished."""
    lines = [
        f"only {side}: lengths {', '.join(map(str, alone))}"
        for side, alone in (("predicted", found.only_analytic), ("measured", found.only_measured))
        if alone
    ]
    lines += [f"not measured: length {each.seq_len_prefill}: {each.reason}" for each in found.measured.skipped]
    return lines if found.measured.complete else [*lines, "the measurement was not finished: run it again to go on"]


def tables(found: ScalingComparison) -> list[Table]:
    """FLOPs and times by length and stage, then their statistics."""
    last = 2 * len({pair.length for pair in found.pairs}) - 1
    rules = frozenset(range(1, last, 2))
    several = [_flops(found, rules)] if found.measured.counted else []
    return [table for table in (*several, _times(found, rules), _statistics(found)) if table.rows]


def _flops(found: ScalingComparison, rules: frozenset[int]) -> Table:
    rows = []
    for pair in found.pairs:
        data = stage_data(pair)
        a, b, difference = (data[name] for name in ("analytic_flops", "measured_flops", "flops_difference"))
        relative = percent(pair.relative) if pair.difference else "0"
        rows.append((*_of(pair), f"{a:,}", f"{b:,}", change(difference) if difference else "0", relative))
    return Table(
        title="Counted FLOPs (decode: of a step)",
        columns=("length", "stage", "analytic", "measured", "measured\n- analytic", "relative"),
        rows=tuple(rows),
        text_columns=2,
        rules=rules,
        marked=frozenset(i for i, pair in enumerate(found.pairs) if pair.size > found.threshold),
    )


def _times(found: ScalingComparison, rules: frozenset[int]) -> Table:
    columns: tuple[str, ...] = ("length", "stage", "measured", "quartiles")
    predicted = [pair.predicted for pair in found.pairs if pair.predicted is not None]
    if predicted:
        levels = [name for name in LEVELS if name != "calibrated" or predicted[0].machine.calibration is not None]
        columns += (*levels, "measured /\npredicted", "MFU", "MBU")
    return Table(
        title=f"Times (decode: of a step; medians of {found.measured.repeats})",
        columns=columns,
        rows=tuple(_time_row(pair) for pair in found.pairs),
        text_columns=2,
        rules=rules,
    )


def _time_row(pair: StagePair) -> tuple[str, ...]:
    quartiles = [units.seconds(ms / 1e3) for ms in (pair.spread.first_quartile_ms, pair.spread.third_quartile_ms)]
    cells = (*_of(pair), units.seconds(pair.seconds), " to ".join(quartiles))
    if pair.predicted is None or pair.ratio is None or pair.mfu is None or pair.mbu is None:
        return cells
    levels = pair.predicted.seconds
    times = [units.seconds(each) for each in attrs.astuple(levels) if each is not None]
    return (*cells, *times, units.ratio(pair.ratio), _use(pair.mfu), _use(pair.mbu))


def _statistics(found: ScalingComparison) -> Table:
    rows = []
    for stage in STAGES:
        flops, times = found.flops_statistics(stage), found.time_statistics(stage)
        if flops is not None:
            rows.append((stage, "FLOP difference, relative", *[_percent(each) for each in _values(flops)]))
        if times is not None:
            rows.append((stage, "measured / predicted time", *[units.ratio(each) for each in _values(times)]))
    count = len({pair.length for pair in found.pairs})
    title = f"Over {count} length{'s' if count > 1 else ''} (threshold for FLOPs: {share(found.threshold)})"
    return Table(title=title, columns=("stage", "of", "mean", "median", "max"), rows=tuple(rows), text_columns=2)


def _values(found: Statistics) -> Sequence[float]:
    return found.mean, found.median, found.max


def _percent(share: float) -> str:
    """With three digits, however small."""
    return f"{units.ratio(100 * share)}%"


def _use(share: float) -> str:
    """A utilisation."""
    return _percent(share) if share >= 1e-4 else "< 0.01%"


def _of(pair: StagePair) -> tuple[str, str]:
    return f"{pair.length:,}", pair.stage


def _sizes(found: ScalingComparison) -> str:
    measured = found.measured
    return (
        f"batch size {measured.batch_size}, {measured.decode_steps} decode steps, {measured.dtype}, "
        f"{measured.device.threads} CPU thread{'s' if measured.device.threads > 1 else ''}"
    )
