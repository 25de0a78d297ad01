"""What `plan` is asked about: pages from files or a table of sizes, output tokens, prices."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import MAX_SIDE, Page, PageError, read_pages
from modelmeter.hardware.capacity.plan import MOST_PRICE
from modelmeter.hardware.capacity.times import PageWork
from modelmeter.hardware.capacity.workload import OutputTokens, PageKind, PageMix
from modelmeter.hardware.host import Source, host_seconds
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views
from modelmeter.report.timing.timing import source_of

_SHOWN: Final = 20  # digits of a number in an error
MOST_HOST_SECONDS: Final = 3600
"""Host work of a page: beyond an hour it is no page's."""
MOST_COUNT: Final = 10**12
"""Of a row in a table."""


class Sample(NamedTuple):
    """Pages of one size (pixels): how many, and what the host reads them from."""

    width: int
    height: int
    number: int = 1
    source: Source = "jpeg"


@attrs.frozen(kw_only=True)
class Pages:
    """The kinds of pages: what each asks of the model, and the mix they come in."""

    works: tuple[PageWork, ...]
    mix: PageMix


def kinds_of(
    samples: Iterable[Sample],
    outputs: OutputTokens,
    *,
    model: DeepseekOCRModel,
    mode: str = "gundam",
    max_tiles: int = 9,
    prompt_tokens: int = 10,
    host: float | None = None,
) -> Pages:
    """A sample of pages, gathered by their views: those run alike.

    The host's seconds of a kind are the mean of its pages', or `host` for all. Raises where there is no page.
    """
    patch_size = 16 if model.config is None else model.config.sam.patch_size
    if host is not None and not 0 <= host <= MOST_HOST_SECONDS:
        raise ModelMeterError(f"host seconds are {host:g}: give from 0 to {MOST_HOST_SECONDS:,}")
    if prompt_tokens < 0:
        raise ModelMeterError(f"prompt tokens must be 0 or more, got {prompt_tokens}")
    plans: dict[tuple[Any, ...], ViewPlan] = {}
    counts: dict[tuple[Any, ...], int] = {}
    work: dict[tuple[Any, ...], float] = {}
    for width, height, count, source in samples:
        views = plan_views(width, height, mode=mode, max_tiles=max_tiles, patch_size=patch_size)
        key = (views.grid, views.views)
        plans.setdefault(key, views)
        counts[key] = counts.get(key, 0) + count
        seconds = host_seconds(width, height, views, source=source) if host is None else host
        work[key] = work.get(key, 0.0) + seconds * count
    if not plans:
        raise ModelMeterError("no pages to plan for: name files, sizes such as 1654x2339, or a table of sizes")
    works = tuple(
        PageWork(views=views, context=views.image_tokens + prompt_tokens, host_seconds=work[key] / counts[key])
        for key, views in plans.items()
    )
    kinds = [
        PageKind(name=_name(work.views), context=work.context, weight=counts[key])
        for key, work in zip(plans, works, strict=True)
    ]
    return Pages(works=works, mix=PageMix(tuple(kinds), outputs))


def chosen_samples(sources: Sequence[str], table: Path | None, *, default: str, dpi: float = 144) -> Iterable[Sample]:
    """(width, height, how many) of the pages of files or of a table; without either, one page of the default size."""
    if table is None:
        return samples_of(read_pages(list(sources) or [default], dpi=dpi))
    if sources:
        raise ModelMeterError("give pages as files or as a table of sizes, not both")
    return read_samples(table)


def chosen_outputs(tokens: int | None, table: Path | None, *, default: int) -> OutputTokens:
    """The same number for every page, or a sample in a table; the default without either."""
    if table is None:
        return OutputTokens.constant(default if tokens is None else tokens)
    if tokens is not None:
        raise ModelMeterError("give output tokens as a number or as a table, not both")
    return read_outputs(table)


def split_names(texts: Sequence[str]) -> list[str]:
    """Names separated by commas. Raises where there is none."""
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    if not names:
        raise ModelMeterError("no device is named: give --device, for example h200,a100-40g")
    return names


