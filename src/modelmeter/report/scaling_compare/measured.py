"""What `measured_scaling.json` holds (schema `modelmeter.measured-scaling/1`), written and read. Needs no torch."""

import json
from pathlib import Path
from reprlib import repr as short
from typing import Any, Final

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.report.compare.read import load
from modelmeter.report.model_report.convert import structure, unstructure

SCHEMA: Final = "modelmeter.measured-scaling/1"
FILE: Final = "measured_scaling.json"
CONFIG: Final = "measured_config.json"
"""Beside it: the configuration in a form that `--config` takes, where it is not the released one."""
_RESULTS: Final = ("points", "skipped", "complete", "command")
"""What a measurement adds to its circumstances."""
_SHORTEST, _LONGEST = 1e-9, 1e12  # milliseconds: a picosecond, 32 years
MOST: Final = 10**30
"""Above every count there is, and far from what a float holds."""


def _time(instance: Any, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not _SHORTEST < value < _LONGEST:
        raise ModelMeterError(f"{attribute.name} is {value}: a measured time is positive, and of some years at most")


def _count(least: int) -> Any:
    def check(instance: Any, attribute: "attrs.Attribute[int | None]", value: int | None) -> None:
        if value is not None and not least <= value < MOST:
            raise ModelMeterError(f"{attribute.name} is {short(value)}: it is from {least} to {MOST:g}")

    return attrs.field(validator=check)


@attrs.frozen(kw_only=True)
class Spread:
    """Lowest, quartiles and highest of `repeats` measurements, milliseconds."""

    low_ms: float = attrs.field(validator=_time)
    first_quartile_ms: float = attrs.field(validator=_time)
    third_quartile_ms: float = attrs.field(validator=_time)
    high_ms: float = attrs.field(validator=_time)
    repeats: int = _count(1)

    def __attrs_post_init__(self) -> None:
        if not self.low_ms <= self.first_quartile_ms <= self.third_quartile_ms <= self.high_ms:
            raise ModelMeterError("a spread's low, quartiles and high are not in order")


@attrs.frozen(kw_only=True)
class MeasuredPrefill:
    """Prefill of a batch: counted FLOPs (None: they were not counted), and the median time."""

    flops: int | None = _count(0)
    time_ms: float = attrs.field(validator=_time)
    spread: Spread


@attrs.frozen(kw_only=True)
class MeasuredDecode:
    """The decode steps of a batch: counted FLOPs of all of them and a step's share; the median of a run's mean step."""

    flops: int | None = _count(0)
    flops_per_token: float | None
    time_ms_per_token: float = attrs.field(validator=_time)
    spread: Spread


@attrs.frozen(kw_only=True)
class MeasuredPoint:
    """One length of the prompt."""

    seq_len_prefill: int = _count(1)
    prefill: MeasuredPrefill
    decode: MeasuredDecode


@attrs.frozen(kw_only=True)
class Skipped:
    """A length that was not measured, and why."""

    seq_len_prefill: int = _count(1)
    reason: str


@attrs.frozen(kw_only=True)
class MeasuredOn:
    """Where it ran: the device's own name, torch's name of it, its memory, and the CPU threads that torch used."""

    name: str
    torch_device: str
    memory_bytes: int | None = _count(1)
    threads: int = _count(1)


@attrs.frozen(kw_only=True)
class Versions:
    """What it ran on; `cuda` is None without CUDA."""

    python: str
    torch: str
    transformers: str
    cuda: str | None
    platform: str


@attrs.frozen(kw_only=True)
class MeasuredScaling:
    """Measured prefill and decode over lengths of the prompt, and under which circumstances.

    `runs` is whose code runs, with which kernels and weights; `dtype` torch's name of its floats; `counted` says
    whether FLOPs were counted. `complete` is False while lengths that were asked for are missing.
    """

    modelmeter_version: str = __version__
    analytic_model_version: str = ANALYTIC_MODEL_VERSION
    command: str | None
    model: str
    config: DeepseekOCRConfig
    conventions: Conventions
    runs: str
    dtype: str = attrs.field(validator=attrs.validators.in_(("bfloat16", "float16")))
    precision: str
    device: MeasuredOn
    versions: Versions
    batch_size: int = _count(1)
    decode_steps: int = _count(1)
    warm_up: int = _count(0)
    repeats: int = _count(1)
    counted: bool
    points: tuple[MeasuredPoint, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    complete: bool = False

    def __attrs_post_init__(self) -> None:
        lengths = [point.seq_len_prefill for point in self.points]
        if len(set(lengths)) != len(lengths):
            raise ModelMeterError("points: a length is there twice")
        for point in self.points:
            decode = point.decode
            if (None in (point.prefill.flops, decode.flops, decode.flops_per_token)) is self.counted:
                raise ModelMeterError(f"points: flops at length {point.seq_len_prefill} are not as counted says")
            if decode.flops is not None and decode.flops_per_token != decode.flops / self.decode_steps:
                raise ModelMeterError(
                    f"points: flops_per_token at length {point.seq_len_prefill} is not flops / decode_steps"
                )

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths that were measured."""
        return tuple(point.seq_len_prefill for point in self.points)

    def circumstances(self) -> dict[str, Any]:
        """All that two measurements must share to stand in one file, by dotted name."""
        data = {name: value for name, value in unstructure(self).items() if name not in _RESULTS}
        return dict(_flat(data, ""))


def _flat(value: Any, prefix: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(prefix, value)]
    return [pair for name, inner in value.items() for pair in _flat(inner, f"{prefix}.{name}" if prefix else name)]


def to_json(measured: MeasuredScaling) -> str:
    """The text of the file."""
    data = {"schema": SCHEMA, **unstructure(measured)}
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_measured(file: Path) -> MeasuredScaling:
    """The measurement in a file. Raises `ModelMeterError`, in one line, for what is none."""
    data = load(file)
    check_schema(file, data, SCHEMA)
    return structure(MeasuredScaling, {name: data[name] for name in data if name != "schema"}, str(file))


def check_schema(file: Path, data: Any, schema: str) -> None:
    """Raise `ModelMeterError` unless the data of a file is of that schema."""
    found = data.get("schema") if isinstance(data, dict) else None
    if found != schema:
        named = f"is of the schema {found!r}" if isinstance(found, str) else "names no schema"
        raise ModelMeterError(f"{file} {named}, not {schema}: name another file")
