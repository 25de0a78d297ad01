"""`modelmeter time`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from modelmeter.cli import options
from modelmeter.cli.output import JsonOption, MarkdownOption, QuietOption, check_outputs, complain, deliver

if TYPE_CHECKING:
    from modelmeter.report.timing.timing import Timing

TtftOption: TypeAlias = Annotated[float | None, typer.Option(help="A wanted time to first token: what rates it takes.")]
TpotOption: TypeAlias = Annotated[
    float | None, typer.Option(help="A wanted time per output token: what rates it takes.")
]
TraceOption: TypeAlias = Annotated[str | None, typer.Option(metavar="FILE|-", help="Chrome trace of the first page.")]
RooflineOption: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Roofline plot, .svg, .png or .pdf.")
]
CsvOption: TypeAlias = Annotated[
    str | None, typer.Option(metavar="FILE|-", help="A row for each page, quantity and level.")
]


def time(
    files: options.FilesArgument,
    device: options.DeviceOption,
    device_file: options.DeviceFileOption = None,
    execution: options.ExecutionOption = "eager",
    weights: options.WeightsOption = "bf16",
    activations: options.ActivationsOption = None,
    kv: options.KvOption = None,
    weights_parts: options.PartsOption = "decoder",
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
    by_layer: options.ByLayerOption = None,
    host_seconds: options.HostSecondsOption = None,
    launch_overhead: options.LaunchOption = None,
    ttft: TtftOption = None,
    tpot: TpotOption = None,
    dpi: options.DpiOption = 144,
    trace: TraceOption = None,
    roofline: RooflineOption = None,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    csv: CsvOption = None,
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
    from modelmeter.models.deepseek_ocr.config import make_conventions
    from modelmeter.report.analysis import Workload
    from modelmeter.report.timing.timing import Wanted, require_pages, time_pages

    outputs = {"json": json, "markdown": markdown, "csv": csv, "trace": trace}
    check_outputs({**outputs, "roofline": None if roofline is None else str(roofline)}, files)
    sizes = {"prompt_tokens": prompt_tokens, "decode_tokens": decode_tokens, "batch_size": batch_size}
    kernels = {"attention": attention, "experts": experts, "cache": cache}
    counted = {"implementation": implementation, "logits": logits, "coverage": options.coverage_of(coverage)}
    chosen = options.execution_of(execution)
    timing = time_pages(
        read_pages(files, dpi=dpi),
        machine_of(device, *(device_file or []), execution=chosen, host_seconds=launch_overhead),
        workload=Workload(mode=mode, max_tiles=max_tiles, by_layer=by_layer, **sizes),
        config=options.config_of(config),
        conventions=make_conventions({**kernels, **counted}),
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
