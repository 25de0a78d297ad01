"""A report as Markdown: `report.md`. It takes the report's data and computes no costs."""

from collections.abc import Iterator

from modelmeter.core.cost import StageCost
from modelmeter.hardware.page_time import LEVELS, Levels
from modelmeter.report import units
from modelmeter.report.conventions import convention_notes
from modelmeter.report.grid import Table, escape, markdown_table
from modelmeter.report.model_report.data import AnalyticModelReport, PageKind, StageReport, VerificationStatement
from modelmeter.report.model_report.observed_tables import observed_tables
from modelmeter.report.tables import COST_COLUMNS, MEMORY_COLUMNS, cost_cells, memory_cells
from modelmeter.report.timing.tables import span_cells

_CURVE_ROWS = 5


def to_markdown(report: AnalyticModelReport) -> str:
    """The whole report: documents, totals, each kind of page, verification, conventions."""
    lines = [f"# {escape(report.model.name)}: what it costs on these pages", "", _summary(report), ""]
    lines += [
        f"Layer by layer: [layers/index.md](layers/index.md). Written by modelmeter {report.modelmeter_version}, "
        f"analytic model {report.analytic_model_version}.",
        "",
    ]
    for table in report_tables(report):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    for number, kind in enumerate(report.kinds, 1):
        lines += list(_formulas(kind_title(report, number), kind))
    if report.errors:
        lines += ["## Not read", "", *[f"- {escape(str(error))}" for error in report.errors], ""]
    lines += ["## What is verified", "", *_verified(report), ""]
    lines += ["## Conventions", "", *[f"- {escape(line)}" for line in convention_notes(report.conventions)], ""]
    rest = [note for note in report.notes if note not in convention_notes(report.conventions)]
    lines += ["## What the numbers rest on", "", *[f"- {escape(line)}" for line in rest]]
    return "\n".join(lines) + "\n"


def report_tables(report: AnalyticModelReport) -> list[Table]:
    """Documents, totals, of each kind of page its stages, parts, times and decode steps, and what was observed."""
    tables = [_documents(report)]
    if len(report.pages) > 1:
        whole = {name: stage for name, stage in report.totals.items() if name != "decode"}
        tables.append(_stages("All pages: FLOPs and bytes added up, of memory the largest", whole))
    for number, kind in enumerate(report.kinds, 1):
        title = kind_title(report, number)
        tables.append(_stages(title, kind.stages))
        tables.append(_parts(f"{title}: parts of the run", kind.stages["run"]))
        if report.device is not None:
            tables.append(_times(f"{title}: time on {report.device.title}, {report.device.execution}", kind))
        if kind.decode:
            tables.append(_decode(f"{title}: over decode", kind))
    return tables if report.observed is None else [*tables, *observed_tables(report.observed)]


def kind_title(report: AnalyticModelReport, number: int) -> str:
    """What a kind of page is called: "Kind 1: views 6 x 640 + 1 x 1024 px, grid 2 x 3, 2 pages"."""
    kind = report.kinds[number - 1]
    views = " + ".join(f"{count} x {side}" for count, side in kind.views)
    grid = "" if kind.grid == (1, 1) else f", grid {kind.grid[0]} x {kind.grid[1]}"
    many = f"{kind.pages} pages" if kind.pages > 1 else "1 page"
    return f"Kind {number}: views {views} px{grid}, {many}"


def stage_row(name: str, stage: StageCost) -> tuple[str, ...]:
    """A row of costs and memory."""
    return (name, *cost_cells(stage.cost), *memory_cells(stage))


def _summary(report: AnalyticModelReport) -> str:
    work, model = report.profile, report.model
    batch = f", {work.batch_size} such pages at a time" if work.batch_size > 1 else ""
    time = "" if report.total_seconds is None else f" All pages one after the other: {_time(report.total_seconds)}."
    return (
        f"{model.parameters:,} parameters, {units.size(model.weights_resident_bytes)}; profile {work.name}: mode "
        f"{work.mode}, {work.text_tokens} text tokens beside each page, {work.new_tokens} new tokens "
        f"({work.decode_steps} decode steps){batch}.{time}"
    )


