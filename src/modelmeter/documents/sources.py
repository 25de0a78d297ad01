"""From what a user names to files: sizes, files, directories and glob patterns."""

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from modelmeter.documents.pages import Page, PageError, sized_page

Source = str | os.PathLike[str]
SUFFIXES: Final = frozenset(
    {".jfif", ".jpe", ".jpeg", ".jpg", ".pdf", ".png", ".tif", ".tiff", ".webp"}  # what a directory is searched for
)
FORMATS: Final = "PDF, PNG, JPEG, WebP or TIFF"
_SIZE: Final = re.compile(r"\s*([+-]?[0-9.]+)\s*[xX×]\s*([+-]?[0-9.]+)\s*", re.ASCII)


def find(sources: Source | Iterable[Source]) -> Iterator[Path | Page | PageError]:
    """The files that the sources name, in order; a plain WIDTHxHEIGHT is a page at once, a dead end an error.

    A text of that form is always a size (write ./10x20 for a file of that name). Directories are searched with all
    below them, sorted; hidden files and links to directories are left out. A pattern gives the files it matches.
    """
    for source in [sources] if isinstance(sources, str | os.PathLike) else sources:
        text = os.fspath(source)
        if match := _SIZE.fullmatch(text):
            yield _plain_size(text, *match.groups())
            continue
        try:
            mode = os.stat(text).st_mode
        except (OSError, ValueError) as error:  # ValueError: a NUL inside the name
            yield from _matches(text, error)
            continue
        if stat.S_ISDIR(mode):
            yield from _below(text)
        else:
            yield Path(text)


def is_plain_size(text: str) -> bool:
    """Whether a source is a size like 1654x2339, and no file."""
    return _SIZE.fullmatch(text) is not None


def _plain_size(text: str, width: str, height: str) -> Page | PageError:
    if not (re.fullmatch("[0-9]{1,9}", width) and re.fullmatch("[0-9]{1,9}", height)):
        return PageError(text, "a page size is two whole numbers of pixels, at most 9 digits each: write 1654x2339")
    size = int(width), int(height)
    if 0 in size:
        return PageError(text, "a page has at least one pixel a side: write 1654x2339")
    return sized_page(text, 1, size, label=f"{size[0]}x{size[1]}", remedy="give a smaller size")


def _matches(text: str, error: OSError | ValueError) -> Iterator[Path | PageError]:
    """The files that a glob pattern matches, sorted; for any other text, the reason why it names no file."""
    if "\0" not in text and glob.has_magic(text):
        files = [Path(name) for name in sorted(glob.glob(text, recursive=True)) if not os.path.isdir(name)]
        yield from files
        if not files:
            yield PageError(text, "no file matches this pattern: check it")
    elif isinstance(error, FileNotFoundError):
        yield PageError(text, "no such file or directory: check the name")
    else:
        cause = error.strerror if isinstance(error, OSError) else str(error)
        yield PageError(text, f"cannot be opened ({cause}): check the name and its permissions")


def _below(directory: str) -> Iterator[Path | PageError]:
    """The supported files of a directory and of all below it, in sorted order, a directory's own files first."""
    failed: list[OSError] = []
    empty = True
    for folder, folders, names in os.walk(directory, onerror=failed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                empty = False
                yield Path(folder, name)
    for error in failed:
        yield PageError(str(error.filename), f"cannot be listed ({error.strerror}): check its permissions")
    if empty and not failed:
        yield PageError(directory, f"no {FORMATS} file in this directory: name another one")
