"""What reading gives: a page's size, or one line that says why there is none."""

from typing import Final

from attrs import field, frozen

MAX_SIDE: Final = 65_500  # pixels; libjpeg's limit (JPEG_MAX_DIMENSION)
MAX_PIXELS: Final = 2 * (1024**3 // 4 // 3)  # 178,956,970; what Pillow, which the real model reads with, refuses above


def one_line(text: str) -> str:
    """Text as one printable line: line breaks, control characters and undecodable bytes become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@frozen
class Page:
    """One page: its upright size in pixels, the source it came from and its number there (from 1).

    `source` is the file's path as found, or the text WIDTHxHEIGHT; `label` is a short printable name for tables.
    """

    source: str
    number: int
    width: int
    height: int
    label: str


@frozen
class PageError:
    """Why a source (or some pages of it) cannot be read, and what to do about it: one printable line."""

    source: str
    message: str = field(converter=one_line)

    def __str__(self) -> str:
        return f"{one_line(self.source)}: {self.message}"


def sized_page(source: str, number: int, size: tuple[int, int], *, label: str, remedy: str) -> Page | PageError:
    """The page, or the error that its (width, height) in pixels is beyond MAX_SIDE or MAX_PIXELS or without area."""
    width, height = size
    if width < 1 or height < 1:
        return PageError(source, f"page {number} has no area ({width} x {height} pixels): remove it")
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        limits = f"{MAX_SIDE:,} pixels a side and {MAX_PIXELS:,} in all"
        return PageError(source, f"page {number} is {width} x {height} pixels, more than {limits}: {remedy}")
    return Page(source, number, width, height, one_line(label))
