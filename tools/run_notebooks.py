"""Runs the notebooks in examples/ and keeps what they show: python tools/run_notebooks.py [NAME.ipynb ...]"""

import sys
from pathlib import Path
from typing import Any

import nbformat as untyped
from nbclient import NotebookClient

nbformat: Any = untyped
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(path: Path) -> Any:
    """A notebook with what its cells show now. Raises where one fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=120, record_timing=False, resources={"metadata": {"path": str(EXAMPLES)}})
    return client.execute()


def main() -> None:
    """Run those named, else all, and write them back."""
    for path in [Path(name) for name in sys.argv[1:]] or sorted(EXAMPLES.glob("*.ipynb")):
        notebook = run(path)
        notebook.metadata["language_info"] = {"name": "python"}  # not the version of whoever ran it
        nbformat.write(notebook, path)
        print(path.name)


if __name__ == "__main__":
    main()
