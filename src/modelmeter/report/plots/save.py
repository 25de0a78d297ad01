"""Figures as files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelmeter.report.files import write_bytes
from modelmeter.report.plots.choose import plots_of
from modelmeter.report.plots.style import check_format, file_bytes
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAVED: Final = ("svg", "png")


def save_plots(study: Study, folder: str | Path, formats: tuple[str, ...] = SAVED) -> list[str]:
    """Write a study's plots into `folder`; the names of the files. Raises `ModelMeterError` for what cannot be."""
    return save_figures(plots_of(study), folder, formats)


def save_figures(figures: "Mapping[str, Figure]", folder: str | Path, formats: tuple[str, ...] = SAVED) -> list[str]:
    """Write figures by name, each in all `formats`; the names of the files. None is written before all are drawn."""
    kinds = [check_format(suffix) for suffix in formats]
    files = {f"{name}.{suffix}": file_bytes(figure, suffix) for name, figure in figures.items() for suffix in kinds}
    for name, content in files.items():
        write_bytes(Path(folder) / name, content)
    return list(files)
