"""`modelmeter compare`."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from modelmeter.cli.output import JsonOption, MarkdownOption, QuietOption, check_outputs, deliver

if TYPE_CHECKING:
    from modelmeter.report.compare.compare import Comparison

AArgument: TypeAlias = Annotated[str, typer.Argument(metavar="A", help="A JSON file, or a folder of results.")]
BArgument: TypeAlias = Annotated[str, typer.Argument(metavar="B", help="Another: its values less A's are shown.")]
ThresholdOption: TypeAlias = Annotated[
    str | None, typer.Option(metavar="SHARE", help="Exit code 1 where a relative difference exceeds it: 5% or 0.05.")
]
TopOption: TypeAlias = Annotated[int, typer.Option(metavar="N", min=0, help="Rows of each table; 0 for all.")]
AllowOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-different",
        metavar="WHAT[,WHAT...]",
        help="Compare different conventions, models or schemas all the same; rows: those in one file alone pass.",
    ),
]
CsvOption: TypeAlias = Annotated[str | None, typer.Option(metavar="FILE|-", help="A row for each difference.")]


def compare(
    a: AArgument,
    b: BArgument,
    threshold: ThresholdOption = None,
    top: TopOption = 20,
    allow_different: AllowOption = None,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    csv: CsvOption = None,
    quiet: QuietOption = False,
) -> None:
    """Two results side by side: what differs, by how much, the largest relative difference first.

    Results are the JSON of analyze, time, fit, plan, sweep and report. Rows are joined by what they are of: page,
    stage, part, point.

    Exit code 1 when a threshold is given and something exceeds it, or is in one file alone.

    Examples:

        modelmeter compare before.json after.json

        modelmeter compare before.json after.json --threshold 5% --markdown changes.md

        modelmeter compare eager.json flash.json --allow-different conventions
    """
    from modelmeter.report.compare.compare import compare as run
    from modelmeter.report.compare.compare import parse_threshold

    outputs = {"json": json, "markdown": markdown, "csv": csv}
    check_outputs(outputs, [a, b])
    allowed = [name.strip() for names in allow_different or [] for name in names.split(",") if name.strip()]
    found = run(a, b, allow=allowed, threshold=None if threshold is None else parse_threshold(threshold))
    _deliver(found, outputs, top, quiet)
    if found.exceeding:
        raise typer.Exit(1)


def _deliver(found: "Comparison", wanted: dict[str, str | None], top: int, quiet: bool) -> None:
    from modelmeter.report.compare import export, render

    to_markdown = partial(render.to_markdown, top=top)
    writers: dict[str, Callable[[Comparison], str]]
    writers = {"json": export.to_json, "markdown": to_markdown, "csv": export.to_csv}
    deliver(found, wanted, writers, print_it=partial(render.print_comparison, top=top), quiet=quiet)