def samples_of(pages: Iterable[Page | PageError]) -> Iterator[Sample]:
    """The pages that were read. Raises for the first that could not be: a plan needs the whole mix."""
    for page in pages:
        if isinstance(page, PageError):
            raise ModelMeterError(f"cannot plan: {page}")
        yield Sample(page.width, page.height, source=source_of(page))


def read_samples(path: str | Path) -> list[Sample]:
    """The rows of a table with the columns width and height (pixels), and count where there is one.

    Raises `ModelMeterError` naming the line that is wrong.
    """
    rows = _read(path, ("width", "height"), {"width": MAX_SIDE, "height": MAX_SIDE, "count": MOST_COUNT})
    return [Sample(row["width"], row["height"], row["count"]) for row in rows]


def read_outputs(path: str | Path) -> OutputTokens:
    """Output tokens of a table with a column tokens, and count where there is one: a sample of pages."""
    rows = _read(path, ("tokens",), {"tokens": 10**6, "count": MOST_COUNT})
    counts: dict[int, float] = {}
    for row in rows:
        counts[row["tokens"]] = counts.get(row["tokens"], 0.0) + row["count"]
    return OutputTokens(tuple(sorted(counts)), tuple(counts[value] for value in sorted(counts)))


def parse_prices(texts: Sequence[str]) -> dict[str, float]:
    """Prices an hour from texts like "h200=3.5/h" (several with commas). Raises for what is none, or negative."""
    prices: dict[str, float] = {}
    for text in ",".join(texts).split(","):
        if not text.strip():
            continue
        name, equals, amount = text.strip().rpartition("=")
        try:
            price = float(amount.strip().removesuffix("/h"))
        except ValueError:
            price = float("nan")
        if not name or not equals or price != price:
            raise ModelMeterError(f"--price {text.strip()}: write NAME=PRICE/h, for example h200=3.5/h")
        if not 0 <= price <= MOST_PRICE:
            raise ModelMeterError(f"--price {text.strip()}: a price must be from 0 to {MOST_PRICE:,.0f} an hour")
        if name in prices:
            raise ModelMeterError(f"--price names {name} twice: give each device one price")
        prices[name] = price
    return prices


def _read(path: str | Path, columns: tuple[str, ...], most: dict[str, int]) -> list[dict[str, int]]:
    """Rows of whole positive numbers; a first line of names may put columns in any order and add `count`."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelMeterError(f"{path}: cannot read it as CSV: {error}") from error
    known = (*columns, "count")
    names, first = known, 1
    if lines and lines[0] and not lines[0][0].strip().isdigit():
        names, first = tuple(cell.strip().lower() for cell in lines[0]), 2
        lines = lines[1:]
        if missing := [column for column in columns if column not in names]:
            raise ModelMeterError(f"{path}: no column {missing[0]}: name {', '.join(columns)} (and count) in line 1")
    rows = []
    for number, cells in enumerate(lines, start=first):
        if not any(cell.strip() for cell in cells):
            continue
        found = {name: cell for name, cell in zip(names, cells, strict=False) if name in known}
        rows.append({name: _whole(path, number, name, found.get(name), most[name]) for name in known})
    if not rows:
        raise ModelMeterError(f"{path}: no rows: give one line of {', '.join(columns)} for each page")
    return rows


def _whole(path: str | Path, line: int, name: str, cell: str | None, most: int) -> int:
    if name == "count" and (cell is None or not cell.strip()):
        return 1
    text = (cell or "").strip()
    if not (text.isascii() and text.isdigit()) or not text.strip("0"):
        raise ModelMeterError(f"{path}, line {line}: {name} is {text!r}: give a positive whole number")
    if len(text.lstrip("0")) > len(str(most)) or int(text) > most:
        raise ModelMeterError(f"{path}, line {line}: {name} is {text[:_SHOWN]}: give at most {most:,}")
    return int(text)


def _name(views: ViewPlan) -> str:
    return " + ".join(f"{count} x {side}" for count, side in views.views)
