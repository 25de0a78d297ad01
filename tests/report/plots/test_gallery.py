"""The gallery: its pictures are what the code draws, small, and all on the page."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docs" / "gallery"
PAGE = ROOT / "docs" / "gallery.md"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/make_gallery.py, which is no package."""
    spec = importlib.util.spec_from_file_location("make_gallery", ROOT / "tools" / "make_gallery.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_are_up_to_date(tool):
    stale = tool.stale()
    assert stale == [], f"{', '.join(stale)} differ from the code: run `{tool.COMMAND}`"


def test_every_picture_is_on_the_page_with_words_for_it():
    shown = re.findall(r"!\[([^\]]+)\]\(gallery/([\w-]+\.svg)\)", PAGE.read_text(encoding="utf-8"))
    assert sorted(name for _, name in shown) == sorted(path.name for path in FOLDER.iterdir())
    assert all(len(words) > 10 for words, _ in shown)


def test_pictures_are_small(tool):
    assert {path.name: size for path in FOLDER.iterdir() if (size := path.stat().st_size) > tool.MOST_BYTES} == {}
