"""The notebooks in examples/ run, and show what they were committed with."""

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def run(path: Path) -> nbformat.NotebookNode:
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "tools" / "run_notebooks.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool.run(path)


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """The text that each cell shows, but for those that tell the time; one stream may come in several pieces."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code" or "timing" in cell.metadata.get("tags", ()):
            continue
        streams = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        plain = [output.data.get("text/plain", "") for output in cell.outputs if "data" in output]
        found.append(re.sub(r"\s+", " ", " ".join([streams, *plain])))
    return found


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_showed(path):
    committed = nbformat.read(path, as_version=4)
    assert all(cell.outputs or cell.source for cell in committed.cells if cell.cell_type == "code")
    assert shown(run(path)) == shown(committed)
