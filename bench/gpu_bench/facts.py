"""What is measured on: the device as its driver and torch describe it, versions, and the state of the repository."""

import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from modelmeter import __version__
from modelmeter.live.calibration.rates import cache_bytes, catalogued, memory_bytes, title_of

ROOT = Path(__file__).resolve().parents[2]
BASIC = ("name", "driver_version", "memory.total")
ALL = (
    *BASIC,
    "pstate",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "clocks.max.mem",
    "power.draw",
    "power.limit",
    "temperature.gpu",
    "ecc.mode.current",
    "persistence_mode",
    "mig.mode.current",
)
NOW = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu", "clocks_throttle_reasons.active")
SECONDS = 20


def provenance() -> dict[str, Any]:
    """When, with which code and versions."""
    packages = ("torch", "transformers", "triton", "numpy", "scipy", "huggingface-hub", "tokenizers", "safetensors")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "modelmeter": __version__,
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": _changed(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {name: _version(name) for name in packages},
        "cuda": torch.version.cuda,
    }


def device_facts(device: torch.device) -> dict[str, Any]:
    """The device by torch's account, and the catalogue's device that it is, if any."""
    found = catalogued(device)
    facts: dict[str, Any] = {
        "torch_device": str(device),
        "title": title_of(device),
        "catalogued": None if found is None else found.name,
        "memory_bytes": memory_bytes(device),
        "l2_bytes": cache_bytes(device),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "multiprocessors": properties.multi_processor_count,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "free_bytes": torch.cuda.mem_get_info(device)[0],
            "cudnn": torch.backends.cudnn.version(),
        }
    return facts


def driver_facts(device: torch.device, fields: tuple[str, ...] = ALL) -> dict[str, str]:
    """What nvidia-smi says of the device, by its own names; empty without one. Fields that it does not know are lost:
    then it is asked for the basic ones."""
    if device.type != "cuda" or shutil.which("nvidia-smi") is None:
        return {}
    for asked in dict.fromkeys((fields, BASIC)):
        lines = _run("nvidia-smi", f"--query-gpu={','.join(asked)}", "--format=csv,noheader")
        if lines:
            values = [value.strip() for value in _of(lines, device).split(",")]
            if len(values) == len(asked):
                return dict(zip(asked, values, strict=True))
    return {}


def _of(lines: str, device: torch.device) -> str:
    """The line of the device; the first one where torch counts otherwise (CUDA_VISIBLE_DEVICES)."""
    found = lines.splitlines()
    index = device.index or 0
    return found[index] if index < len(found) else found[0]


def _version(name: str) -> str | None:
    try:
        found: str = version(name)
    except PackageNotFoundError:
        return None
    return found


def _changed() -> int | None:
    """Files that differ from the commit; None outside a repository."""
    lines = _git("status", "--porcelain")
    return None if lines is None else len(lines.splitlines())


def _git(*arguments: str) -> str | None:
    found = _run("git", "-C", str(ROOT), *arguments)
    return None if found is None else found.strip()


def _run(*command: str) -> str | None:
    """Its output; None where it is not there, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