def _documents(report: AnalyticModelReport) -> Table:
    columns = ["page", "size, px", "kind", "image\ntokens", "context\nlength"]
    columns += [] if report.device is None else ["host", "TTFT", "TPOT", "page"]
    rows = []
    for page in report.pages:
        kind = report.kinds[page.kind]
        row = [page.label, f"{page.width} x {page.height}", str(page.kind + 1)]
        row += [str(kind.image_tokens), str(kind.context_len)]
        if page.time is not None:
            levels = (page.time.ttft, page.time.tpot, page.time.total)
            row += [_time(page.time.host_seconds), *[_time(level.predicted) for level in levels]]
        rows.append(tuple(row))
    return Table(title="Pages", columns=tuple(columns), rows=tuple(rows), text_columns=2)


def _stages(title: str, stages: dict[str, StageReport]) -> Table:
    rows = tuple(stage_row(name, stage.cost) for name, stage in stages.items())
    return Table(title=title, columns=("stage", *COST_COLUMNS, *MEMORY_COLUMNS), rows=rows)


def _parts(title: str, stage: StageReport) -> Table:
    rows = [stage_row(part, cost) for part, cost in stage.parts.items()]
    rows.append(stage_row("all", stage.cost))
    return Table(title=title, columns=("part", *COST_COLUMNS, *MEMORY_COLUMNS), rows=tuple(rows))


def _times(title: str, kind: PageKind) -> Table:
    rows = []
    for name, stage in kind.stages.items():
        if stage.time is not None:
            time = stage.time
            shares = (
                f"{time.mfu * 100:.3g}%",
                f"{time.mbu * 100:.3g}%",
                _time(time.measured_seconds),
                _ratio(time.ratio),
            )
            rows.append((name, *_levels(time.levels), *span_cells(time.predicted), *shares))
    columns = ("stage", *LEVELS, "predicted", "tensor", "vector", "memory", "launch", "binds", "MFU", "MBU")
    return Table(title=title, columns=(*columns, "measured", "measured /\npredicted"), rows=tuple(rows))


def _decode(title: str, kind: PageKind) -> Table:
    """Some of the points, the first and the last among them."""
    last = len(kind.decode) - 1
    places = sorted({last * place // (_CURVE_ROWS - 1) for place in range(_CURVE_ROWS)})
    rows = []
    for point in (kind.decode[place] for place in places):
        bytes_held = (point.kv_cache_bytes, point.activation_peak_bytes, point.memory_bytes)
        work = (units.flops(point.flops), units.size(point.io_bytes), *map(units.size, bytes_held))
        seconds = "" if point.seconds is None else _time(point.seconds.predicted)
        rows.append((str(point.step), str(point.cached_tokens), *work, seconds))
    columns = ("step", "cached\ntokens", "FLOPs", "bytes\nmoved", "KV cache", "activ.\npeak", "memory\nheld", "time")
    return Table(title=title, columns=columns, rows=tuple(rows), text_columns=0)


def _formulas(title: str, kind: PageKind) -> Iterator[str]:
    if not kind.formulas:
        return
    yield from (f"## {escape(title)}: closed formulas", "")
    symbols: dict[str, str] = {}
    for formula in kind.formulas:
        yield f"- {formula.quantity}({formula.stage}) = `{formula.expression}`"
        symbols |= formula.symbols
    yield ""
    yield from (f"- {name}: {meaning}" for name, meaning in symbols.items())
    yield from (f"- {limit}" for limit in dict.fromkeys(limit for formula in kind.formulas for limit in formula.limits))
    yield ""


def _verified(report: AnalyticModelReport) -> list[str]:
    rows = tuple(
        (one.quantity, ", ".join(one.stages), _held(one), one.meaning, f"`{one.command}`")
        for one in report.verification
    )
    columns = ("quantity", "stages", "held", "what it is", "shown by")
    return [
        "What the command holds for every change of this program (it was not run for this report):",
        "",
        *markdown_table(Table(title="", columns=columns, rows=rows, text_columns=5)),
    ]


def _held(statement: VerificationStatement) -> str:
    if statement.exact:
        return "equal as integers"
    return "declared" if statement.bound is None else f"within {statement.bound:.0%}"


def _levels(levels: Levels) -> tuple[str, ...]:
    return (_time(levels.bound), _time(levels.roofline), _time(levels.calibrated))


def _time(seconds: float | None) -> str:
    return "" if seconds is None else units.seconds(seconds)


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else units.ratio(ratio)
