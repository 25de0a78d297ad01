"""Times as tables of text."""

from collections.abc import Sequence
from typing import Final

from modelmeter.hardware.page_time import LEVELS, Levels, StageTime
from modelmeter.hardware.timeline import Span
from modelmeter.models.deepseek_ocr.parts import PARTS
from modelmeter.report import units
from modelmeter.report.grid import Table
from modelmeter.report.timing.timing import PageTiming, Timing, Wanted

_RESOURCES: Final = ("tensor", "vector", "memory", "launch")


def timing_tables(timing: Timing) -> list[Table]:
    """For each kind of page where its time goes; of several pages one line each as well."""
    tables = []
    for pages in timing.kinds():
        tables.append(_kind(timing, pages))
        if timing.workload.by_layer is not None:
            tables += [_layers(stage, pages[0], timing.workload.by_layer) for stage in ("prefill", "decode")]
    if len(timing.pages) > 1:
        tables.append(_pages(timing))
    if timing.wanted != Wanted():
        tables.append(_required(timing))
    return tables


def _kind(timing: Timing, pages: list[PageTiming]) -> Table:
    time = pages[0].time
    levels = [name for name in LEVELS if name != "calibrated" or timing.machine.calibration is not None]
    rows = [("host", *_levels(time.host, levels), *[""] * 4, "host", "", "")]
    rows += [_part(part, time.prefill.parts[part], len(levels)) for part in PARTS if _ran(time.prefill, part)]
    rows.append(_stage("vision + prefill", time.prefill, levels))
    rules = {0, len(rows) - 2, len(rows) - 1}
    first = time.decode
    rows += [_part(f"  {part}", first.parts[part], len(levels)) for part in PARTS if _ran(first, part)]
    rows.append(_stage(f"decode step at {time.context_len} cached", first, levels))
    rules |= {len(rows) - 1}
    rows.append(("TTFT (host, vision, prefill)", *_levels(time.ttft, levels), *[""] * 7))
    rows.append((f"TPOT (mean of {time.decode_tokens} steps)", *_levels(time.tpot, levels), *[""] * 7))
    rows.append((f"page of {time.decode_tokens + 1} tokens", *_levels(time.total, levels), *[""] * 7))
    others = "" if len(pages) == 1 else f" and {len(pages) - 1} more, each"
    rate = f"{units.ratio(time.tokens_per_second)} tokens/s, {units.ratio(time.pages_per_second)} pages/s"
    return Table(
        title=f"{pages[0].page.label}{others}: {rate}",
        columns=("", *levels, "tensor", "vector", "memory", "launch", "binds", "MFU", "MBU"),
        rows=tuple(rows),
        rules=frozenset(rules),
    )


def _layers(stage: str, page: PageTiming, depth: int) -> Table:
    """The predicted time of each module path of a stage, cut to `depth` names."""
    spans = getattr(page.time, stage).timeline.by_layer(depth)
    rows = [
        (path or "(the model itself)", *span_cells(span)) for path, span in spans.items() if float(span.seconds) > 0
    ]
    rows.append(("all", *span_cells(sum(spans.values(), Span()))))
    title = f"{page.page.label}: layers, {stage}" + (", one token" if stage == "decode" else " (vision included)")
    columns = ("layer", "time", "tensor", "vector", "memory", "launch", "binds")
    return Table(title=title, columns=columns, rows=tuple(rows), rules=frozenset({len(rows) - 2}))


def span_cells(span: Span) -> tuple[str, ...]:
    """The cells under "time", the four resources and "binds"."""
    return (units.seconds(float(span.seconds)), *_resources(span), span.binds)


def _pages(timing: Timing) -> Table:
    rows = [
        (
            page.page.label,
            str(page.time.context_len),
            units.seconds(page.time.host_seconds),
            units.seconds(page.time.ttft.predicted),
            units.seconds(page.time.tpot.predicted),
            units.seconds(page.time.total.predicted),
        )
        for page in timing.pages
    ]
    mean = sum(page.time.total.predicted for page in timing.pages) / len(timing.pages)
    rows.append(("mean", "", "", "", "", units.seconds(mean)))
    columns = ("page", "context\nlength", "host", "TTFT", "TPOT", "page")
    return Table(title="Pages", columns=columns, rows=tuple(rows), rules=frozenset({len(rows) - 2}))


def _required(timing: Timing) -> Table:
    """What a device has to deliver for the wanted times, for each kind of page."""
    rows = []
    for pages in timing.kinds():
        for name, seconds in (("TTFT", timing.wanted.ttft), ("TPOT", timing.wanted.tpot)):
            if seconds is not None:
                time = pages[0].time
                rates = time.required(ttft=seconds) if name == "TTFT" else time.required(tpot=seconds)
                wanted = f"{name} of {units.seconds(seconds)}"
                cells = (f"{rates.flops / 1e12:.3g}", f"{rates.num_bytes / 1e9:.4g}")
                rows.append((pages[0].page.label, wanted, *cells))
    columns = ("page", "wanted", "TFLOP/s", "GB/s")
    return Table(title="Rates required", columns=columns, rows=tuple(rows), text_columns=2)


def _ran(stage: StageTime, part: str) -> bool:
    return float(stage.parts.get(part, Span()).seconds) > 0


def _part(name: str, span: Span, levels: int) -> tuple[str, ...]:
    blank = [""] * (levels - 1)
    return (f"  {name.strip()}", *blank, units.seconds(float(span.seconds)), *_resources(span), span.binds, "", "")


def _stage(name: str, stage: StageTime, levels: Sequence[str]) -> tuple[str, ...]:
    total = stage.timeline.total
    shares = (f"{stage.mfu * 100:.3g}%", f"{stage.mbu * 100:.3g}%")
    return (name, *_levels(stage.seconds, levels), *_resources(total), total.binds, *shares)


def _resources(span: Span) -> tuple[str, ...]:
    return tuple(units.seconds(float(getattr(span, name))) for name in _RESOURCES)


def _levels(levels: Levels, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(units.seconds(float(getattr(levels, name))) for name in names)
