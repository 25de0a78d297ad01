"""`write_study`: a study as a folder of files."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.files import write_text
from modelmeter.report.folder import write_folder
from modelmeter.report.study import tables
from modelmeter.report.study.data import SCHEMA, to_json
from modelmeter.report.study.points import check_points
from modelmeter.report.study.read import FILE
from modelmeter.report.study.readme import readme
from modelmeter.report.study.scaling import scaling_files
from modelmeter.sweeps.study import Study

README: Final = "README.md"


def write_study(
    study: Study, folder: str | Path, *, command: str | None = None, force: bool = False, plots: bool = True
) -> list[str]:
    """Write sweep.json, .csv, .parquet, .sqlite, .nc, the plots and README.md into `folder`; returns their names.

    The folder appears whole or not at all. One that is there is replaced only if it holds the same study, with
    `force`. Raises `ModelMeterError` where it may not be, or a package is missing.
    """
    check_folder(folder, study.name, force=force)
    check_points(study)
    written: list[str] = []

    def fill(place: Path) -> None:
        written.extend(_data_files(study, place, command))
        names, notes = _plots(study, place) if plots else ([], ["no plots: they were not wanted"])
        written.extend(names)
        write_text(place / README, readme(study, command, written, notes))
        written.append(README)

    write_folder(folder, fill, replace=force)
    return written


def check_folder(folder: str | Path, name: str, *, force: bool) -> None:
    """Raise `ModelMeterError`, before any work, where `folder` is there and may not be replaced by this study."""
    place = Path(folder)
    try:
        if not place.exists() or (place.is_dir() and not any(place.iterdir())):
            return
    except OSError as error:
        raise ModelMeterError(f"cannot write {place}: {error.strerror or error}: choose another folder") from error
    held = _study_in(place)
    if held is None:
        raise ModelMeterError(f"{place} exists and is no folder of a study: choose another")
    if held != name:
        raise ModelMeterError(f"{place} holds the study {held}: choose another folder for {name}")
    if not force:
        raise ModelMeterError(f"{place} holds this study already: --force replaces it, or choose another folder")


def _study_in(place: Path) -> str | None:
    """The name of the study in a folder, if it is one."""
    try:
        data = json.loads((place / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kind = SCHEMA.rsplit("/", 1)[0]
    if not isinstance(data, dict) or not str(data.get("schema")).startswith(f"{kind}/"):
        return None
    return str(data.get("study"))


def _data_files(study: Study, place: Path, command: str | None) -> list[str]:
    write_text(place / FILE, to_json(study, command))
    tables.write_csv(study, place / "sweep.csv")
    tables.write_parquet(study, place / "sweep.parquet", command)
    tables.write_sqlite(study, place / "sweep.sqlite", command)
    tables.write_netcdf(study, place / "sweep.nc", command)
    more = scaling_files(study) if study.name == "seq-len" else {}
    for name, text in more.items():
        write_text(place / name, text)
    return [FILE, "sweep.csv", "sweep.parquet", "sweep.sqlite", "sweep.nc", *more]


def _plots(study: Study, place: Path) -> tuple[list[str], list[str]]:
    """(the files of the plots, what to say of those that are missing)."""
    if find_spec("matplotlib") is None:
        return [], ["no plots: they need matplotlib, `pip install 'modelmeter[plot]'`"]
    from modelmeter.report.plots import save_plots

    return save_plots(study, place), []
