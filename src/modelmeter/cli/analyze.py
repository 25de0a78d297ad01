"""`modelmeter analyze`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from modelmeter.cli import options
from modelmeter.cli.output import JsonOption, MarkdownOption, QuietOption, check_outputs, complain, deliver

if TYPE_CHECKING:
    from modelmeter.hardware.machine import Machine
    from modelmeter.report.analysis import Analysis

DeviceOption: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="Also how long it takes on this device.")
]
YamlOption: TypeAlias = Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the same as YAML.")]
CsvOption: TypeAlias = Annotated[
    str | None, typer.Option(metavar="FILE|-", help="Write a row for each page and stage.")
]

_SHOW_PROGRESS_FROM = 100  # pages; fewer are done before a bar could be drawn


def analyze(
    files: options.FilesArgument,
    mode: options.ModeOption = "gundam",
    max_tiles: options.MaxTilesOption = 9,
    prompt_tokens: options.PromptTokensOption = 10,
    decode_tokens: options.DecodeTokensOption = 512,
    batch_size: options.BatchSizeOption = 1,
    attention: options.AttentionOption = "eager",
    implementation: options.ImplementationOption = "vendor",
    logits: options.LogitsOption = "all",
    coverage: options.CoverageOption = "expected",
    config: options.ConfigOption = None,
    device: DeviceOption = None,
    device_file: options.DeviceFileOption = None,
    execution: options.ExecutionOption = "eager",
    weights: options.WeightsOption = "bf16",
    activations: options.ActivationsOption = None,
    kv: options.KvOption = None,
    weights_parts: options.PartsOption = "decoder",
    by_layer: options.ByLayerOption = None,
    dpi: options.DpiOption = 144,
    json: JsonOption = None,
    yaml: YamlOption = None,
    markdown: MarkdownOption = None,
    csv: CsvOption = None,
    quiet: QuietOption = False,
) -> None:
    """FLOPs, bytes and memory of DeepSeek-OCR on the pages of documents, stage by stage.

    Exit code 1 when a file could not be read; the others are still analysed.

    Examples:

        modelmeter analyze paper.pdf

        modelmeter analyze scans/ --mode base --json result.json

        modelmeter analyze 1654x2339 --by-layer 3 --attention flash

        modelmeter analyze paper.pdf --device h200
    """
    from modelmeter.documents import count_pages, read_pages
    from modelmeter.models.deepseek_ocr.config import make_conventions
    from modelmeter.report.analysis import Workload, require_pages
    from modelmeter.report.analysis import analyze as run

    outputs = {"json": json, "yaml": yaml, "markdown": markdown, "csv": csv}
    check_outputs(outputs, files)
    sizes = {"prompt_tokens": prompt_tokens, "decode_tokens": decode_tokens, "batch_size": batch_size}
    counted = {"implementation": implementation, "logits": logits, "coverage": options.coverage_of(coverage)}
    workload = Workload(mode=mode, max_tiles=max_tiles, by_layer=by_layer, **sizes)
    chosen = make_conventions({"attention": attention, **counted})
    model, precision = options.config_of(config), options.precision_of(weights, activations, kv, weights_parts)
    machine = None if device is None else _machine(device, device_file, execution)
    pages = read_pages(files, dpi=dpi)
    with nullcontext(None) if quiet else _progress(lambda: count_pages(files)) as on_page:
        analysis = run(pages, workload=workload, config=model, conventions=chosen, precision=precision, on_page=on_page)
    complain(analysis.errors)
    if machine is not None:
        from modelmeter.report.timing.timing import with_times

        analysis = with_times(analysis, machine)
    _deliver(require_pages(analysis), outputs, quiet)
    if analysis.errors:
        raise typer.Exit(1)


def _machine(device: str, files: list[Path] | None, execution: str) -> "Machine":
    from modelmeter.hardware.roofline import machine_of

    return machine_of(device, *(files or []), execution=options.execution_of(execution))


def _deliver(analysis: "Analysis", wanted: dict[str, str | None], quiet: bool) -> None:
    from modelmeter.report import export, render

    writers = {"json": export.to_json, "yaml": export.to_yaml, "markdown": render.to_markdown, "csv": export.to_csv}
    deliver(analysis, wanted, writers, print_it=render.print_analysis if analysis.pages else None, quiet=quiet)


@contextmanager
def _progress(count: Callable[[], int]) -> Iterator[Callable[[], None] | None]:
    """A bar on the terminal for long documents; nothing elsewhere."""
    import sys

    if not sys.stderr.isatty() or (total := count()) < _SHOW_PROGRESS_FROM:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("pages", total=total)
        yield lambda: progress.advance(task)
