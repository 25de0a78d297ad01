"""README.md of a study's folder: what it is, the command that made it, its files, what was found."""

from collections.abc import Iterable
from typing import Final

from modelmeter.report.grid import escape, markdown_table
from modelmeter.report.study.data import SCHEMA, conventions_data
from modelmeter.report.study.points import point_dims
from modelmeter.report.study.summary import study_tables
from modelmeter.sweeps.study import Study

MOST_ROWS: Final = 60
FILES: Final = {
    "sweep.json": f"every point with its costs, in the units people read and exact (schema `{SCHEMA}`)",
    "sweep.csv": "the same as one tidy table of all stages; FLOPs, bytes, seconds",
    "sweep.parquet": "that table with types; units in the columns' metadata",
    "sweep.sqlite": "a table a stage, `metadata` and `quantities` (units)",
    "sweep.nc": 'the labelled arrays: `xarray.open_dataset("sweep.nc", group="STAGE")`',
    "analytic_scaling.json": "prefill and decode by the length of the prompt",
    "analytic_scaling_flash.json": "the same with flash attention",
}


def readme(study: Study, command: str | None, files: Iterable[str], notes: Iterable[str] = ()) -> str:
    """Markdown. `files` are those of the folder; `notes` say what is not in it, and why."""
    first = next(iter(study.datasets.values()))
    lines = [f"# Study: {study.name}", "", escape(study.description), ""]
    if command is not None:
        lines += ["Made by", "", "```", command, "```", ""]
    lines += [
        f"Model {first.attrs['model']}, analytic model {first.attrs['analytic_model_version']}, modelmeter "
        f"{first.attrs['modelmeter_version']}.",
        "",
    ]
    if study.warnings:
        lines += [
            "## Warnings: something here cannot be right",
            "",
            *[f"- {escape(text)}" for text in study.warnings],
            "",
        ]
    varied = [f"- {name}: {', '.join(map(str, labels.tolist()))}" for name, labels in point_dims(study).items()]
    lines += ["## What varies", "", *(varied or ["- nothing but attention and device"]), ""]
    for table in study_tables(study, MOST_ROWS):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    lines += ["## Files", ""]
    lines += [f"- `{name}`: {FILES[name]}" if name in FILES else f"- `{name}`" for name in files if name[-4:] != ".png"]
    lines += [f"- {note}" for note in notes]
    plots = [name for name in files if name.endswith(".svg")]
    lines += ["", *[f"![{name.removesuffix('.svg')}]({name})" for name in plots]] if plots else []
    lines += ["", "## Conventions", "", f"- precision: {first.attrs['precision']}"]
    lines += [f"- {line}" for line in conventions_data(study)["notes"]]
    return "\n".join(lines) + "\n"
