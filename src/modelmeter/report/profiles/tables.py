"""A profile as tables of text: measured beside predicted, by stage and by kind; the kernels; the unknown ones."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from modelmeter.documents.pages import one_line
from modelmeter.profiles.kinds import KINDS
from modelmeter.profiles.prediction import Predicted
from modelmeter.profiles.profile import KernelTime, Total
from modelmeter.report import units
from modelmeter.report.grid import Table
from modelmeter.report.profiles.build import ProfileReport, StageRow, stage_rows

MOST_KERNELS: Final = 15
WIDEST: Final = 80  # characters of a kernel's name: CUTLASS spells its templates out
Columns: TypeAlias = Sequence[tuple[str, Callable[[StageRow], str]]]


def profile_tables(report: ProfileReport) -> list[Table]:
    """Stages, kinds, the heaviest kernels; what is of no known kind has a table of its own, nothing left out."""
    kernels, word = report.profile.kernels, _word(report)
    title = (
        f"The {MOST_KERNELS} heaviest of {len(kernels)} {word}" if len(kernels) > MOST_KERNELS else word.capitalize()
    )
    tables = [_stages(report), _kinds(report), _listed(report, title, kernels[:MOST_KERNELS])]
    unknown = [kernel for kernel in kernels if kernel.kind == "unknown"]
    if unknown:
        tables.append(_listed(report, "Of no known kind", unknown))
    return tables


def _stages(report: ProfileReport) -> Table:
    rows = stage_rows(report)
    columns: Columns = [
        ("ranges", lambda row: "" if row.ranges is None else str(row.ranges)),
        *_kernel_columns(report),
        *_elapsed_columns(),
        ("launches", lambda row: f"{row.measured.launches:,}"),
        ("predicted", lambda row: "" if row.predicted is None else f"{row.predicted.launches:,.0f}"),
        ("launches\na token", lambda row: "" if row.launches_per_token is None else f"{row.launches_per_token:,.4g}"),
        ("MFU", lambda row: "" if row.shares is None else f"{row.shares[0] * 100:.3g}%"),
        ("MBU", lambda row: "" if row.shares is None else f"{row.shares[1] * 100:.3g}%"),
    ]
    used = [column for column in columns if any(column[1](row) for row in rows)]
    sums = [place for place, row in enumerate(rows) if row.name in ("all vision", "all stages", "total")]
    return Table(
        title="Stages, measured" + ("" if report.prediction is None else " and predicted"),
        columns=("stage", *[name for name, _ in used]),
        rows=tuple((row.name, *[cell(row) for _, cell in used]) for row in rows),
        rules=frozenset({place - 1 for place in sums} | {place for place in sums if rows[place].name == "all vision"}),
    )


def _kernel_columns(report: ProfileReport) -> Columns:
    whole = report.profile.total.seconds

    def ratio(row: StageRow) -> str:
        return "" if row.predicted is None else _ratio(row.measured.seconds, row.predicted.kernel_seconds)

    return [
        (_word(report), lambda row: units.seconds(row.measured.seconds)),
        ("predicted", lambda row: "" if row.predicted is None else units.seconds(row.predicted.kernel_seconds)),
        ("ratio", ratio),
        ("share", lambda row: _share(row.measured.seconds, whole)),
    ]


def _elapsed_columns() -> Columns:
    def predicted(row: StageRow) -> str:
        return "" if row.elapsed is None or row.predicted is None else units.seconds(row.predicted.seconds)

    def ratio(row: StageRow) -> str:
        return "" if row.elapsed is None or row.predicted is None else _ratio(row.elapsed, row.predicted.seconds)

    elapsed = ("elapsed", lambda row: "" if row.elapsed is None else units.seconds(row.elapsed))
    return [elapsed, ("predicted", predicted), ("ratio", ratio)]


def _kinds(report: ProfileReport) -> Table:
    """The kinds of each stage, and of all of them."""
    groups, last = report.groups, "all stages" if "all stages" in report.groups else "total"
    shown = [name for name in groups if name == last or (len(groups["total"]) > 1 and len(groups[name]) == 1)]
    rows: list[tuple[str, ...]] = []
    rules = set()
    for name in shown:
        stages = groups[name]
        measured = report.profile.by_kind(stages)
        for kind in KINDS:
            predicted = report.predicted(stages, kind)
            if kind in measured or (predicted is not None and predicted.seconds > 0):
                rows.append((name, kind, *_kind_cells(report, measured.get(kind, Total()), predicted)))
        rules.add(len(rows) - 1)
    names = ["stage", "kind", _word(report), "share", "on tensor\ncores", "launches"]
    if report.prediction is not None:
        names += ["predicted", "ratio", "launches\npredicted"]
    return Table(title="Kinds", columns=tuple(names), rows=tuple(rows), text_columns=2, rules=frozenset(rules))


def _kind_cells(report: ProfileReport, measured: Total, predicted: Predicted | None) -> list[str]:
    on_tensor_cores = measured.tensor_core_nanoseconds / 1e9
    cells = [
        units.seconds(measured.seconds),
        _share(measured.seconds, report.profile.total.seconds),
        _share(on_tensor_cores, measured.seconds) if on_tensor_cores else "",
        f"{measured.launches:,}",
    ]
    if report.prediction is None:
        return cells
    if predicted is None:
        return [*cells, "", "", ""]
    ratio = _ratio(measured.seconds, predicted.kernel_seconds)
    return [*cells, units.seconds(predicted.kernel_seconds), ratio, f"{predicted.launches:,.0f}"]


def _listed(report: ProfileReport, title: str, kernels: Sequence[KernelTime]) -> Table:
    whole = report.profile.total.seconds
    cores = {True: "yes", False: "no", None: ""}
    rows = [
        (
            _shown(kernel.name),
            kernel.kind,
            kernel.stage,
            cores[kernel.tensor_cores],
            f"{kernel.launches:,}",
            units.seconds(kernel.nanoseconds / 1e9),
            _share(kernel.nanoseconds / 1e9, whole),
        )
        for kernel in kernels
    ]
    columns = ("name", "kind", "stage", "tensor cores", "launches", "time", "share")
    return Table(title=title, columns=columns, rows=tuple(rows), text_columns=4)


def _shown(name: str) -> str:
    """A name that fits its cell: on one line, without what a terminal would obey."""
    line = one_line(name)
    return line if len(line) <= WIDEST else line[: WIDEST - 3] + "..."


def _word(report: ProfileReport) -> str:
    return "kernels" if report.profile.runs_on == "gpu" else "operators"


def _ratio(measured: float, predicted: float) -> str:
    return units.ratio(measured / predicted) if predicted > 0 else ""


def _share(part: float, whole: float) -> str:
    return f"{part / whole * 100:.1f}%" if whole > 0 else ""
