"""Where a static analysis goes: `static_analysis/` of a folder, each of its two parts whole."""

import json
from pathlib import Path
from typing import Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.analyser.data import StaticAnalysis
from modelmeter.live.analyser.export import (
    ANALYSIS_SCHEMA,
    SCALING_SCHEMA,
    analysis_data,
    layer_files,
    scaling_csv,
    scaling_data,
    to_json,
    to_yaml,
)
from modelmeter.live.analyser.scaling import StaticScaling
from modelmeter.report.files import write_text
from modelmeter.report.folder import write_folder

ANALYSIS: Final = Path("static_analysis", "analytic_model")
SCALING: Final = Path("static_analysis", "scaling")
REPORT: Final = "report.json"
POINTS: Final = "scaling.json"


def write_analysis(analysis: StaticAnalysis, folder: str | Path) -> Path:
    """Write report.json, report.yaml and layers/ into `folder`/static_analysis/analytic_model, whole or not at all.

    An earlier analysis there is replaced. Raises `ModelMeterError` where something else is there, or it cannot be
    written. Returns the place.
    """
    place = Path(folder) / ANALYSIS
    check_place(folder, scaling=False)
    data = analysis_data(analysis)
    texts = {REPORT: to_json(data), "report.yaml": to_yaml(data)}
    texts |= {f"layers/{name}": to_json(found) for name, found in layer_files(analysis).items()}

    def fill(new: Path) -> None:
        for name, text in texts.items():
            write_text(new / name, text)

    write_folder(place, fill, replace=True)
    return place


def write_scaling(scaling: StaticScaling, folder: str | Path) -> Path:
    """Write scaling.json and scaling.csv into `folder`/static_analysis/scaling; they hold what is done so far."""
    place = Path(folder) / SCALING
    write_text(place / POINTS, to_json(scaling_data(scaling)))
    write_text(place / "scaling.csv", scaling_csv(scaling))
    return place


def check_place(folder: str | Path, *, scaling: bool) -> None:
    """Raise `ModelMeterError`, before any work, where the place in `folder` is there and is none of ours."""
    place = Path(folder) / (SCALING if scaling else ANALYSIS)
    name, schema = (POINTS, SCALING_SCHEMA) if scaling else (REPORT, ANALYSIS_SCHEMA)
    try:
        there = next(path for path in (place, *place.parents) if path.exists())
        if not there.is_dir():
            raise ModelMeterError(f"{there} is a file: name a folder with -o")
        if there != place or not any(place.iterdir()):
            return
    except OSError as error:
        raise ModelMeterError(f"cannot write {place}: {error.strerror or error}: choose another folder") from error
    try:
        data = json.loads((place / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        data = None
    if not isinstance(data, dict) or not str(data.get("schema")).startswith(schema.partition("/")[0]):
        raise ModelMeterError(f"{place} is there and is none of ours to replace: name another folder with -o")
