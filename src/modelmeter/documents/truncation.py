"""Does a picture file end before its picture does? Told from its tables and its end, never from pixels.

Pillow refuses to decode such files, so the real model cannot read them; its `Image.verify()` sees PNG's only, and
reads the whole file for it. Damage inside the compressed data is not looked for.
"""

import mmap
import os
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

# What ends the picture: JPEG's end-of-image marker (T.81, B.1.1.3); PNG's last chunk, of length 0 (its clause 11.2.5)
_END: Final = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND"}
# TIFF 6.0: where the pieces of the picture lie, and how many bytes each has
_STRIPS: Final = (273, 279)
_TILES: Final = (324, 325)


def ends_early(kind: str, file: BinaryIO) -> bool:
    """For a JPEG or PNG file positioned after its header: is its end missing? Searches from the last byte back."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.rfind(_END[kind], file.tell()) < 0


def webp_ends_early(file: BinaryIO) -> bool:
    """Is a WebP file shorter than its RIFF header says (bytes 4 to 8, without the first 8)? Leaves it at its start."""
    header = file.read(8)
    file.seek(0)
    return os.fstat(file.fileno()).st_size < int.from_bytes(header[4:8], "little") + 8


def tiff_ends_early(tags: "ImageFileDirectory_v2", file: BinaryIO) -> bool:
    """Does a strip or tile of this TIFF frame reach past the end of the file?"""
    size = os.fstat(file.fileno()).st_size
    for offsets, counts in (_STRIPS, _TILES):
        pieces = zip(_numbers(tags.get(offsets)), _numbers(tags.get(counts)), strict=False)
        if any(offset + count > size for offset, count in pieces):
            return True
    return False


def _numbers(value: Any) -> tuple[int, ...]:
    """A tag's value as a tuple: absent, one number, or several."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
