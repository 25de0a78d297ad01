"""Sizes of pages from a CSV file: `width,height` in pixels, and perhaps `pages`, how many there are of a size."""

import csv
from collections.abc import Iterator
from pathlib import Path

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents.pages import MAX_SIDE


def read_sizes(path: str | Path) -> Iterator[tuple[int, int]]:
    """The (width, height) of every page, in pixels. A first line that is no numbers names the columns, in any order.

    Raises `ModelMeterError` naming the file and the line that is wrong.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from _pages(str(path), csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise ModelMeterError(f"cannot read the page sizes in {path}: {reason}: give a CSV of width,height") from error


def _pages(path: str, rows: "Iterator[list[str]]") -> Iterator[tuple[int, int]]:
    columns: dict[str, int] | None = None
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if columns is None:
            columns = _columns(path, cells)
            if not cells[0].isdigit():
                continue
        width, height, count = (_whole(path, number, cells, columns, name) for name in ("width", "height", "pages"))
        for _ in range(count):
            yield width, height


def _columns(path: str, cells: list[str]) -> dict[str, int]:
    """Where the width, the height and the number of pages stand."""
    if cells[0].isdigit():
        return {"width": 0, "height": 1}
    names = [cell.lower() for cell in cells]
    for name in ("width", "height"):
        if names.count(name) != 1:
            raise ModelMeterError(f"{path}: line 1 has no column {name}: name the columns width,height[,pages]")
    return {name: names.index(name) for name in ("width", "height", "pages") if name in names}


def _whole(path: str, line: int, cells: list[str], columns: dict[str, int], name: str) -> int:
    if name not in columns:
        return 1
    text = cells[columns[name]] if columns[name] < len(cells) else ""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:12]) <= MAX_SIDE:
        raise ModelMeterError(f"{path}: line {line}: {name} is {text!r}: give a whole number from 1 to {MAX_SIDE:,}")
    return int(text)
