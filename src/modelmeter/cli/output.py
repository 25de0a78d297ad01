"""What all commands share: where results go."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from modelmeter.report.files import write_text

JsonOption: TypeAlias = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="Write JSON to FILE, or to standard output with '-'.")
]
QuietOption: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print no table and no progress.")]


def write(path: str | Path, text: str, *, quiet: bool) -> None:
    """Write a result to a file (and say so), or to standard output for '-'."""
    if str(path) == "-":
        sys.stdout.write(text)
        return
    write_text(path, text)
    if not quiet:
        typer.echo(f"wrote {path}", err=True)


def complain(messages: Iterable[object]) -> None:
    """One line on standard error for each."""
    for message in messages:
        typer.echo(f"modelmeter: {message}", err=True)
