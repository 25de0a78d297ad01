"""`write_report`: a report as a folder of files, whole or not at all."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.files import write_text
from modelmeter.report.folder import write_folder
from modelmeter.report.model_report.convert import from_json, from_yaml, to_json, to_yaml
from modelmeter.report.model_report.data import SCHEMA, AnalyticModelReport
from modelmeter.report.model_report.figures import report_figures
from modelmeter.report.model_report.layers import layer_pages
from modelmeter.report.model_report.render import to_markdown

DATA: Final = "report.json"
YAML: Final = "report.yaml"
TEXT: Final = "report.md"
PAGE: Final = "report.html"
LAYERS: Final = "layers"
PLOTS: Final = "plots"


def write_report(
    report: AnalyticModelReport, folder: str | Path, *, force: bool = False, html: bool = True
) -> list[str]:
    """Write report.json, report.yaml, report.md, layers/ and, with `html`, report.html and plots/; returns the names.

    One page of `layers/` is a kind of layer. Raises `ModelMeterError` where the folder may not be replaced
    (`check_folder`), cannot be written, or the HTML page lacks a package.
    """
    check_folder(folder, force=force)
    names: list[str] = []

    def fill(place: Path) -> None:
        texts = {DATA: to_json(report), YAML: to_yaml(report), TEXT: to_markdown(report)}
        texts |= {f"{LAYERS}/{name}": text for name, text in layer_pages(report).items()}
        for name, text in texts.items():
            write_text(place / name, text)
        names.extend(texts)
        if html:
            from modelmeter.report.html_page import write_html
            from modelmeter.report.plots import save_figures

            write_html(report, place / PAGE)
            plots = save_figures(report_figures(report), place / PLOTS, ("svg",))
            names.extend([PAGE, *[f"{PLOTS}/{name}" for name in plots]])

    write_folder(folder, fill, replace=True)
    return names


def read_report(source: str | Path) -> AnalyticModelReport:
    """The report in a folder that `write_report` made, or in its report.json or report.yaml.

    Raises `ModelMeterError` for a file that cannot be read, is none, or is of another version.
    """
    place = Path(source)
    file = place / DATA if place.is_dir() else place
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelMeterError(f"cannot read {file}: {error.strerror}: name a folder of `modelmeter report`") from error
    except UnicodeDecodeError as error:
        raise ModelMeterError(f"cannot read {file}: it is no text: name a report.json or report.yaml") from error
    try:
        return from_yaml(text) if file.suffix in (".yaml", ".yml") else from_json(text)
    except ModelMeterError as error:
        raise ModelMeterError(f"{file}: {error}") from error


def check_folder(folder: str | Path, *, force: bool = False, inputs: Iterable[str] = ()) -> None:
    """Raise `ModelMeterError`, before any work, where `folder` is there and is not ours to replace.

    An empty folder is, and one with a report and nothing else; any other only with `force`. Never the folder one is
    in, or one that an input is in.
    """
    place = Path(folder)
    target = place.resolve()
    for inside, what in [(Path.cwd(), "the folder you are in"), *[(Path(name).resolve(), name) for name in inputs]]:
        if target == inside or target in inside.parents:
            raise ModelMeterError(f"cannot write {place}: it is, or holds, {what}: name a folder for the report alone")
    try:
        if not place.exists():
            return
    except OSError as error:
        raise ModelMeterError(f"cannot write {place}: {error.strerror or error}: choose another folder") from error
    if not place.is_dir():
        raise ModelMeterError(f"cannot write {place}: it is a file: name a folder")
    if any(place.iterdir()) and not force and not _is_ours(place):
        raise ModelMeterError(
            f"{place} exists and holds more than a report: choose another folder, or --force to replace all of it"
        )


def _is_ours(place: Path) -> bool:
    """Whether a folder holds a report (of any version) and nothing that we did not write."""
    try:
        data = json.loads((place / DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    kind = SCHEMA.partition("/")[0]
    if not isinstance(data, dict) or not str(data.get("schema")).startswith(f"{kind}/"):
        return False
    files = {entry.relative_to(place).as_posix() for entry in place.rglob("*") if not entry.is_dir()}
    known = {DATA, YAML, TEXT, PAGE}
    return all(name in known or re.fullmatch(rf"{LAYERS}/.*\.md|{PLOTS}/.*\.svg", name) for name in files)
