"""Options that several commands share: the device, how it is run, and the precision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from modelmeter.core.precision import Precision
    from modelmeter.hardware.machine import Execution

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
