"""Tutorial and how-tos run: from top to bottom in one folder, their python blocks and commands print what they show.

A `sh` block is run line by line, a `bash` block is not (it installs something, takes long, or needs files of a user).
The `text` block after a block is what it prints, of several commands the last; a line `...` stands for lines left out.
A `toml` block with a title is a file of that name.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.doc_blocks import ROOT, printed_by

import modelmeter

DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in [DOCS / "tutorial.md", *DOCS.glob("how-to/*.md")])
BLOCK = re.compile(r"^```(sh|python|toml)([^\n]*)\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
LEFT_OUT = "..."
WRITTEN = {  # files that a page names as written by its commands
    "tutorial.md": ("scaling/README.md", *(f"report/report.{kind}" for kind in ("html", "md", "json", "yaml"))),
    "how-to/why-slow.md": ("roofline.svg", "trace.json"),
    "how-to/report.md": ("report/layers/index.md",),
}
PLAIN = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR", "CLICOLOR_FORCE")}
ENVIRONMENT = {**PLAIN, "PYTHONPATH": str(Path(modelmeter.__file__).parents[1])}


def run_command(line: str) -> str:
    """What a command prints, in the folder we are in."""
    name, *arguments = shlex.split(line, comments=True)
    assert name == "modelmeter", f"a `sh` block holds commands of modelmeter, not {line!r}: make it `bash`"
    call = [sys.executable, "-m", name, *arguments]
    done = subprocess.run(call, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


def lines_of(text: str) -> list[str]:
    """Its lines without spaces and empty lines at the end, which an editor takes away."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def missing(shown: str, printed: str) -> str:
    """The first piece of what is shown that was not printed at its place; empty where all was."""
    pieces: list[list[str]] = [[]]
    for line in lines_of(shown):
        if line == LEFT_OUT:
            pieces.append([])
        else:
            pieces[-1].append(line)
    lines, at, last = lines_of(printed), 0, len(pieces) - 1
    for number, piece in enumerate(pieces):
        places = range(at, len(lines) - len(piece) + 1) if number else [0]
        if number == last and piece:
            places = [place for place in places if place + len(piece) == len(lines)]
        found = next((place for place in places if lines[place : place + len(piece)] == piece), None)
        if found is None:
            return "\n".join(piece)
        at = found + len(piece)
    return ""


def test_what_is_shown_is_compared_line_by_line():
    printed = "a\nb \n\nc\nd\n\n"
    for shown in ("a\nb\n\nc\nd\n", "a\n...\nd\n", "...\nb\n...\n", "...\nc\nd\n", "a\n...\n"):
        assert missing(shown, printed) == "", shown
    for shown in ("a\nb\n", "b\n...\n", "...\nc\n", "...\nd\n...\na\n...\n", "a\nc\n...\n"):
        assert missing(shown, printed) != "", shown


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the sample document, in which the page is run."""
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "sample.pdf", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_print_what_it_shows(page, folder):
    text = (DOCS / page).read_text(encoding="utf-8")
    found = list(BLOCK.finditer(text))
    assert len(found) == len(re.findall(r"^```(?:sh|python|toml)", text, re.MULTILINE)) > 0
    assert len([block for block in found if block[4]]) == text.count("```text")
    namespace: dict[str, Any] = {"__name__": page}
    for block in found:
        kind, title, source, shown = block.groups()
        if kind == "toml":
            (name,) = re.findall(r'title="([\w.-]+)"', title)
            (folder / name).write_text(source, encoding="utf-8")
            continue
        if kind == "sh":
            printed = [run_command(line) for line in source.replace("\\\n", " ").splitlines()][-1]
        else:
            printed = printed_by("\n" * text[: block.start(3)].count("\n") + source, page, namespace)
            assert shown or not printed, f"{page}: what this prints is not shown\n{source}"
        if shown:
            lost = missing(shown, printed)
            assert not lost, f"{page} shows\n{lost}\nbut this prints something else there:\n{source}\n{printed}"
    for name in WRITTEN.get(page, ()):
        assert Path(name).name in text and (folder / name).is_file()
