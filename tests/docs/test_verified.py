"""What the documentation says of verification is what a run says, but for its date and the patch level of versions."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/make_verification.py, which is no package."""
    spec = importlib.util.spec_from_file_location("make_verification", ROOT / "tools" / "make_verification.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_marked_blocks_are_up_to_date(tool):
    stale = [path.relative_to(ROOT).as_posix() for path in tool.stale()]
    assert stale == [], f"{', '.join(stale)} differ from a run: run `{tool.COMMAND}`"


def test_every_block_stands_on_a_page(tool):
    marked = re.findall(r"<!-- verified: ([\w-]+) -->", "".join(path.read_text("utf-8") for path in tool.PAGES))
    assert set(marked) == set(tool.BLOCKS)


def test_no_other_page_has_blocks(tool):
    for path in ROOT.glob("docs/**/*.md"):
        assert path in tool.PAGES or "<!-- verified:" not in path.read_text("utf-8")


def test_dates_and_patch_levels_do_not_make_a_page_stale(tool):
    page = "2026-01-02, modelmeter 0.1.0, torch 2.13.0, transformers 5.23.0: 3,468 -0.0054%"
    assert tool.lasting(page) == tool.lasting(page.replace("2026-01-02", "2027-11-30").replace("5.23.0", "5.23.4"))
    for old, new in (("5.23", "5.24"), ("3,468", "3,469")):
        assert tool.lasting(page) != tool.lasting(page.replace(old, new))
