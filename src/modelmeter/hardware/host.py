"""The host's share of a page: reading it, and resizing, padding and normalising its views, before the device begins."""

import math
from typing import Any, Final, Literal, TypeAlias

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.views import ViewPlan

Source: TypeAlias = Literal["jpeg", "pdf", "pixels"]
SOURCES: Final[tuple[Source, ...]] = ("jpeg", "pdf", "pixels")
STRETCHED_MODES: Final = ("tiny", "small")
"""Modes whose one view is the page stretched to a square; the others keep its proportions and pad."""


def _seconds(default: float) -> Any:
    def check(instance: Any, attribute: "attrs.Attribute[float]", value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ModelMeterError(f"HostProfile: {attribute.name} must be seconds, 0 or more, not {value!r}")

    return attrs.field(default=default, validator=check)


@attrs.frozen(kw_only=True)
class HostProfile:
    """Seconds of one core on a host: to read a page (a file, and each pixel) and to make its views (each pixel).

    The defaults are those of bench/results/host-time.json: Pillow 13.0, NumPy 2.4 and pypdfium2 5.15 on an AMD EPYC,
    pages of text. Those of preparing are within 4% (median) and 14% of what was measured over six modes and eight page
    sizes; a JPEG file takes from 0.4 (mostly blank) to 2.3 times (a grainy photograph) as long as one of text.
    bench/host_time.py measures another host. Left out: fetching the file, converting to bf16, the copy to the device.
    """

    jpeg_file_seconds: float = _seconds(6.283e-4)
    jpeg_pixel_seconds: float = _seconds(2.839e-9)
    pdf_page_seconds: float = _seconds(0.0)
    pdf_pixel_seconds: float = _seconds(2.410e-9)
    resampled_pixel_seconds: float = _seconds(4.658e-9)
    written_pixel_seconds: float = _seconds(5.923e-9)
    cut_pixel_seconds: float = _seconds(4.816e-9)

    def reading_seconds(self, source: Source, pixels: int) -> float:
        """Seconds to read a page of so many pixels."""
        if source == "jpeg":
            return self.jpeg_file_seconds + self.jpeg_pixel_seconds * pixels
        if source == "pdf":
            return self.pdf_page_seconds + self.pdf_pixel_seconds * pixels
        return 0.0


@attrs.frozen(kw_only=True)
class HostWork:
    """Pixels of making the views of a page: gone over to resize it, written into views, and cut out as tiles."""

    resampled_pixels: int
    written_pixels: int
    cut_pixels: int


def host_work(page_width: int, page_height: int, views: ViewPlan) -> HostWork:
    """The pixels of a page of width x height by the vendor's rules.

    The page is resized for the global view (tiny and small stretch it, the others fit it in and pad), and once more
    for the canvas that is cut into tiles. From W x H to w x h Pillow's filter first goes along the rows, `max(W, w)` of
    each of the H: it widens where it shrinks. Its second pass is shorter, and part of what a written pixel costs.
    Raises where a side is not positive.
    """
    if page_width < 1 or page_height < 1:
        raise ModelMeterError(f"host_work(): {page_width} x {page_height} pixels are no page: give positive sides")
    widths = [_global_width(page_width, page_height, views)]
    if views.num_tiles and views.tile_size:
        widths.append(views.grid[0] * views.tile_size)
    sizes = [count * side * side for count, side in views.views]
    return HostWork(
        resampled_pixels=sum(max(page_width, width) * page_height for width in widths),
        written_pixels=sum(sizes),
        cut_pixels=sum(sizes[:-1]),
    )


def host_seconds(
    page_width: int, page_height: int, views: ViewPlan, *, source: Source = "jpeg", profile: HostProfile | None = None
) -> float:
    """Seconds of one core to read a page of width x height pixels and to make its views.

    `source` is what it is read from: "jpeg", "pdf" (drawn at these pixels), or "pixels" (in memory already). Pages are
    independent: N processes on N cores prepare N times as many. Raises `ModelMeterError` for an unknown source.
    """
    profile = profile or HostProfile()
    if source not in SOURCES:
        raise ModelMeterError(f"host_seconds(): source {source!r} is unknown: choose {', '.join(SOURCES)}")
    work, pixels = host_work(page_width, page_height, views), page_width * page_height
    return (
        profile.reading_seconds(source, pixels)
        + work.resampled_pixels * profile.resampled_pixel_seconds
        + work.written_pixels * profile.written_pixel_seconds
        + work.cut_pixels * profile.cut_pixel_seconds
    )


def _global_width(width: int, height: int, views: ViewPlan) -> int:
    """The width to which a page is resized for the global view, before it is padded to a square."""
    if views.mode in STRETCHED_MODES:
        return views.base_size
    return max(1, round(views.base_size * width / max(width, height)))
