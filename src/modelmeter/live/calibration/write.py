"""A calibrated device as a device file."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.efficiency import Efficiency
from modelmeter.live.calibration.calibrate import Calibrated
from modelmeter.live.calibration.fit import Fitted
from modelmeter.live.calibration.rates import as_table
from modelmeter.report.files import write_text

_RESERVED: Final = "sources"
_SUFFIX: Final = ".toml"  # how --device tells a file from a name
_DIGITS: Final = 6
_NOTHING: Final = 1e-12  # what a bound of zero leaves of a fitted number


def write_device_file(found: Calibrated, path: Path) -> None:
    """Write it under the file's name, whole or not at all. Raises `ModelMeterError` where it cannot be written."""
    write_text(path, to_toml(found, name_of(path)))


def check_writable(path: Path) -> None:
    """Raise `ModelMeterError` where the file could not be written or read back: before minutes of measuring, not after.

    Makes no folder: the nearest one that exists is tried.
    """
    if path.suffix != _SUFFIX:
        raise ModelMeterError(
            f"--output {path}: a device is named as its file, which ends in {_SUFFIX}: give for example my-device.toml"
        )
    try:
        nearest = next(folder for folder in path.parents if folder.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ModelMeterError(f"cannot write {path}: {error.strerror or error}: choose another file") from error


def name_of(path: Path) -> str:
    """The device's name: the file's, in letters, digits and dashes."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-") or "calibrated"
    return f"{name}-device" if name == _RESERVED else name


def to_toml(found: Calibrated, name: str) -> str:
    """The text of a device file with one device."""
    host = {"host_seconds": _short(found.host.seconds)}
    host |= {"host_low": _short(found.host.low), "host_high": _short(found.host.high)}
    lines = [
        "# Written by `modelmeter calibrate`: best rates seen, and the shares of them that kinds of operators reach.",
        *_lines(name, {**as_table(found.device, found.base), "source": "modelmeter calibrate"}),
        *_lines(f"{name}.calibration", {**host, **found.provenance}),
    ]
    for kind, one in found.fitted.items():
        lines += _lines(f"{name}.calibration.classes.{kind}", _efficiency(one.efficiency))
    for kind, one in found.fitted.items():
        lines += _lines(f"{name}.calibration.fit.{kind}", _quality(one))
    return "\n".join(lines).strip() + "\n"


def _efficiency(efficiency: Efficiency) -> dict[str, float]:
    """What differs from the perfect one; at least one number."""
    perfect = Efficiency()
    values = {name: _short(value) for name, value in attrs.asdict(efficiency).items()}
    kept = {name: value for name, value in values.items() if value != getattr(perfect, name)}
    return kept or {"seconds": values["seconds"]}


def _quality(one: Fitted) -> dict[str, float]:
    errors = {name: getattr(one, name) for name in ("median_error", "worst_error", "spread")}
    return {"operators": one.operators} | {name: round(value, 4) for name, value in errors.items()}


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") if value > _NOTHING else 0.0


def _lines(header: str, values: Mapping[str, Any]) -> list[str]:
    return ["", f"[{header}]", *[f"{key} = {_value(value)}" for key, value in values.items()]]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, str):
        return '"' + re.sub(r'[\\"]', r"\\\g<0>", re.sub(r"[\x00-\x1f\x7f]", " ", value)) + '"'
    return repr(value)
