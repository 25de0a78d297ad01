"""The documentation runs: the python blocks of a page, in order and in one namespace, print what the page shows."""

import pytest
from support.doc_blocks import ROOT, check_page

PAGES = (
    "analyze-model.md",
    "compare.md",
    "conventions.md",
    "derived.md",
    "gallery.md",
    "holistic.md",
    "index.md",
    "layers.md",
    "memory.md",
    "precision.md",
    "profiles.md",
    "sweeps.md",
    "time.md",
    "verification.md",
)
ELSEWHERE = {
    "run.md": "tests/live/running",
    "session.md": "tests/live/session",
    "shadow.md": "tests/live/shadow",
    "tutorial.md": "tests/docs/test_site_pages.py",
}
"""Pages whose blocks other tests run."""


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_print_what_it_shows(page):
    check_page(page)


def test_no_other_page_has_blocks_that_are_not_run():
    has_blocks = {path.name for path in (ROOT / "docs").glob("*.md") if "```python" in path.read_text("utf-8")}
    assert has_blocks <= {*PAGES, *ELSEWHERE}
