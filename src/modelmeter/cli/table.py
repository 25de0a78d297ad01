"""`modelmeter table`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelmeter.cli import options
from modelmeter.cli.output import QuietOption, check_outputs, deliver

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelmeter.report.derived.table import DerivedTable


def table(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of the tables above.")],
    shapes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML or SQLite list of grids. Default: those that come along.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Devices, with commas or repeated; for required-throughput, vram-by-shape, intensity-by-stage.",
        ),
    ] = None,
    device_file: options.DeviceFileOption = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE|-", help="Write to a .md, .csv or .json file; - is Markdown."),
    ] = None,
    ttft: Annotated[float, typer.Option(metavar="SECONDS", help="Wanted time to first token.")] = 1.0,
    tpot: Annotated[float, typer.Option(metavar="SECONDS", help="Wanted time per output token.")] = 0.05,
    prompt_tokens: options.PromptTokensOption = 10,
    decode_tokens: options.DecodeTokensOption = 512,
    batch_size: options.BatchSizeOption = 1,
    base_size: Annotated[int, typer.Option(help="Side of the global view in pixels.")] = 1024,
    tile_size: Annotated[int, typer.Option(help="Side of a tile in pixels.")] = 640,
    reserve: Annotated[
        str, typer.Option(metavar="SHARE|SIZE", help="Memory set aside for what is not counted: 10% or 4GiB.")
    ] = "10%",
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
    quiet: QuietOption = False,
) -> None:
    """What candidate grids of tiles cost, hold and ask of a device: a table with a row or a few for each grid.

    kvcache-by-shape: the KV cache, of the prefill and of decoded tokens.

    required-throughput: TFLOP/s and GB/s for a wanted TTFT or TPOT.

    vram-by-shape: weights, activations at their peak and KV cache.

    tensor-cuda-split: FLOPs on tensor and on CUDA cores.

    intensity-by-stage: FLOPs per byte moved.

    flops-by-part: FLOPs of SAM, CLIP, projector, decoder and head.

    Examples:

        modelmeter table kvcache-by-shape

        modelmeter table required-throughput --device h200 -o rates.csv

        modelmeter table vram-by-shape --device rtx-4090 --batch-size 8

        modelmeter table flops-by-part -o -
    """
    from modelmeter.hardware.catalogue import get_device
    from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
    from modelmeter.report.derived.derive import derive_table
    from modelmeter.report.derived.render import print_derived
    from modelmeter.report.derived.work import TableWork
    from modelmeter.report.plan_inputs import split_names
    from modelmeter.sweeps.shapes import read_shapes

    inputs = [shapes, config, *(device_file or [])]
    check_outputs({"output": output}, [str(file) for file in inputs if file is not None])
    writer = None if output is None else _writer(output)
    sizes = {"prompt_tokens": prompt_tokens, "decode_tokens": decode_tokens, "batch_size": batch_size}
    found = derive_table(
        name,
        model=DeepseekOCRModel.from_config(
            options.config_of(config),
            precision=options.precision_of(weights, activations, kv, weights_parts),
            attention=attention,
            implementation=implementation,
            experts=experts,
            cache=cache,
            logits=logits,
            coverage=options.coverage_of(coverage),
        ),
        shapes=read_shapes(shapes),
        work=TableWork(base_size=base_size, tile_size=tile_size, ttft=ttft, tpot=tpot, reserve=reserve, **sizes),
        devices=[get_device(one, *(device_file or [])) for one in (split_names(device) if device else [])],
    )
    writers = {} if writer is None else {"output": writer}
    deliver(found, {"output": output}, writers, print_it=print_derived, quiet=quiet)


def _writer(output: str) -> "Callable[[DerivedTable], str]":
    """What writes the format that a file's ending names; Markdown to standard output."""
    from modelmeter.core.errors import ModelMeterError
    from modelmeter.report.derived import export, render

    ending = ".md" if output == "-" else Path(output).suffix.lower()
    writers = {".md": render.to_markdown, ".csv": export.to_csv, ".json": export.to_json}
    if ending not in writers:
        raise ModelMeterError(f"cannot write {output}: --output needs a name that ends in {', '.join(writers)}")
    return writers[ending]
