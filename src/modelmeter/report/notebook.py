"""What a notebook shows of a cost, a trace or a timeline: small HTML tables."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any, Final

import numpy as np

from modelmeter.core.cost import COST_FIELDS, Cost, StageCost
from modelmeter.core.dims import Dim, is_array, is_symbol
from modelmeter.core.trace import Trace
from modelmeter.hardware.timeline import RESOURCES, Timeline
from modelmeter.report import units

MOST_ROWS: Final = 12
"""Operators that a table lists; the others are one row."""


def cost_html(cost: Cost) -> str:
    """The quantities of a `Cost`: as people read them, and exact."""
    rows = [_row(name, getattr(cost, name), _unit_of(name)) for name in (*COST_FIELDS, "flops", "io_bytes")]
    rows.append(("arithmetic intensity", _spread(cost.arithmetic_intensity, units.ratio), ""))
    return table("Cost", ("", "", "exact"), rows)


def stage_cost_html(stage: StageCost) -> str:
    """The quantities of a `StageCost`."""
    rows = [
        _row("FLOPs", stage.cost.flops, units.flops),
        _row("on tensor cores", stage.cost.tensor_flops, units.flops),
        _row("on CUDA cores", stage.cost.cuda_flops, units.flops),
        _row("bytes moved", stage.cost.io_bytes, units.size),
        ("FLOPs per byte", _spread(stage.arithmetic_intensity, units.ratio), ""),
        _row("weights held", stage.weights_bytes, units.size),
        _row("activations, peak", stage.activations_bytes, units.size),
        _row("KV cache held", stage.kv_cache_bytes, units.size),
    ]
    return table("Stage", ("", "", "exact"), rows)


def trace_html(trace: Trace) -> str:
    """The operators of a trace by name, those that move most bytes first."""
    totals = trace.by_op()
    if not all(_is_plain(value) for total in totals.values() for value in total.cost.values()):
        return cost_html(trace.total)
    order = sorted(totals, key=lambda name: -totals[name].cost.io_bytes)
    rows = [
        (name, f"{totals[name].calls:,}", units.flops(totals[name].cost.flops), units.size(totals[name].cost.io_bytes))
        for name in order[:MOST_ROWS]
    ]
    rest = [totals[name] for name in order[MOST_ROWS:]]
    if rest:
        costs = [total.cost for total in rest]
        moved, flops = sum(cost.io_bytes for cost in costs), sum(cost.flops for cost in costs)
        calls = sum(total.calls for total in rest)
        rows.append((f"{len(rest)} others", f"{calls:,}", units.flops(flops), units.size(moved)))
    return table(str(trace), ("operator", "calls", "FLOPs", "bytes moved"), rows)


def timeline_html(timeline: Timeline) -> str:
    """The time of each operator name, and what it waits for, the longest first."""
    if is_array(timeline.seconds):
        spread = _spread(timeline.seconds, units.seconds)
        return table(_place(timeline), ("", ""), [("seconds", spread)])
    spans = timeline.by_op()
    order = sorted(spans, key=lambda name: -spans[name].seconds)
    shown = {name: spans[name] for name in order[:MOST_ROWS]}
    if order[MOST_ROWS:]:
        first, *others = [spans[name] for name in order[MOST_ROWS:]]
        shown[f"{len(others) + 1} others"] = sum(others, first)
    rows = [
        (name, units.seconds(span.seconds), *[units.seconds(getattr(span, term)) for term in RESOURCES], span.binds)
        for name, span in shown.items()
    ]
    return table(
        f"{units.seconds(timeline.seconds)} {_place(timeline)}", ("operator", "time", *RESOURCES, "binds"), rows
    )


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table; all of it is text."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + _cells(row) + "</tr>" for row in rows)
    caption = f'<caption style="text-align:left">{escape(caption)}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(row: Sequence[str]) -> str:
    first, *rest = row
    numbers = "".join(f'<td style="text-align:right">{escape(cell)}</td>' for cell in rest)
    return f'<th style="text-align:left">{escape(first)}</th>{numbers}'


def _row(name: str, value: Dim, text: Callable[[float], str]) -> tuple[str, str, str]:
    exact = f"{value:,}" if isinstance(value, int) else ""
    return name.replace("_", " "), _spread(value, text), exact


def _spread(value: Dim, text: Callable[[float], str]) -> str:
    """A number in words; of an array its range, of a formula the formula."""
    if is_array(value):
        return f"{text(float(np.min(value)))} to {text(float(np.max(value)))} ({value.size:,} points)"
    return str(value) if is_symbol(value) else text(value)


def _unit_of(name: str) -> Callable[[float], str]:
    return units.flops if name.endswith("flops") else units.size


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float)


def _place(timeline: Timeline) -> str:
    return f"on {timeline.device.name} ({timeline.level}, {timeline.execution})"
