"""A checkpoint folder's weights, looked at before they are loaded: are they all there, and of which type."""

import json
from pathlib import Path
from typing import Any, Final

import torch

from modelmeter.core.errors import ModelMeterError

FLOATS: Final = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
"""Element types that are loaded, by their names in safetensors headers."""
_INDEX: Final = "model.safetensors.index.json"
_MOST_HEADER_BYTES: Final = 100_000_000
"""The format's own limit."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder. Raises `ModelMeterError` where there are none, or the index names others."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise ModelMeterError(
            f"{folder} has no weights (*.safetensors): download them, or take random weights with "
            "from_config() (--random-weights)"
        )
    index = folder / _INDEX
    if not index.is_file():
        return found
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        shards = sorted({str(name) for name in named})
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise ModelMeterError(f"{index} cannot be read ({error!r}): download it again") from error
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise ModelMeterError(
            f"{folder} lacks {len(missing)} of the {len(shards)} weight files that {_INDEX} names, {missing[0]} first: "
            "download them again"
        )
    return [folder / name for name in shards]


def checkpoint_dtype(folder: Path) -> torch.dtype:
    """The type of most of the weights. Raises for a file that is none, and for weights that are no plain floats."""
    sizes: dict[str, int] = {}
    for file in weight_files(folder):
        for name, tensor in header(file).items():
            kind = tensor["dtype"]
            if kind not in FLOATS:
                raise ModelMeterError(
                    f"{name} in {file} is {kind}: a session runs 16-bit floats and loads {', '.join(FLOATS)} alone; "
                    "give a checkpoint that is not quantised"
                )
            begin, end = tensor["data_offsets"]
            sizes[kind] = sizes.get(kind, 0) + end - begin
    if not sizes:
        raise ModelMeterError(f"the weight files in {folder} hold no tensors: download them again")
    return FLOATS[max(sizes, key=lambda kind: sizes[kind])]


def header(file: Path) -> dict[str, Any]:
    """Name -> {dtype, shape, data_offsets} of a safetensors file: 8 bytes of length, then JSON.

    Raises `ModelMeterError` where it is none, or shorter than it says.
    """
    broken = f"{file} is no safetensors file or cut short: download it again"
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= _MOST_HEADER_BYTES:
                raise ModelMeterError(broken)
            tensors = json.loads(stream.read(length))
        size = file.stat().st_size
        tensors.pop("__metadata__", None)
        end = max((int(tensor["data_offsets"][1]) for tensor in tensors.values()), default=0)
    except OSError as error:
        raise ModelMeterError(f"{file} cannot be read ({error.strerror}): check its permissions") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise ModelMeterError(broken) from None
    if size < 8 + length + end:
        raise ModelMeterError(broken)
    return dict(tensors)
