"""`modelmeter compare`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from modelmeter.cli import options
from modelmeter.cli.compare_scaling import ScalingOptions, compare_pair
from modelmeter.cli.output import JsonOption, MarkdownOption, QuietOption, check_outputs, deliver
from modelmeter.cli.sweep.common import refuse

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
DeviceOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME|FILE", help="Of measured scaling: the device whose times are predicted."),
]
PlotOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Of measured scaling: a plot, .svg, .png or .pdf."),
]


def compare(
    a: AArgument,
    b: BArgument,
    threshold: ThresholdOption = None,
    top: TopOption = 20,
    allow_different: AllowOption = None,
    device: DeviceOption = None,
    device_file: options.DeviceFileOption = None,
    execution: options.ExecutionOption = "eager",
    launch_overhead: options.LaunchOption = None,
    plot: PlotOption = None,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    csv: CsvOption = None,
    quiet: QuietOption = False,
) -> None:
    """Two results side by side: what differs, by how much, the largest relative difference first.

    Results are the JSON of analyze, time, fit, plan, sweep and report. Rows are joined by what they are of: page,
    stage, part, point. An analytic_scaling.json and a measured_scaling.json (or their folders) are joined by length:
    FLOP differences, measured times, and with a device predicted ones, MFU and MBU.

    Exit code 1 when a threshold is given and something exceeds it, or is in one file alone. Of measured scaling it is
    for FLOPs, 5% if left out.

    Examples:

        modelmeter compare before.json after.json

        modelmeter compare before.json after.json --threshold 5% --markdown changes.md

        modelmeter compare eager.json flash.json --allow-different conventions

        modelmeter compare scaling/analytic_scaling.json measured/measured_scaling.json --device h200 --plot scaling.svg
    """
    from modelmeter.report.compare.compare import compare as run
    from modelmeter.report.compare.compare import parse_threshold
    from modelmeter.report.scaling_compare.pair import scaling_pair

    outputs = {"json": json, "markdown": markdown, "csv": csv}
    check_outputs({**outputs, "plot": None if plot is None else str(plot)}, [a, b])
    pair = scaling_pair(a, b)
    scaling = ScalingOptions(
        device=device, device_file=device_file, execution=execution, launch_overhead=launch_overhead, plot=plot
    )
    if pair is not None:
        refuse(
            {"--allow-different": bool(allow_different), "--top": top != 20}, "is for two results of one kind: drop it"
        )
        if compare_pair(pair, scaling, threshold, outputs, quiet):
            raise typer.Exit(1)
        return
    scaling.refuse_all()
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
