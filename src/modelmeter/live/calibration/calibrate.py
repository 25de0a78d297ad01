"""`calibrate`: measures a device, fits the efficiencies, and says where they come from."""

import os
import platform
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import attrs
import torch

from modelmeter._version import __version__
from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.device import Device
from modelmeter.live.calibration.attention import attention_cases
from modelmeter.live.calibration.cases import Case, Pool, Sample, measure
from modelmeter.live.calibration.clock import CPUClock, clock_of, keep_memory
from modelmeter.live.calibration.fit import Fitted, fit
from modelmeter.live.calibration.host import HostTime, host_time
from modelmeter.live.calibration.products import product_cases
from modelmeter.live.calibration.rates import cache_bytes, device_for, find_device, rounded
from modelmeter.live.calibration.traffic import traffic_cases
from modelmeter.live.installed import check_import


@attrs.frozen(kw_only=True)
class Effort:
    """How long is measured: rounds, seconds a case and round, and bytes of inputs."""

    rounds: int
    seconds: float
    pool_bytes: int


FULL: Final = Effort(rounds=5, seconds=0.05, pool_bytes=384 << 20)
GPU: Final = Effort(rounds=5, seconds=0.02, pool_bytes=1 << 30)
QUICK: Final = Effort(rounds=2, seconds=0.002, pool_bytes=64 << 20)
_POOL_OVER_CACHE: Final = 4


@attrs.frozen(kw_only=True)
class Calibrated:
    """A device with its rates, the efficiencies of its classes, the host's time, and where all that comes from."""

    device: Device
    base: str | None
    fitted: Mapping[str, Fitted]
    host: HostTime
    provenance: Mapping[str, Any]
    samples: tuple[Sample, ...] = attrs.field(repr=False, default=())


def calibrate(
    device: str = "cpu", *, quick: bool = False, threads: int | None = None, say: Callable[[str], None] | None = None
) -> Calibrated:
    """Measure "cpu" or "cuda:N". `quick` takes seconds and is for trying it out; `threads` of the CPU, torch's if None.

    Raises `ModelMeterError` for an unknown device or one that is not there, and where scipy is missing.
    """
    check_import("scipy.optimize", "pip install 'modelmeter[live]'")  # what the last step needs, before minutes of work
    tell = say or (lambda line: None)
    where = find_device(device)
    _use_threads(threads)
    effort, started = QUICK if quick else GPU if where.type == "cuda" else FULL, _load()
    kept = keep_memory() if where.type == "cpu" else True
    clock = clock_of(where)
    tell("drawing random numbers")
    needed = 0 if quick else _POOL_OVER_CACHE * (cache_bytes(where) or 0)
    with (
        torch.no_grad(),
        torch.cuda.device(where) if where.type == "cuda" else nullcontext(),
    ):
        pool = Pool(where, max(effort.pool_bytes, needed))
        samples = measure(_cases(where, quick), clock, pool, rounds=effort.rounds, seconds=effort.seconds, say=tell)
        found, base = device_for(where, samples)
        found = rounded(found) if base is None else found
        fitted = fit(samples, found)
        tell("host time")
        host = host_time(clock, found, {kind: one.efficiency for kind, one in fitted.items()}, pool)
    provenance = _provenance(where, effort, started) | {
        "clock": "device events" if not isinstance(clock, CPUClock) else clock.name,
        "keeps_memory": kept,
        "host_measured_on": host.measured_on,
    }
    return Calibrated(device=found, base=base, fitted=fitted, host=host, provenance=provenance, samples=tuple(samples))


def _cases(where: torch.device, quick: bool) -> list[Case]:
    size = {"quick": quick, "large": where.type == "cuda" and not quick}
    return [*product_cases(**size), *attention_cases(**size), *traffic_cases(**size)]


def _use_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise ModelMeterError(f"--threads {threads}: give 1 or more")
    torch.set_num_threads(threads)


def _load() -> float:
    """Jobs that ran or waited on the host in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def _provenance(where: torch.device, effort: Effort, load_before: float) -> dict[str, Any]:
    try:
        transformers = version("transformers")
    except PackageNotFoundError:
        transformers = "none"
    return {
        "date": date.today().isoformat(),
        "modelmeter": __version__,
        "torch": torch.__version__,
        "transformers": transformers,
        "python": platform.python_version(),
        "cuda": (torch.version.cuda or "none") if where.type == "cuda" else "none",
        "threads": torch.get_num_threads(),
        "load_before": load_before,
        "load_after": _load(),
        "rounds": effort.rounds,
        "seconds_a_case_and_round": effort.seconds,
    }
