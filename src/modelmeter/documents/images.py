"""Page sizes of PNG, JPEG, WebP and TIFF files, by Pillow's header readers; no pixel is decoded."""

import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from modelmeter.documents.pages import Page, PageError, sized_page
from modelmeter.documents.truncation import ends_early, tiff_ends_early, webp_ends_early

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile
    from PIL.TiffImagePlugin import TiffImageFile

logger = logging.getLogger(__name__)

_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274  # TIFF 6.0 tags; the last is EXIF's too
_QUARTER_TURNS: Final = (5, 6, 7, 8)  # orientations that swap width and height (EXIF 2.32, 4.6.4)
DAMAGE: Final = (
    *(EOFError, IndexError, KeyError, MemoryError, OSError, OverflowError, SyntaxError, TypeError, ValueError),
    *(struct.error, zlib.error),
)
"""What Pillow raises on damaged data, of headers and of pixels."""


def read_image(path: Path, kind: str) -> Iterator[Page | PageError]:
    """The upright size of a picture (an animated one's first frame), or of each frame of a TIFF file.

    `kind` is PNG, JPEG, WEBP or TIFF. A damaged header and a file that ends early (see `truncation`) are errors.
    Pillow's warnings go to this module's log, at level INFO.
    """
    try:
        with path.open("rb") as file:
            if kind == "TIFF":
                yield from _frames(path, file)
            else:
                yield _picture(path, kind, file)
    except OSError as error:
        yield PageError(str(path), f"cannot be read ({error.strerror}): check the name and its permissions")


def _picture(path: Path, kind: str, file: BinaryIO) -> Page | PageError:
    """The page of a PNG, JPEG or WebP file."""
    from PIL.Image import DecompressionBombError

    try:
        with _warnings_to_log(path):
            if kind == "WEBP" and webp_ends_early(file):
                return _cut_short(path, kind)
            image = _open(kind, file)
            cut = kind != "WEBP" and ends_early(kind, file)
            page = _page(path, 1, image.size, _orientation(image), path.name)
    except DecompressionBombError:  # of the WebP reader, which would reserve memory for all pixels
        return PageError(str(path), "the picture has too many pixels: scale it down")
    except DAMAGE as error:
        return _damaged(path, kind, error)
    return _cut_short(path, kind) if cut and isinstance(page, Page) else page


def _frames(path: Path, file: BinaryIO) -> Iterator[Page | PageError]:
    """One page a TIFF frame. Reading ends at a damaged frame: it alone knows where the next one is."""
    from PIL.TiffImagePlugin import TiffImageFile

    image: TiffImageFile | None = None
    for number in count(1):
        try:
            with _warnings_to_log(path):
                image = TiffImageFile(file) if image is None else image
                image.seek(number - 1)
                page = _frame(image, path, number, file)
        except EOFError:  # past the last frame
            return
        except DAMAGE as error:
            yield _damaged(path, f"TIFF frame {number}", error)
            return
        yield page


def _frame(image: "TiffImageFile", path: Path, number: int, file: BinaryIO) -> Page | PageError:
    """The page of the frame that the image stands at. From its tags: newer Pillows turn `image.size` themselves."""
    tags = image.tag_v2
    label = f"{path.name} p{number}"
    page = _page(path, number, (tags[_WIDTH], tags[_HEIGHT]), tags.get(_ORIENTATION), label)
    if isinstance(page, Page) and tiff_ends_early(tags, file):
        return _cut_short(path, f"TIFF frame {number}")
    return page


def _page(path: Path, number: int, size: tuple[int, int], orientation: object, label: str) -> Page | PageError:
    upright = size[::-1] if orientation in _QUARTER_TURNS else size
    return sized_page(str(path), number, upright, label=label, remedy="scale it down")


def _open(kind: str, file: BinaryIO) -> "ImageFile":
    """The picture with its header read. Image.open() would load every format, and warn at a limit of its own."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    readers: dict[str, Callable[[BinaryIO], ImageFile]]
    readers = {"JPEG": JpegImageFile, "PNG": PngImageFile, "WEBP": WebPImageFile}
    return readers[kind](file)


def _orientation(image: "ImageFile") -> object:
    """The EXIF orientation; None where there is none or it is damaged, and the real model's loader ignores it too."""
    from PIL.Image import Image

    try:
        return Image.getexif(image).get(_ORIENTATION)  # not image.getexif(): PNG's may decode the picture
    except DAMAGE:
        return None


@contextmanager
def _warnings_to_log(path: Path) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        logger.info("%s: %s", path, warning.message)


def _damaged(path: Path, what: str, error: Exception) -> PageError:
    cause = f"field {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    return PageError(str(path), f"the header of the {what} cannot be read ({cause}): save or download it again")


def _cut_short(path: Path, what: str) -> PageError:
    return PageError(str(path), f"the {what} is cut short (its end is missing): save or download it again")
