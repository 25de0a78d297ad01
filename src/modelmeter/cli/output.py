"""What all commands share: where results go, and a line that says what runs."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, TypeAlias, TypeVar

import typer

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.files import encoded, write_text

JsonOption: TypeAlias = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="Write JSON to FILE, or to standard output with '-'.")
]
MarkdownOption: TypeAlias = Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the tables as Markdown.")]
QuietOption: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print no table and no progress.")]
INTERRUPTED: Final = 130  # 128 and SIGINT, as shells say it
Result = TypeVar("Result")


def deliver(
    result: Result,
    wanted: Mapping[str, str | None],
    writers: Mapping[str, Callable[[Result], str]],
    *,
    print_it: Callable[[Result], None] | None,
    quiet: bool,
) -> None:
    """Write what is wanted, then print, unless standard output is taken."""
    for name, path in wanted.items():
        if path is not None:
            write(path, writers[name](result), quiet=quiet)
    if print_it is not None and not quiet and "-" not in wanted.values():
        print_it(result)


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


def check_outputs(wanted: dict[str, str | None], inputs: Iterable[str]) -> None:
    """Raise before any work where two outputs go to one place, or one would replace an input."""
    places: dict[str, str] = {os.path.realpath(name): "the input" for name in inputs}
    for option, path in wanted.items():
        if path is None:
            continue
        if path == "" or os.path.isdir(path):
            raise ModelMeterError(f"cannot write {path or 'nothing'}: --{option} needs the name of a file")
        place = path if path == "-" else os.path.realpath(path)
        if place in places:
            raise ModelMeterError(f"--{option} {path} is also {places[place]}: give each its own place")
        places[place] = f"--{option}"


def complain(messages: Iterable[object]) -> None:
    """One line on standard error for each."""
    for message in messages:
        typer.echo(f"modelmeter: {message}", err=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C is one line on standard error, with what the interrupt says of what is kept, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        complain([stopped if stopped.args else "interrupted"])
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what runs; nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda line: None
        return
    from rich.console import Console

    with Console(stderr=True).status("importing torch") as status:
        yield status.update
