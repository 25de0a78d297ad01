"""`modelmeter analyze`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelmeter.cli.options import (
    ActivationsOption,
    DeviceFileOption,
    ExecutionOption,
    KvOption,
    PartsOption,
    WeightsOption,
    execution_of,
    precision_of,
)
from modelmeter.cli.output import JsonOption, QuietOption, check_outputs, complain, coverage_option, deliver

if TYPE_CHECKING:
    from modelmeter.hardware.machine import Machine
    from modelmeter.report.analysis import Analysis

_SHOW_PROGRESS_FROM = 100  # pages; fewer are done before a bar could be drawn


def analyze(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Pictures, PDFs, directories, globs, or sizes like 1654x2339."),
    ],
    mode: Annotated[str, typer.Option(help="Views: tiny, small, base, large, gundam or gundam-m.")] = "gundam",
    max_tiles: Annotated[int, typer.Option(help="Most tiles of a page in the gundam modes.")] = 9,
    prompt_tokens: Annotated[int, typer.Option(help="Text tokens of the prompt, BOS included.")] = 10,
    decode_tokens: Annotated[int, typer.Option(help="Decode steps of a page.")] = 512,
    batch_size: Annotated[int, typer.Option(help="Equal pages run at once.")] = 1,
    attention: Annotated[str, typer.Option(help="eager or flash.")] = "eager",
    implementation: Annotated[str, typer.Option(help="Whose code: vendor or transformers.")] = "vendor",
    logits: Annotated[str, typer.Option(help="Logits of all prompt positions or the last: all or last.")] = "all",
    coverage: Annotated[str, typer.Option(help="Experts reached: expected, max, min, or a number.")] = "expected",
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A config.json instead of the released model.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Also how long it takes on this device.")
    ] = None,
    device_file: DeviceFileOption = None,
    execution: ExecutionOption = "eager",
    weights: WeightsOption = "bf16",
    activations: ActivationsOption = None,
    kv: KvOption = None,
    weights_parts: PartsOption = "decoder",
    by_layer: Annotated[
        int | None, typer.Option(metavar="DEPTH", help="Also by layer, paths cut to DEPTH names.")
    ] = None,
    dpi: Annotated[float, typer.Option(help="Dots an inch at which PDF pages become pixels.")] = 144,
    json: JsonOption = None,
    yaml: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the same as YAML.")] = None,
    markdown: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the tables as Markdown.")] = None,
    csv: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write a row for each page and stage.")] = None,
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
    from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig, make_conventions
    from modelmeter.report.analysis import Workload, require_pages
    from modelmeter.report.analysis import analyze as run

    outputs = {"json": json, "yaml": yaml, "markdown": markdown, "csv": csv}
    check_outputs(outputs, files)
    workload = Workload(
        mode=mode,
        max_tiles=max_tiles,
        prompt_tokens=prompt_tokens,
        decode_tokens=decode_tokens,
        batch_size=batch_size,
        by_layer=by_layer,
    )
    chosen = make_conventions(
        {
            "attention": attention,
            "implementation": implementation,
            "logits": logits,
            "coverage": coverage_option(coverage),
        }
    )
    model = None if config is None else DeepseekOCRConfig.from_hf(config)
    precision = precision_of(weights, activations, kv, weights_parts)
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

    return machine_of(device, *(files or []), execution=execution_of(execution))


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
