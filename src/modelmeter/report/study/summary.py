"""A study as short tables: what was found, for a terminal and for the folder's README."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modelmeter.report import units
from modelmeter.report.grid import Table, console_for, print_line, print_table
from modelmeter.report.study.distribution import distributions
from modelmeter.report.study.points import column, kinds_of, labels_of, machines_of, of_kind, point_dims
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    import xarray as xr

SHORT: Final = 12
"""Rows of a table on a terminal."""
_SHOWN: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "flops": ("FLOPs", units.flops),
    "io_bytes": ("bytes\nmoved", units.size),
    "activation_peak_bytes": ("activ.\npeak", units.size),
    "kv_cache_bytes": ("KV\nheld", units.size),
    "seconds": ("time", units.seconds),
}


def _plain(value: float) -> str:
    return f"{value:,.0f}"


_WRITERS: Final[dict[str, Callable[[float], str]]] = {
    "FLOP": units.flops,
    "B": units.size,
    "s": units.seconds,
    "1": _plain,
}


def study_tables(study: Study, most: int = SHORT) -> list[Table]:
    """A table a stage of at most so many points, evenly chosen; and how pages spread."""
    tables = []
    for stage in study.datasets:
        times = _times(study, stage, most)
        tables += [_stage(study, stage, most), *([] if times is None else [times])]
    spread = distributions(study)
    return [*tables, _distribution(spread)] if spread else tables


def print_study(study: Study) -> None:
    """Print the tables, each point as people read it."""
    console = console_for()
    print_line(console, study.description, style="bold")
    for table in study_tables(study):
        print_table(console, table)


def _stage(study: Study, stage: str, most: int) -> Table:
    dataset, dims = study.datasets[stage], point_dims(study)
    columns: dict[str, list[str]] = {
        name.replace("_", " "): [str(labels[name]) for labels in labels_of(study)] for name in dims
    }
    words = len(columns)
    for name, title in (("pages", "pages"), ("image_tokens_total", "image\ntokens"), ("context_len", "context")):
        if name in dataset.coords and name not in dims and np.any(dataset.coords[name] > 0):
            columns[title] = [f"{value:,}" for value in column(dataset.coords[name], dims)]
    for title, texts in _numbers(dataset, dims).items():
        columns[title] = texts
    count = len(next(iter(columns.values())))
    chosen = _spread(count, most)
    rows = tuple(tuple(texts[i] for texts in columns.values()) for i in chosen)
    title = _title(stage, dataset) + _some(len(rows), count)
    return Table(title=title, columns=tuple(columns), rows=rows, text_columns=max(words, 1))


def _title(stage: str, dataset: "xr.Dataset") -> str:
    steps = dataset.coords.get("decode_tokens")
    if steps is None:
        return "decode, one step" if stage == "decode" else stage
    several = f"{int(steps):,}" if steps.ndim == 0 else "several"
    return f"{stage}, {several} decode steps" if stage == "run" else f"{stage}, {several} steps"


def _numbers(dataset: "xr.Dataset", dims: dict[str, Any]) -> dict[str, list[str]]:
    """Columns of numbers: a quantity for each kind of attention where they differ, a time for each device."""
    found: dict[str, list[str]] = {}
    kinds = kinds_of(dataset)
    for name, (title, write) in _SHOWN.items():
        if name not in dataset or name == "seconds":
            continue
        each = {kind: column(of_kind(dataset, kind)[name], dims) for kind in kinds}
        if not any(any(values) for values in each.values()):
            continue
        same = all(values == each[kinds[0]] for values in each.values())
        for kind in kinds[:1] if same else kinds:
            found[title if same else f"{title.split(chr(10))[-1]}\n{kind}"] = [write(value) for value in each[kind]]
    title, write = _SHOWN["seconds"]
    for kind in kinds:
        machines = machines_of(of_kind(dataset, kind))
        if len(machines) == 1 and "seconds" in machines[0][1]:
            machine, there = machines[0]
            where = f"{machine['device']}\n{kind}" if len(kinds) > 1 else f"{title}\n{machine['device']}"
            found[where] = [write(value) for value in column(there["seconds"], dims)]
    return found


def _times(study: Study, stage: str, most: int) -> Table | None:
    """Predicted times where there are several devices: a row for each point and device."""
    dataset, dims = study.datasets[stage], point_dims(study)
    kinds = kinds_of(dataset)
    each = [machines_of(of_kind(dataset, kind)) for kind in kinds]
    if len(each[0]) < 2 or "seconds" not in dataset:
        return None
    rows = []
    for machines in zip(*each, strict=True):
        texts = [[units.seconds(value) for value in column(there["seconds"], dims)] for _, there in machines]
        for labels, *times in zip(labels_of(study), *texts, strict=True):
            rows.append((*map(str, labels.values()), *machines[0][0].values(), *times))
    chosen = _spread(len(rows), most)
    names = tuple(name.replace("_", " ") for name in dims)
    columns = (*names, *each[0][0][0], *([f"time\n{kind}" for kind in kinds] if len(kinds) > 1 else ["time"]))
    title = f"{_title(stage, dataset)}, on each device{_some(len(chosen), len(rows))}"
    return Table(
        title=title, columns=columns, rows=tuple(rows[i] for i in chosen), text_columns=len(columns) - len(kinds)
    )


def _spread(count: int, most: int) -> list[int]:
    """At most so many of `count` places, evenly chosen."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()))


def _some(shown: int, count: int) -> str:
    return f" ({shown} of {count:,} points)" if shown < count else ""


def _distribution(spread: list[dict[str, Any]]) -> Table:
    """Mean, quantiles and sum of each quantity."""
    shown = ("0.0", "0.5", "0.9", "0.99", "1.0")
    names = ("least", "median", "90%", "99%", "most")
    rows = []
    for one in spread:
        write = _WRITERS[one["units"]]
        place = " ".join(part for part in (one["stage"], one.get("device", "")) if part)
        total = write(one["total"]) if "total" in one else ""
        cells = [write(one["quantiles"][q]) for q in shown]
        rows.append((place, one["quantity"].replace("_", " "), write(one["mean"]), *cells, total))
    columns = ("of", "quantity", "mean", *names, "all pages")
    return Table(title="How pages spread", columns=columns, rows=tuple(rows), text_columns=2)
