"""The tables of a report that say what a run was observed to do."""

from modelmeter.core.cost import StageCost
from modelmeter.report import units
from modelmeter.report.grid import Table
from modelmeter.report.model_report.observed import ObservedRun
from modelmeter.report.tables import COST_COLUMNS, MEMORY_COLUMNS, cost_cells, memory_cells


def observed_tables(run: ObservedRun) -> list[Table]:
    """Tokens by page, and the cost of each class of modules over the run."""
    return [_pages(run), _snapshots(run)]


def _pages(run: ObservedRun) -> Table:
    rows = tuple(
        (
            page.document or "-",
            "-" if page.page is None else str(page.page),
            str(page.batch_size),
            "-" if page.image_tokens is None else str(page.image_tokens),
            str(page.context_len),
            str(page.decode_tokens),
        )
        for page in run.pages
    )
    columns = ("document", "page", "batch", "image\ntokens", "prefilled\ntokens", "decoded\ntokens")
    return Table(title="Observed: tokens of each sequence", columns=columns, rows=rows)


def _snapshots(run: ObservedRun) -> Table:
    rows = []
    for name, snapshot in run.snapshots.items():
        seconds = "-" if snapshot.measured_seconds is None else units.seconds(snapshot.measured_seconds)
        cells = (*cost_cells(snapshot.cost.cost), *memory_cells(snapshot.cost))
        rows.append((name, str(snapshot.calls), *cells, seconds))
    if run.not_hooked is not None:
        cells = (*cost_cells(run.not_hooked), *memory_cells(StageCost(cost=run.not_hooked)))
        rows.append(("not hooked", "-", *cells, "-"))
    columns = ("modules", "calls", *COST_COLUMNS, *MEMORY_COLUMNS, "measured")
    return Table(title="Observed: all calls of the run", columns=columns, rows=tuple(rows))
