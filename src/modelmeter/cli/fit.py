"""`modelmeter fit`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmeter.cli import options
from modelmeter.cli.output import JsonOption, QuietOption, check_outputs, complain, deliver

_A4 = "1654x2339"  # an A4 page at 200 dpi


def fit(
    device: options.DeviceOption,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Pictures, PDFs, directories, globs, or sizes; the largest decides."),
    ] = None,
    pages: Annotated[
        list[str] | None, typer.Option(metavar="FILE...", help=f"The same. Default: {_A4}, an A4 page at 200 dpi.")
    ] = None,
    mode: Annotated[str, typer.Option(help="Views: tiny, small, base, large, gundam or gundam-m.")] = "gundam",
    max_tiles: Annotated[int, typer.Option(help="Most tiles of a page in the gundam modes.")] = 9,
    prompt_tokens: Annotated[int, typer.Option(help="Text tokens of the prompt, BOS included.")] = 10,
    decode_tokens: Annotated[int, typer.Option(help="Decode steps of a page.")] = 512,
    batch_size: Annotated[int, typer.Option(help="Equal pages run at once.")] = 1,
    prefill_batch: Annotated[
        int | None, typer.Option(metavar="N", help="With a cache in blocks: pages prefilled at once. Default: all.")
    ] = None,
    attention: Annotated[str, typer.Option(help="eager or flash.")] = "eager",
    implementation: Annotated[str, typer.Option(help="Whose code: vendor or transformers.")] = "vendor",
    logits: Annotated[str, typer.Option(help="Logits of all prompt positions or the last: all or last.")] = "all",
    experts: Annotated[str, typer.Option(help="loop (a kernel an expert) or grouped.")] = "loop",
    cache: Annotated[str, typer.Option(help="concat (rebuilt each step) or in_place.")] = "concat",
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A config.json instead of the released model.")
    ] = None,
    weights: options.WeightsOption = "bf16",
    activations: options.ActivationsOption = None,
    kv: options.KvOption = None,
    weights_parts: options.PartsOption = "decoder",
    reserve: Annotated[
        str, typer.Option(metavar="SHARE|SIZE", help="Set aside for what is not counted: 10% or 4GiB.")
    ] = "10%",
    cuda_context: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The CUDA context. Default: 500MiB, 0 on a CPU.")
    ] = None,
    device_file: options.DeviceFileOption = None,
    dpi: Annotated[float, typer.Option(help="Dots an inch at which PDF pages become pixels.")] = 144,
    json: JsonOption = None,
    markdown: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the tables as Markdown.")] = None,
    quiet: QuietOption = False,
) -> None:
    """What fits a device's memory: weights, KV cache, activations; the largest batch and context, and what stops them.

    Exit code 1 when the weights or the batch do not fit, or a file could not be read.

    Examples:

        modelmeter fit --device a100-40g

        modelmeter fit --device rtx-4090 --pages scans/ --batch-size 16

        modelmeter fit --device a100-40g --weights int4 --prefill-batch 4
    """
    from modelmeter.documents import read_pages
    from modelmeter.hardware.catalogue import get_device
    from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
    from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
    from modelmeter.report import fit as report
    from modelmeter.report import fit_tables as tables
    from modelmeter.report.analysis import Workload

    sources = [*(pages or []), *(files or [])] or [_A4]
    outputs = {"json": json, "markdown": markdown}
    check_outputs(outputs, [*sources, *map(str, device_file or [])])
    model = DeepseekOCRModel.from_config(
        None if config is None else DeepseekOCRConfig.from_hf(config),
        precision=options.precision_of(weights, activations, kv, weights_parts),
        attention=attention,
        implementation=implementation,
        logits=logits,
        experts=experts,
        cache=cache,
    )
    sizes = {"prompt_tokens": prompt_tokens, "decode_tokens": decode_tokens, "batch_size": batch_size}
    result = report.fit_pages(
        read_pages(sources, dpi=dpi),
        model=model,
        device=get_device(device, *(device_file or [])),
        workload=Workload(mode=mode, max_tiles=max_tiles, **sizes),
        prefill_batch=prefill_batch,
        reserve=reserve,
        cuda_context=cuda_context,
    )
    complain(result.errors)
    deliver(
        result,
        outputs,
        {"json": report.to_json, "markdown": tables.to_markdown},
        print_it=tables.print_fit,
        quiet=quiet,
    )
    if result.errors or not result.found.fits:
        raise typer.Exit(1)
