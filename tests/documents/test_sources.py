"""What may be named: sizes, files, directories, patterns, and any mix of good and bad ones."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from modelmeter.documents import Page, PageError, count_pages, read_pages


@pytest.fixture
def folder(tmp_path):
    """b.png and a.PDF.png, sub/c.jpg and sub/deep/d.tif; hidden and unsupported files among them."""
    for name in ["b.png", "a.PDF.png", "sub/c.JPG", "sub/deep/d.tif", ".hidden.png", ".dir/e.png"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 9)).save(path)
    (tmp_path / "notes.txt").write_text("not a page")
    return tmp_path


def names(folder, sources):
    """What the sources give, as paths below the folder."""
    return [os.path.relpath(item.source, folder).replace(os.sep, "/") for item in read_pages(sources)]


@pytest.mark.parametrize("text", ["1654x2339", "1654X2339", " 1654 × 2339 "])
def test_plain_size(text):
    assert list(read_pages(text)) == [Page(text, 1, 1654, 2339, "1654x2339")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0x2339", "at least one pixel"),
        ("-5x10", "two whole numbers"),
        ("10.5x20", "two whole numbers"),
        ("1" * 5000 + "x1", "at most 9 digits"),
        ("65501x1", "more than 65,500 pixels a side"),
        ("20000x20000", "and 178,956,970 in all: give a smaller size"),
    ],
)
def test_a_wrong_size_is_an_error(text, words):
    (error,) = read_pages([text])
    assert isinstance(error, PageError) and words in error.message


def test_a_size_needs_no_library():
    code = "import sys; from modelmeter.documents import read_pages; print(list(read_pages('1654x2339'))[0].width)"
    code += "; print(*{'PIL', 'pypdfium2'} & {name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1654"] and not done.stderr


def test_directory(folder):
    assert names(folder, folder) == ["a.PDF.png", "b.png", "sub/c.JPG", "sub/deep/d.tif"]
    assert names(folder, str(folder)) == names(folder, [folder])


def test_directory_without_pages(tmp_path):
    (tmp_path / "notes.txt").write_text("not a page")
    (error,) = read_pages(tmp_path)
    assert error == PageError(str(tmp_path), "no PDF, PNG, JPEG, WebP or TIFF file in this directory: name another one")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["a.PDF.png", "b.png"]),
        ("**/*.[Jt]*", ["notes.txt", "sub/c.JPG", "sub/deep/d.tif"]),
        ("?.png", ["b.png"]),
        ("su*", ["su*"]),  # a directory alone is no match
        ("*.bmp", ["*.bmp"]),
    ],
)
def test_pattern(folder, pattern, found):
    assert sorted(names(folder, folder / pattern)) == found


def test_a_pattern_without_match(folder):
    (error,) = read_pages(folder / "*.bmp")
    assert isinstance(error, PageError) and "no file matches" in error.message


def test_a_name_that_looks_like_a_pattern_or_a_size(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("page[1].png", "8x8"):
        (folder / name).write_bytes((folder / "b.png").read_bytes())
    (page,) = read_pages("page[1].png")
    assert (page.source, page.width, page.height) == ("page[1].png", 8, 9)
    assert [page.height for page in read_pages(["8x8", "./8x8"])] == [8, 9]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no such page.png", "no such file or directory: check the name"),
        ("nul\0.png", "cannot be opened"),
        ("x" * 5000, "cannot be opened"),
        ("", "no such file or directory"),
    ],
)
def test_what_is_not_there(source, words):
    (error,) = read_pages([source])
    assert isinstance(error, PageError) and words in error.message and "\n" not in str(error) and "\0" not in str(error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (error,) = read_pages(tmp_path / "pipe.png")
    assert isinstance(error, PageError) and "not a regular file" in error.message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="every file is readable for this user")
def test_files_without_permission(folder):
    (folder / "b.png").chmod(0)
    (folder / "sub").chmod(0)
    errors = [item for item in read_pages(folder) if isinstance(item, PageError)]
    (folder / "sub").chmod(0o755)
    assert ["Permission denied" in error.message for error in errors] == [True, True]


def test_a_bad_source_does_not_stop_the_others(folder, make_pdf):
    (folder / "zero.png").touch()
    sources = ["100x200", folder / "zero.png", make_pdf(), "missing.pdf", folder / "b.png"]
    items = list(read_pages(iter(sources)))
    assert [type(item) for item in items] == [Page, PageError, Page, PageError, Page]
    assert count_pages(sources) == len(items)


def test_nothing_gives_nothing():
    assert list(read_pages([])) == [] and count_pages([]) == 0
