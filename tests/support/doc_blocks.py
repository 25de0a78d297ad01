"""The python blocks of a documentation page, run: in order and in one namespace they print what the page shows."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# A python block, and the text block right after it: what it prints
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


def printed_by(source: str, page: str, namespace: dict[str, Any]) -> str:
    """What a block prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, page, "exec"), namespace)
    return printed.getvalue()


def check_page(page: str) -> None:
    """Run the blocks of docs/`page`, of which there is at least one; errors have the line numbers of the page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = list(BLOCK.finditer(text))
    assert len(found) == text.count("```python") > 0
    namespace: dict[str, Any] = {"__name__": page}
    for block in found:
        source = "\n" * text[: block.start(1)].count("\n") + block[1]
        shown = block[2] or ""
        assert printed_by(source, page, namespace) == shown, f"{page}, the block that begins {block[1][:60]!r}"
