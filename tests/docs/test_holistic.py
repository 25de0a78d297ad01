"""The documentation runs: the python blocks of a page, in order and in one namespace, print what the page shows."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
# A python block, and the text block right after it: what it prints
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


def blocks(text: str) -> list[tuple[str, str]]:
    """(source, output shown) of every python block; sources keep the line numbers of the page."""
    return [("\n" * text[: found.start(1)].count("\n") + found[1], found[2] or "") for found in BLOCK.finditer(text)]


def run(page: str, source: str, namespace: dict[str, Any]) -> str:
    """What a block prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, page, "exec"), namespace)
    return printed.getvalue()


@pytest.mark.parametrize(
    "page",
    [
        "holistic.md",
        "layers.md",
        "conventions.md",
        "index.md",
        "verification.md",
        "time.md",
        "derived.md",
        "gallery.md",
        "compare.md",
        "sweeps.md",
        "profiles.md",
    ],
)
def test_the_blocks_of_a_page_print_what_it_shows(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    found = blocks(text)
    assert len(found) == text.count("```python") > 0
    namespace: dict[str, Any] = {"__name__": page}
    for source, shown in found:
        assert run(page, source, namespace) == shown, f"{page}, the block that begins {source.strip()[:60]!r}"


def test_no_other_page_has_blocks_that_are_not_run():
    assert not [page for page in ("architecture.md", "formulas.md") if "```python" in (DOCS / page).read_text("utf-8")]
