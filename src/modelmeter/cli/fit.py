"""`modelmeter fit`."""

from typing import Annotated, TypeAlias

import typer

from modelmeter.cli import options
from modelmeter.cli.output import JsonOption, MarkdownOption, QuietOption, check_outputs, complain, deliver

_A4 = "1654x2339"  # an A4 page at 200 dpi

FilesArgument: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE]...", help="Pictures, PDFs, directories, globs, or sizes; the largest decides."),
]
PagesOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="FILE...", help=f"The same. Default: {_A4}, an A4 page at 200 dpi.")
]
PrefillBatchOption: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", help="With a cache in blocks: pages prefilled at once. Default: all.")
]
ReserveOption: TypeAlias = Annotated[
    str, typer.Option(metavar="SHARE|SIZE", help="Set aside for what is not counted: 10% or 4GiB.")
]
CudaContextOption: TypeAlias = Annotated[
    str | None, typer.Option(metavar="SIZE", help="The CUDA context. Default: 500MiB, 0 on a CPU.")
]


def fit(
    device: options.DeviceOption,
    files: FilesArgument = None,
    pages: PagesOption = None,
    mode: options.ModeOption = "gundam",
    max_tiles: options.MaxTilesOption = 9,
    prompt_tokens: options.PromptTokensOption = 10,
    decode_tokens: options.DecodeTokensOption = 512,
    batch_size: options.BatchSizeOption = 1,
    prefill_batch: PrefillBatchOption = None,
    attention: options.AttentionOption = "eager",
    implementation: options.ImplementationOption = "vendor",
    logits: options.LogitsOption = "all",
    experts: options.ExpertsOption = "loop",
    cache: options.CacheOption = "concat",
    config: options.ConfigOption = None,
    weights: options.WeightsOption = "bf16",
    activations: options.ActivationsOption = None,
    kv: options.KvOption = None,
    weights_parts: options.PartsOption = "decoder",
    reserve: ReserveOption = "10%",
    cuda_context: CudaContextOption = None,
    device_file: options.DeviceFileOption = None,
    dpi: options.DpiOption = 144,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
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
    from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
    from modelmeter.report import fit as report
    from modelmeter.report import fit_tables as tables
    from modelmeter.report.analysis import Workload

    sources = [*(pages or []), *(files or [])] or [_A4]
    outputs = {"json": json, "markdown": markdown}
    check_outputs(outputs, [*sources, *map(str, device_file or [])])
    model = DeepseekOCRModel.from_config(
        options.config_of(config),
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
