"""A hook of mkdocs: each notebook in examples/ as a page, with the outputs that are kept in it."""

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

EXAMPLES: Final = Path(__file__).resolve().parents[1] / "examples"


def on_files(files: Files, /, *, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, and its pictures beside it."""
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        page = Pages(path.stem, json.loads(path.read_text(encoding="utf-8"))["cells"])
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page.text))
        for name, picture in page.pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


class Pages:
    """A notebook as Markdown, and its pictures by file name."""

    def __init__(self, name: str, cells: list[dict[str, Any]]) -> None:
        self.name = name
        self.pictures: dict[str, str] = {}
        parts = [part for cell in cells for part in self._cell(cell)]
        note = f"*The notebook `examples/{name}.ipynb`; a test runs it and holds it to these outputs.*"
        self.text = "\n\n".join([parts[0].replace("\n\n", f"\n\n{note}\n\n", 1), *parts[1:]]) + "\n"

    def _cell(self, cell: dict[str, Any]) -> Iterator[str]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source
        elif source:
            yield f"```python\n{source}\n```"
            yield from self._outputs(cell["outputs"])

    def _outputs(self, outputs: list[dict[str, Any]]) -> Iterator[str]:
        """What a cell shows; what it prints piece by piece stands in one block."""
        printed = ""
        for output in outputs:
            if output["output_type"] == "stream":
                printed += "".join(output["text"])
                continue
            if printed:
                yield text_block(printed)
                printed = ""
            yield self._shown({kind: "".join(text) for kind, text in output["data"].items()})
        if printed:
            yield text_block(printed)

    def _shown(self, data: dict[str, str]) -> str:
        """A picture, a table, else text: HTML with a style of its own does not suit the site."""
        if "image/svg+xml" in data:
            name = f"{self.name}-{len(self.pictures) + 1}.svg"
            self.pictures[name] = data["image/svg+xml"]
            return f"![What the cell above draws]({name})"
        if "text/html" in data and "<style" not in data["text/html"]:
            return "\n".join(line for line in data["text/html"].splitlines() if line.strip())
        return text_block(data["text/plain"])


def text_block(text: str) -> str:
    """Text as it is."""
    return f"<pre><code>{html.escape(text.rstrip())}</code></pre>"
