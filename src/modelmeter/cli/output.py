"""What all commands share: where results go."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.files import encoded, write_text

JsonOption: TypeAlias = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="Write JSON to FILE, or to standard output with '-'.")
]
QuietOption: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print no table and no progress.")]


def write(path: str | Path, text: str, *, quiet: bool) -> None:
    """Write a result to a file (and say so), or to standard output for '-'."""
    if str(path) == "-":
        if sys.stdout is None:
            raise ModelMeterError("standard output is closed: name a file in place of -")
        sys.stdout.flush()
        sys.stdout.buffer.write(encoded(text))
        sys.stdout.buffer.flush()
        return
    write_text(path, text)
    if not quiet:
        typer.echo(f"wrote {path}", err=True)


def coverage_option(text: str) -> str | float:
    """A convention's name, or a number."""
    try:
        return float(text)
    except ValueError:
        return text


def check_outputs(wanted: dict[str, str | None], inputs: Iterable[str]) -> None:
    """Raise before any work where two outputs go to one place, or one would replace an input."""
    places: dict[str, str] = {os.path.realpath(name): "the input" for name in inputs}
    for option, path in wanted.items():
        if path is None:
            continue
        place = path if path == "-" else os.path.realpath(path)
        if place in places:
            raise ModelMeterError(f"--{option} {path} is also {places[place]}: give each its own place")
        places[place] = f"--{option}"


def complain(messages: Iterable[object]) -> None:
    """One line on standard error for each."""
    for message in messages:
        typer.echo(f"modelmeter: {message}", err=True)
