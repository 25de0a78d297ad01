"""`modelmeter report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from modelmeter.cli import options
from modelmeter.cli.output import QuietOption, complain
from modelmeter.core.errors import ModelMeterError

if TYPE_CHECKING:
    from modelmeter.hardware.machine import Machine
    from modelmeter.report.model_report.data import AnalyticModelReport, OCRWorkloadProfile

_TABLES = 2
"""Tables printed: the pages, and all of them together (of one page its stages). The rest is in the folder."""
OutputOption: TypeAlias = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to write.")]
DeviceOption: TypeAlias = Annotated[
    str | None, typer.Option("--device", metavar="NAME|FILE", help="How long it takes on a device, too.")
]


def report(
    context: typer.Context,
    files: options.FilesArgument,
    output: OutputOption = Path("report"),
    device: DeviceOption = None,
    device_file: options.DeviceFileOption = None,
    execution: options.ExecutionOption = "eager",
    launch_overhead: options.LaunchOption = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A workload by name in place of the next five options: dsocr-standard-v1."),
    ] = None,
    mode: options.ModeOption = "gundam",
    max_tiles: options.MaxTilesOption = 9,
    prompt_tokens: options.PromptTokensOption = 10,
    decode_tokens: options.DecodeTokensOption = 512,
    batch_size: options.BatchSizeOption = 1,
    attention: options.AttentionOption = "eager",
    implementation: options.ImplementationOption = "vendor",
    experts: options.ExpertsOption = "loop",
    cache: options.CacheOption = "concat",
    logits: options.LogitsOption = "all",
    coverage: options.CoverageOption = "expected",
    config: options.ConfigOption = None,
    weights: options.WeightsOption = "bf16",
    activations: options.ActivationsOption = None,
    kv: options.KvOption = None,
    weights_parts: options.PartsOption = "decoder",
    dpi: options.DpiOption = 144,
    html: Annotated[
        bool, typer.Option("--html/--no-html", help="Write report.html and plots/ too (extra plot).")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that holds more than a report.")] = False,
    quiet: QuietOption = False,
) -> None:
    """A folder with all there is to say of DeepSeek-OCR on these pages: report.html (works offline), .json, .yaml, .md.

    Its layers/ has a page for each kind of layer, its plots/ the stages by part and the layers of the commonest page.
    The folder appears whole or not at all; a report that is there is replaced. Exit code 1 when a file could not be
    read; the others are still reported on.

    Examples:

        modelmeter report paper.pdf --device h200

        modelmeter report scans/ --device h200 --execution graph --experts grouped -o scans-report/

        modelmeter report 1654x2339 --profile dsocr-standard-v1 --no-html -o report/
    """
    from modelmeter.documents import read_pages
    from modelmeter.models.deepseek_ocr.config import make_conventions
    from modelmeter.report.analysis import Workload
    from modelmeter.report.model_report.build import build_report
    from modelmeter.report.model_report.write import check_folder, write_report

    check_folder(output, force=force, inputs=files)
    kernels = {"attention": attention, "experts": experts, "cache": cache}
    counted = {"implementation": implementation, "logits": logits, "coverage": options.coverage_of(coverage)}
    sizes = {"prompt_tokens": prompt_tokens, "decode_tokens": decode_tokens, "batch_size": batch_size}
    named = None if profile is None else _profile(context, profile, ("mode", "max_tiles", *sizes))
    machine = None if device is None else _machine(device, device_file, execution, launch_overhead)
    found = build_report(
        read_pages(files, dpi=dpi),
        workload=Workload(mode=mode, max_tiles=max_tiles, **sizes) if named is None else None,
        profile=named,
        config=options.config_of(config),
        conventions=make_conventions({**kernels, **counted}),
        precision=options.precision_of(weights, activations, kv, weights_parts),
        machine=machine,
    )
    complain(found.errors)
    write_report(found, output, force=force, html=html)
    if not quiet:
        _print(found, output)
    if found.errors:
        raise typer.Exit(1)


def _profile(context: typer.Context, name: str, replaced: tuple[str, ...]) -> "OCRWorkloadProfile":
    """The profile of a name. Raises where an option says something else beside it."""
    from modelmeter.report.model_report.profile import profile_named

    for option in replaced:
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE":
            raise ModelMeterError(f"--profile {name} sets --{option.replace('_', '-')}: leave one of them out")
    return profile_named(name)


def _machine(device: str, files: list[Path] | None, execution: str, launch: float | None) -> "Machine":
    from modelmeter.hardware.roofline import machine_of

    return machine_of(device, *(files or []), execution=options.execution_of(execution), host_seconds=launch)


def _print(report: "AnalyticModelReport", output: Path) -> None:
    """The pages and their stages in short, and where the rest is."""
    from modelmeter.report.grid import console_for, print_line, print_table
    from modelmeter.report.model_report.render import report_tables

    console = console_for()
    for table in report_tables(report)[:_TABLES]:
        print_table(console, table)
    print_line(console, f"\nwrote {output}")
