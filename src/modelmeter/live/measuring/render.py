"""A measurement on a terminal."""

from typing import TYPE_CHECKING

from modelmeter.report import units
from modelmeter.report.grid import Table, console_for, print_line, print_table
from modelmeter.report.scaling_compare.measured import MeasuredPoint, MeasuredScaling, Spread

if TYPE_CHECKING:
    from rich.console import Console


def print_measured(measured: MeasuredScaling, console: "Console | None" = None) -> None:
    """Print what ran, and a row for each length."""
    console = console_for(console)
    print_line(console, f"{measured.runs}, on {measured.device.name}", style="bold")
    if measured.points:
        print_table(console, measured_table(measured))


def measured_table(measured: MeasuredScaling) -> Table:
    """Times with their quartiles, counted FLOPs and FLOP/s, of prefill and of the mean decode step."""
    counted = ("FLOPs", "FLOP/s") if measured.counted else ()
    return Table(
        title=f"Measured: batch size {measured.batch_size}, {measured.decode_steps} decode steps, medians of "
        f"{measured.repeats}",
        columns=("length", "prefill", "quartiles", *counted, "decode step", "quartiles", *counted, "tokens/s"),
        rows=tuple(_row(point, measured) for point in measured.points),
        text_columns=0,
    )


def _row(point: MeasuredPoint, measured: MeasuredScaling) -> tuple[str, ...]:
    prefill, decode = point.prefill, point.decode
    step = decode.time_ms_per_token / 1e3
    return (
        f"{point.seq_len_prefill:,}",
        *_timed(prefill.time_ms, prefill.spread, prefill.flops),
        *_timed(decode.time_ms_per_token, decode.spread, decode.flops_per_token),
        units.ratio(measured.batch_size / step),
    )


def _timed(ms: float, spread: Spread, flops: float | None) -> tuple[str, ...]:
    quartiles = " to ".join(units.seconds(each / 1e3) for each in (spread.first_quartile_ms, spread.third_quartile_ms))
    counted = () if flops is None else (units.flops(flops), units.flops(flops / ms * 1e3))
    return (units.seconds(ms / 1e3), quartiles, *counted)
