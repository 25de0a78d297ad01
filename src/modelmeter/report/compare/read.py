"""A result that this program wrote, from its file."""

import json
import math
from pathlib import Path
from typing import Any, Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.compare.layouts import LAYOUTS, Layout
from modelmeter.report.compare.tidy import Tidy, tidy

IN_FOLDERS: Final = ("report.json", "sweep.json", "measured_scaling.json")
"""What stands for a folder of results."""


def read_result(path: str | Path) -> Tidy:
    """The rows of a JSON file, or of the one in a folder of results.

    Raises `ModelMeterError`, in one line, for a file that cannot be read or that is none of those that are compared.
    """
    file = _file(Path(path))
    data = load(file)
    if not isinstance(data, dict) or not isinstance(data.get("schema"), str):
        raise ModelMeterError(f"{file} names no schema: give a JSON file that modelmeter wrote ({_kinds()})")
    schema = data["schema"]
    if schema not in LAYOUTS:
        raise ModelMeterError(f"{file} is {schema}{_why(schema)}")
    if not isinstance(data.get("analytic_model_version"), str):
        raise ModelMeterError(f"{file} has no analytic_model_version: write it anew with this version of modelmeter")
    try:
        return tidy(str(file), data, _layout(file, data, LAYOUTS[schema]))
    except RecursionError:
        raise ModelMeterError(f"{file} is nested too deeply for a result: write the file anew") from None


def _layout(file: Path, data: dict[str, Any], layout: Layout) -> Layout:
    """That of the schema; a table names its keys itself."""
    if "rows" not in layout.lists:
        return layout
    keys = data.get("keys")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise ModelMeterError(f"{file} names no keys of its rows: write the file anew")
    return attrs.evolve(layout, lists={"rows": tuple(keys)})


def _file(path: Path) -> Path:
    """The path, or the result in the folder that it names."""
    try:
        if not path.is_dir():
            return path
        for name in IN_FOLDERS:
            if (path / name).is_file():
                return path / name
    except OSError as error:
        raise ModelMeterError(f"cannot read {path}: {error.strerror or error}: check the name") from error
    *others, last = IN_FOLDERS
    raise ModelMeterError(f"{path} is a folder without {', '.join(others)} or {last}: name the file")


def load(path: Path) -> Any:
    """The JSON in a file. Raises `ModelMeterError` where there is none, and for numbers that are none."""
    try:
        return json.loads(path.read_bytes(), parse_constant=_real, parse_float=_real)
    except OSError as error:
        raise ModelMeterError(f"cannot read {path}: {error.strerror or error}: check the name") from error
    except (ValueError, RecursionError) as error:  # bytes that are no text, and text that is no JSON
        raise ModelMeterError(f"{path} is not JSON ({error}): give a JSON file that modelmeter wrote") from None


def _real(text: str) -> float:
    """A number of the file; NaN and what is beyond every float are none."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value


def _kinds() -> str:
    return ", ".join(sorted({layout.title for layout in LAYOUTS.values()}))


def _why(schema: str) -> str:
    """What is wrong with a schema that has no layout, and the remedy."""
    family = schema.rpartition("/")[0]
    known = [name.rpartition("/")[2] for name in LAYOUTS if name.rpartition("/")[0] == family]
    if known:
        return f", and this modelmeter reads version {' and '.join(known)} of it: write the file anew"
    return f", which is not compared: give {_kinds()}"
