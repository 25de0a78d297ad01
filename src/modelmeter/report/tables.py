"""An analysis as tables of text: data that a renderer prints or writes as Markdown."""

from modelmeter.core.cost import Cost, StageCost
from modelmeter.report import units
from modelmeter.report.analysis import STAGES, Analysis, PageResult, StageResult
from modelmeter.report.conventions import convention_notes
from modelmeter.report.grid import Table

COST_COLUMNS = ("tensor\nFLOPs", "CUDA\nFLOPs", "weights\nread", "activ.\nmoved", "KV\nmoved", "FLOP/\nbyte")
MEMORY_COLUMNS = ("weights\nheld", "activ.\npeak", "KV\nheld")


def analysis_tables(analysis: Analysis) -> list[Table]:
    """Pages, the stages of each kind of page, parts and (when asked for) layers of the whole document."""
    if not analysis.pages:
        return []
    kinds = _kinds(analysis)
    tables = [_pages(analysis), *[_page_stages(pages) for pages in kinds]]
    if len(analysis.pages) > 1:
        tables.append(_totals(analysis))
    tables.append(_parts(analysis))
    if analysis.workload.by_layer is not None:
        tables += [_layers(name, analysis.totals[name]) for name in STAGES]
    if analysis.timing is not None:
        from modelmeter.report.timing.tables import timing_tables  # a quarter of a plain analysis to import

        tables += timing_tables(analysis.timing)
    return tables


def heading(analysis: Analysis) -> str:
    """One line: the model, its weights, the workload."""
    work = analysis.workload
    batch = f", {work.batch_size} such pages at a time" if work.batch_size > 1 else ""
    return (
        f"{analysis.config.name}: {analysis.parameters:,} parameters, {units.size(analysis.weights_bytes)}; "
        f"mode {work.mode}, at most {work.max_tiles} tiles; "
        f"each page {work.prompt_tokens} prompt tokens, {work.decode_tokens} decode steps{batch}"
    )


def notes(analysis: Analysis) -> list[str]:
    """The conventions, and what is special about this analysis."""
    lines = [f"precision: {analysis.precision.describe()}", *convention_notes(analysis.conventions)]
    if analysis.workload.batch_size > 1:
        lines.append(f"every stage is of {analysis.workload.batch_size} equal pages at once, KV and peaks included")
    lines.append("document totals: FLOPs and bytes added over pages; memory is the largest page's")
    if analysis.timing is None:
        return lines
    from modelmeter.report.timing.notes import time_notes

    return lines + time_notes(analysis.timing)


def _kinds(analysis: Analysis) -> list[list[PageResult]]:
    """Pages that run alike, together, in the order of their first."""
    kinds: dict[int, list[PageResult]] = {}
    for page in analysis.pages:
        kinds.setdefault(id(page.stages), []).append(page)
    return list(kinds.values())


def _pages(analysis: Analysis) -> Table:
    rows = []
    for result in analysis.pages:
        views = " + ".join(f"{count} x {side}" for count, side in result.views.views)
        grid = "{} x {}".format(*result.views.grid) if result.views.num_tiles else "none"
        size = f"{result.page.width} x {result.page.height}"
        row = (result.page.label, size, grid, views, result.views.image_tokens, result.context_len)
        rows.append(tuple(str(cell) for cell in row))
    columns = ("page", "size, px", "tiles", "views", "image\ntokens", "context\nlength")
    return Table(title="Pages", columns=columns, rows=tuple(rows), text_columns=4)


def _page_stages(pages: list[PageResult]) -> Table:
    each = ", each" if len(pages) > 1 else ""
    rows = [(name, *cost_cells(stage.cost.cost), *memory_cells(stage.cost)) for name, stage in pages[0].stages.items()]
    return Table(title=_names(pages) + each, columns=("stage", *COST_COLUMNS, *MEMORY_COLUMNS), rows=tuple(rows))


def _totals(analysis: Analysis) -> Table:
    """Sums over pages; one decoded token of each page is no sum that anyone needs."""
    stages = {name: analysis.totals[name].cost for name in STAGES if name != "decode"}
    rows = [(name, *cost_cells(stage.cost), *memory_cells(stage)) for name, stage in stages.items()]
    return Table(
        title=f"All {len(analysis.pages)} pages", columns=("stage", *COST_COLUMNS, *MEMORY_COLUMNS), rows=tuple(rows)
    )


def _parts(analysis: Analysis) -> Table:
    total = analysis.totals["run"]
    rows = [(part, *cost_cells(cost.cost), *memory_cells(cost)) for part, cost in total.parts.items()]
    rows.append(("all", *cost_cells(total.cost.cost), *memory_cells(total.cost)))
    columns = ("part", *COST_COLUMNS, *MEMORY_COLUMNS)
    rules = frozenset({len(rows) - 2})
    return Table(title="Parts of the run, all pages", columns=columns, rows=tuple(rows), rules=rules)


def _layers(name: str, stage: StageResult) -> Table:
    layers = stage.layers or {}
    rows = [(path or "(inputs)", *cost_cells(cost)) for path, cost in layers.items()]
    rows.append(("all", *cost_cells(stage.cost.cost)))
    title = f"Layers, {name}, all pages" + (", one token a page" if name == "decode" else "")
    return Table(title=title, columns=("layer", *COST_COLUMNS), rows=tuple(rows), rules=frozenset({len(rows) - 2}))


def _names(pages: list[PageResult]) -> str:
    if len(pages) == 1:
        return pages[0].page.label
    others = len(pages) - 1
    return f"{pages[0].page.label} and {others} more"


def cost_cells(cost: Cost) -> tuple[str, ...]:
    """The cells under `COST_COLUMNS`."""
    return (
        units.flops(cost.tensor_flops),
        units.flops(cost.cuda_flops),
        units.size(cost.weight_bytes),
        units.size(cost.activation_bytes),
        units.size(cost.kv_bytes),
        units.ratio(cost.arithmetic_intensity),
    )


def memory_cells(stage: StageCost) -> tuple[str, ...]:
    """The cells under `MEMORY_COLUMNS`."""
    return tuple(units.size(value) for value in (stage.weights_bytes, stage.activations_bytes, stage.kv_cache_bytes))
