"""`modelmeter plan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelmeter.cli import options
from modelmeter.cli.output import JsonOption, MarkdownOption, QuietOption, check_outputs, deliver

if TYPE_CHECKING:
    from modelmeter.core.precision import Precision
    from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel

_A4 = "1654x2339"  # an A4 page at 200 dpi


def plan(
    pages_per_day: Annotated[float, typer.Option(metavar="N", help="Pages a day, at an even rate.")],
    device: Annotated[
        list[str], typer.Option(metavar="NAME[,NAME...]", help="Devices of `modelmeter devices`, or files with one.")
    ],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="More pages, as after --pages.")
    ] = None,
    pages: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE...", help=f"A sample of the pages: files, or sizes. Default: {_A4}."),
    ] = None,
    pages_csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The sample as a table: width,height[,count], in pixels.")
    ] = None,
    output_tokens: Annotated[int | None, typer.Option(metavar="N", help="Tokens of a page's text; else 900.")] = None,
    output_tokens_csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A sample of them as a table: tokens[,count].")
    ] = None,
    ttft: Annotated[float | None, typer.Option(metavar="SECONDS", help="Limit of its 95th percentile.")] = None,
    tpot: Annotated[float | None, typer.Option(metavar="SECONDS", help="Limit of its 95th percentile.")] = None,
    utilisation: Annotated[float, typer.Option(help="The largest share of the saturation rate.")] = 0.95,
    price: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PRICE/h", help="Price of a GPU an hour; several with commas.")
    ] = None,
    scheduler: Annotated[str, typer.Option(help="prefill-first or chunked.")] = "prefill-first",
    token_budget: Annotated[int, typer.Option(help="Tokens of a step of the chunked scheduler.")] = 2048,
    max_batch: Annotated[int, typer.Option(help="The most pages at once, where memory holds as many.")] = 1024,
    host_workers: Annotated[int, typer.Option(help="Cores that read and resize pages, for each GPU.")] = 8,
    host_seconds: options.HostSecondsOption = None,
    execution: Annotated[
        str | None, typer.Option(help="eager, graph or fused, as for `time`. Default: graph; on a CPU eager.")
    ] = None,
    mode: options.ModeOption = "gundam",
    max_tiles: options.MaxTilesOption = 9,
    prompt_tokens: options.PromptTokensOption = 10,
    config: options.ConfigOption = None,
    weights: options.WeightsOption = "bf16",
    activations: options.ActivationsOption = None,
    kv: options.KvOption = None,
    weights_parts: options.PartsOption = "decoder",
    reserve: Annotated[str, typer.Option(metavar="SHARE|SIZE", help="Memory set aside: 10% or 4GiB.")] = "10%",
    device_file: options.DeviceFileOption = None,
    dpi: options.DpiOption = 144,
    closed_form: Annotated[bool, typer.Option("--closed-form", help="Do not simulate: formulas alone.")] = False,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    csv: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write a row for each device.")] = None,
    quiet: QuietOption = False,
) -> None:
    """GPUs, cost and energy for a number of pages a day: the best batch of each device under limits of latency.

    The model runs as in a serving engine: flash attention, grouped experts, a cache in place, logits of the last token.

    Exit code 2 when no device can keep the limits, or something asked for cannot be.

    Examples:

        modelmeter plan --pages-per-day 200000 --device a100-40g,h200 --ttft 1.0 --tpot 0.05 --price h200=3.5/h

        modelmeter plan --pages-per-day 1e6 --device h200 --pages scans/ --output-tokens-csv tokens.csv
    """
    from modelmeter.hardware.capacity.plan import Running, serving_machine
    from modelmeter.hardware.capacity.search import Limits
    from modelmeter.hardware.capacity.server import policy_of
    from modelmeter.report import plan as report
    from modelmeter.report import plan_inputs as inputs
    from modelmeter.report import plan_tables as tables

    sources, tables_read = [*(pages or []), *(files or [])], [pages_csv, output_tokens_csv]
    outputs = {"json": json, "markdown": markdown, "csv": csv}
    check_outputs(outputs, [*sources, *map(str, device_file or []), *[str(path) for path in tables_read if path]])
    names = inputs.split_names(device)
    running = Running(
        policy=policy_of(scheduler),
        token_budget=token_budget,
        max_batch=max_batch,
        host_workers=host_workers,
        reserve=reserve,
        simulated=not closed_form,
    )
    limits, prices = Limits(ttft=ttft, tpot=tpot, utilisation=utilisation), inputs.parse_prices(price or [])
    model = _model(config, options.precision_of(weights, activations, kv, weights_parts))
    chosen = None if execution is None else options.execution_of(execution)
    machines = [serving_machine(name, *(device_file or []), execution=chosen) for name in names]
    kinds = inputs.kinds_of(
        inputs.chosen_samples(sources, pages_csv, default=_A4, dpi=dpi),
        inputs.chosen_outputs(output_tokens, output_tokens_csv, default=900),
        model=model,
        mode=mode,
        max_tiles=max_tiles,
        prompt_tokens=prompt_tokens,
        host=host_seconds,
    )
    result = report.plan_devices(
        model, machines, kinds, pages_per_day=pages_per_day, limits=limits, running=running, prices=prices
    )
    writers = {"json": report.to_json, "markdown": tables.to_markdown, "csv": report.to_csv}
    deliver(result, outputs, writers, print_it=tables.print_plan, quiet=quiet)


def _model(config: Path | None, precision: "Precision") -> "DeepseekOCRModel":
    """The model as a serving engine runs it."""
    from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel

    return DeepseekOCRModel.from_config(
        options.config_of(config),
        precision=precision,
        attention="flash",
        cache="in_place",
        experts="grouped",
        logits="last",
    )
