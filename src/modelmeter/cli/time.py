"""`modelmeter time`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelmeter.cli import options
from modelmeter.cli.output import JsonOption, QuietOption, check_outputs, complain, coverage_option, deliver

if TYPE_CHECKING:
    from modelmeter.report.timing.timing import Timing


def time(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Pictures, PDFs, directories, globs, or sizes like 1654x2339."),
    ],
    device: options.DeviceOption,
    device_file: options.DeviceFileOption = None,
    execution: options.ExecutionOption = "eager",
    weights: options.WeightsOption = "bf16",
    activations: options.ActivationsOption = None,
    kv: options.KvOption = None,
    weights_parts: options.PartsOption = "decoder",
    mode: Annotated[str, typer.Option(help="Views: tiny, small, base, large, gundam or gundam-m.")] = "gundam",
    max_tiles: Annotated[int, typer.Option(help="Most tiles of a page in the gundam modes.")] = 9,
    prompt_tokens: Annotated[int, typer.Option(help="Text tokens of the prompt, BOS included.")] = 10,
    decode_tokens: Annotated[int, typer.Option(help="Decode steps of a page.")] = 512,
    batch_size: Annotated[int, typer.Option(help="Equal pages run at once.")] = 1,
    attention: Annotated[str, typer.Option(help="eager or flash.")] = "eager",
    implementation: Annotated[str, typer.Option(help="Whose code: vendor or transformers.")] = "vendor",
    experts: Annotated[str, typer.Option(help="loop (a kernel an expert) or grouped.")] = "loop",
    cache: Annotated[str, typer.Option(help="concat (rebuilt each step) or in_place.")] = "concat",
    logits: Annotated[str, typer.Option(help="Logits of all prompt positions or the last: all or last.")] = "all",
    coverage: Annotated[str, typer.Option(help="Experts reached: expected, max, min, or a number.")] = "expected",
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A config.json instead of the released model.")
    ] = None,
    by_layer: Annotated[
        int | None, typer.Option(metavar="DEPTH", help="Also by layer, paths cut to DEPTH names.")
    ] = None,
    host_seconds: Annotated[float | None, typer.Option(help="Host work a page; left out, from its size.")] = None,
    launch_overhead: options.LaunchOption = None,
    ttft: Annotated[float | None, typer.Option(help="A wanted time to first token: what rates it takes.")] = None,
    tpot: Annotated[float | None, typer.Option(help="A wanted time per output token: what rates it takes.")] = None,
    dpi: Annotated[float, typer.Option(help="Dots an inch at which PDF pages become pixels.")] = 144,
    trace: Annotated[str | None, typer.Option(metavar="FILE|-", help="Chrome trace of the first page.")] = None,
    roofline: Annotated[Path | None, typer.Option(metavar="FILE", help="Roofline plot, .svg, .png or .pdf.")] = None,
    json: JsonOption = None,
    markdown: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the tables as Markdown.")] = None,
    csv: Annotated[str | None, typer.Option(metavar="FILE|-", help="A row for each page, quantity and level.")] = None,
    quiet: QuietOption = False,
) -> None:
    """How long pages take on a device, and what binds each part: a floor, a roofline, and calibrated where possible.

    Exit code 1 when a file could not be read; the others are still timed.

    Examples:

        modelmeter time 1654x2339 --device h200

        modelmeter time paper.pdf --device a100-40g --execution graph

        modelmeter time scan.png --device rtx-4090 --weights int4

        modelmeter time 1654x2339 --device h200 --trace trace.json

        modelmeter time 1654x2339 --device h200 --roofline roofline.svg
    """
    from modelmeter.documents import read_pages
    from modelmeter.hardware.roofline import machine_of
    from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig, make_conventions
    from modelmeter.report.analysis import Workload
    from modelmeter.report.timing.timing import Wanted, require_pages, time_pages

    outputs = {"json": json, "markdown": markdown, "csv": csv, "trace": trace}
    check_outputs({**outputs, "roofline": None if roofline is None else str(roofline)}, files)
    conventions = {
        "attention": attention,
        "implementation": implementation,
        "experts": experts,
        "cache": cache,
        "logits": logits,
        "coverage": coverage_option(coverage),
    }
    timing = time_pages(
        read_pages(files, dpi=dpi),
        machine_of(
            device, *(device_file or []), execution=options.execution_of(execution), host_seconds=launch_overhead
        ),
        workload=Workload(
            mode=mode,
            max_tiles=max_tiles,
            prompt_tokens=prompt_tokens,
            decode_tokens=decode_tokens,
            batch_size=batch_size,
            by_layer=by_layer,
        ),
        config=None if config is None else DeepseekOCRConfig.from_hf(config),
        conventions=make_conventions(conventions),
        precision=options.precision_of(weights, activations, kv, weights_parts),
        host=host_seconds,
        wanted=Wanted(ttft=ttft, tpot=tpot),
    )
    complain(timing.errors)
    _deliver(require_pages(timing), outputs, roofline, quiet)
    if timing.errors:
        raise typer.Exit(1)


def _deliver(timing: "Timing", wanted: dict[str, str | None], roofline: Path | None, quiet: bool) -> None:
    from modelmeter.report.files import write_bytes
    from modelmeter.report.timing import chrome_trace, export, render, roofline_plot

    writers = {
        "json": export.to_json,
        "markdown": export.to_markdown,
        "csv": export.to_csv,
        "trace": chrome_trace.to_chrome_trace,
    }
    if not timing.pages:
        wanted, roofline = {**wanted, "trace": None}, None  # both are of the first page
    if roofline is not None:
        write_bytes(roofline, roofline_plot.roofline_plot(timing.pages[0], roofline.suffix.removeprefix(".").lower()))
        if not quiet:
            typer.echo(f"wrote {roofline}", err=True)
    deliver(timing, wanted, writers, print_it=render.print_timing if timing.pages else None, quiet=quiet)
