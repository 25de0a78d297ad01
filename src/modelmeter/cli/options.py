"""Options that several commands share: the pages, how the model counts, the device, how it is run, the precision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from modelmeter.core.precision import Precision
    from modelmeter.hardware.machine import Execution
    from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig

# The pages and what is made of them
FilesArgument: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Pictures, PDFs, directories, globs, or sizes like 1654x2339.")
]
ModeOption: TypeAlias = Annotated[str, typer.Option(help="Views: tiny, small, base, large, gundam or gundam-m.")]
MaxTilesOption: TypeAlias = Annotated[int, typer.Option(help="Most tiles of a page in the gundam modes.")]
PromptTokensOption: TypeAlias = Annotated[int, typer.Option(help="Text tokens of the prompt, BOS included.")]
DecodeTokensOption: TypeAlias = Annotated[int, typer.Option(help="Decode steps of a page.")]
BatchSizeOption: TypeAlias = Annotated[int, typer.Option(help="Equal pages run at once.")]
DpiOption: TypeAlias = Annotated[float, typer.Option(help="Dots an inch at which PDF pages become pixels.")]
HostSecondsOption: TypeAlias = Annotated[float | None, typer.Option(help="Host work a page; left out, from its size.")]
ByLayerOption: TypeAlias = Annotated[
    int | None, typer.Option(metavar="DEPTH", help="Also by layer, paths cut to DEPTH names.")
]

# The model and its conventions
ConfigOption: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A config.json instead of the released model.")
]
AttentionOption: TypeAlias = Annotated[str, typer.Option(help="eager or flash.")]
ImplementationOption: TypeAlias = Annotated[str, typer.Option(help="Whose code: vendor or transformers.")]
LogitsOption: TypeAlias = Annotated[str, typer.Option(help="Logits of all prompt positions or the last: all or last.")]
ExpertsOption: TypeAlias = Annotated[str, typer.Option(help="loop (a kernel an expert) or grouped.")]
CacheOption: TypeAlias = Annotated[str, typer.Option(help="concat (rebuilt each step) or in_place.")]
CoverageOption: TypeAlias = Annotated[str, typer.Option(help="Experts reached: expected, max, min, or a number.")]

# The device and how it is run
DeviceOption: TypeAlias = Annotated[
    str, typer.Option("--device", metavar="NAME|FILE", help="A device of `modelmeter devices`, or a file with one.")
]
DeviceFileOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--device-file", metavar="FILE", help="A TOML file of devices of your own; repeatable."),
]
ExecutionOption: TypeAlias = Annotated[
    str, typer.Option(help="eager (kernels launched from Python), graph (no host), or fused (a compiled engine).")
]
LaunchOption: TypeAlias = Annotated[
    float | None, typer.Option("--launch-overhead", metavar="SECONDS", help="Host time a kernel of eager execution.")
]

# The precision
WeightsOption: TypeAlias = Annotated[
    str, typer.Option(help="Decoder linear layers and experts: bf16, fp16, fp8, int8 or int4 (weight only).")
]
ActivationsOption: TypeAlias = Annotated[
    str | None, typer.Option(help="What their products take: bf16, fp16, fp8 or int8; left out, the 16-bit float.")
]
KvOption: TypeAlias = Annotated[
    str | None, typer.Option(help="KV cache: bf16, fp16, fp8 or int8; else the 16-bit float.")
]
PartsOption: TypeAlias = Annotated[
    str, typer.Option("--weights-parts", help="What --weights is of: decoder, lm_head, vision; several with commas.")
]


def coverage_of(text: str) -> str | float:
    """A convention's name, or a number."""
    try:
        return float(text)
    except ValueError:
        return text


def config_of(file: Path | None) -> "DeepseekOCRConfig | None":
    """The configuration in a file, or None for the released one. Raises `ModelMeterError` where the file is none."""
    from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig

    return None if file is None else DeepseekOCRConfig.from_hf(file)


def execution_of(name: str) -> "Execution":
    """A mode of execution by name. Raises `ModelMeterError` listing them for another."""
    from modelmeter.core.errors import ModelMeterError
    from modelmeter.hardware.machine import EXECUTIONS

    for execution in EXECUTIONS:
        if execution == name:
            return execution
    raise ModelMeterError(f"execution {name!r}: choose {', '.join(EXECUTIONS)}")


def precision_of(weights: str, activations: str | None, kv: str | None, parts: str) -> "Precision":
    """The precision that these options name. Raises `ModelMeterError` for one that cannot be."""
    from typing import Any, cast

    from modelmeter.core.precision import Precision

    chosen = tuple(part.strip() for part in parts.split(",") if part.strip())
    return Precision(
        weights=cast("Any", weights), activations=cast("Any", activations), kv=cast("Any", kv), parts=chosen
    )
