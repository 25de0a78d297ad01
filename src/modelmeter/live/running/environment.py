"""Where a run took place: versions, device, threads. Nothing in it names a person or a host."""

import json
import os
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import attrs
import torch

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.live.calibration.rates import memory_bytes, title_of
from modelmeter.models.deepseek_ocr.config import Conventions

SCHEMA: Final = "modelmeter.run-environment/1"
_PACKAGES: Final = ("torch", "transformers", "numpy", "pillow", "tokenizers", "pypdfium2")


def environment_data(
    *,
    device: torch.device,
    dtype: torch.dtype,
    conventions: Conventions,
    seed: int | None,
    keeps_memory: bool,
    command: Sequence[str],
) -> dict[str, Any]:
    """The environment as plain data. `seed` is that of random weights; `command` the program's arguments.

    `keeps_memory`: memory that was freed stays with the process, `calibration.clock.keep_memory` says why. In the
    command the home folder is written "~", as its name is often a person's.
    """
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "command": _without_home(shlex.join(command)),
        "device": _device(device),
        "dtype": str(dtype).removeprefix("torch."),
        "seed": seed,
        "conventions": attrs.asdict(conventions),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "cuda": _cuda(device),
        "system": {"name": platform.system(), "release": platform.release(), "machine": platform.machine()},
        "cpu": {"name": title_of(torch.device("cpu")), "logical_cores": os.cpu_count()},
        "threads": {"torch": torch.get_num_threads(), "torch_interop": torch.get_num_interop_threads()},
        "memory_bytes": memory_bytes(torch.device("cpu")),
        "keeps_memory": keeps_memory,
    }


def to_json(environment: dict[str, Any]) -> str:
    """The environment as JSON text."""
    return json.dumps(environment, indent=1, ensure_ascii=False) + "\n"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device(device: torch.device) -> dict[str, Any]:
    return {"name": str(device), "title": title_of(device), "memory_bytes": memory_bytes(device)}


def _cuda(device: torch.device) -> dict[str, Any] | None:
    if device.type != "cuda":
        return None
    return {
        "version": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
    }


def _without_home(text: str) -> str:
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
