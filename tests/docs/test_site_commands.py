"""Every command that the documentation shows can be called so: the program knows its name, options and arguments."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from modelmeter.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAM = typer.main.get_command(app)


def commands() -> Iterator[Any]:
    """(page, command) for each line of a code block that calls the program."""
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        for block in FENCED.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("modelmeter "):
                    yield pytest.param(line, id=f"{page.name}: {line}")


def parse(line: str) -> None:
    """Read a command as the program does, and do nothing. Raises what the program would complain of."""
    _, *words = shlex.split(line, comments=True)
    command: Any = PROGRAM
    context = None
    while isinstance(command, TyperGroup):
        context = command.context_class(command, info_name="modelmeter", parent=context)
        if words == ["--version"]:
            return
        _, command, words = command.resolve_command(context, words)
    command.make_context(command.name, words, parent=context)


@pytest.mark.parametrize("line", list(commands()))
def test_a_command_that_is_shown_can_be_called(line):
    parse(line)


def test_a_wrong_command_is_found():
    for line in ("modelmeter analyse a.pdf", "modelmeter sweep nothing", "modelmeter time a.pdf --devise h200"):
        with pytest.raises(Exception, match="No such"):
            parse(line)
