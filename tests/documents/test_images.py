"""Pictures: sizes from headers, orientation, frames, and what is wrong with a file."""

import struct
import warnings
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelmeter.documents import MAX_PIXELS, Page, PageError, count_pages, read_pages

FORMATS = ["PNG", "JPEG", "WEBP", "TIFF"]
SHARED = Path(__file__).parents[3] / "shared" / "pages"


def picture(path, kind="PNG", size=(90, 60), **options):
    """A picture with some texture, so that its file has a body to cut."""
    Image.radial_gradient("L").resize(size).convert("RGB").save(path, kind, **options)
    return path


def png_header(width, height, rest=b""):
    """A PNG file that claims a size and has no picture."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + rest + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def one(path):
    """The only item that the path gives."""
    (item,) = read_pages(path)
    return item


@pytest.mark.parametrize("kind", FORMATS)
def test_size(tmp_path, kind):
    path = picture(tmp_path / "scan.img", kind)  # the kind is told by content, not by name
    label = "scan.img p1" if kind == "TIFF" else "scan.img"
    assert one(path) == Page(str(path), 1, 90, 60, label)
    assert count_pages(path) == 1


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    page = one(picture(tmp_path / "a", kind, exif=exif))
    assert (page.width, page.height) == ((60, 90) if orientation in {5, 6, 7, 8} else (90, 60))


def test_damaged_exif_is_no_orientation(tmp_path):
    page = one(picture(tmp_path / "a.jpg", "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01"))
    assert (page.width, page.height) == (90, 60)


def test_png_exif_after_the_picture_does_not_decode_it(tmp_path):
    path = picture(tmp_path / "a.png")
    data = path.read_bytes()
    body = data.index(b"IDAT") + 6
    path.write_bytes(data[:body] + bytes(20) + data[body + 20 :])  # damage that decoding would meet
    assert isinstance(one(path), Page)


@pytest.mark.parametrize("big", [False, True])
def test_each_frame_of_a_tiff_is_a_page(tmp_path, big):
    frames = [Image.new("RGB", (10 * n, 300)) for n in range(1, 6)]
    path = tmp_path / "fax.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:], compression="tiff_lzw", big_tiff=big)
    pages = list(read_pages(path))
    assert [(page.number, page.width, page.height) for page in pages] == [(n, 10 * n, 300) for n in range(1, 6)]
    assert pages[4].label == "fax.tif p5" and count_pages(path) == 5


def test_a_tiff_cut_short_gives_the_frames_before(tmp_path):
    path = tmp_path / "fax.tif"
    frames = [Image.new("RGB", (100, 50)), Image.new("RGB", (50, 100))]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    path.write_bytes(path.read_bytes()[:-100])
    first, second = read_pages(path)
    assert isinstance(first, Page)
    assert isinstance(second, PageError) and "TIFF frame 2 is cut short" in second.message


def test_an_animation_is_one_page(tmp_path):
    path = tmp_path / "a.webp"
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert one(path).number == 1


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_short_is_one_error(tmp_path, kind):
    path = picture(tmp_path / "a", kind)
    data = path.read_bytes()
    for end in range(12, len(data) - 4, max(1, len(data) // 200)):
        path.write_bytes(data[:end])
        error = one(path)
        assert isinstance(error, PageError), (kind, end, len(data))
        assert "save or download it again" in error.message or "convert it" in error.message


def test_an_embedded_thumbnail_does_not_hide_a_cut(tmp_path):
    thumbnail = picture(tmp_path / "t", "JPEG", size=(20, 20)).read_bytes()  # has an end-of-image marker of its own
    path = picture(tmp_path / "a.jpg", "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0" + thumbnail)
    assert isinstance(one(path), Page)
    path.write_bytes(path.read_bytes()[:-50])
    assert "cut short" in one(path).message


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_after_the_picture_are_no_error(tmp_path, kind):
    path = picture(tmp_path / "a", kind)
    path.write_bytes(path.read_bytes() + bytes(100_000))
    assert isinstance(one(path), Page)


def test_a_large_page_is_fine_and_silent(tmp_path):
    path = tmp_path / "plan.png"
    path.write_bytes(png_header(12_000, 12_000))  # more than Pillow warns about
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        page = one(path)
    assert page.width * page.height == 144_000_000 < MAX_PIXELS and not caught


@pytest.mark.parametrize("size", [(100_000, 100_000), (65_501, 1), (1, 2**31 - 1), (20_000, 20_000)])
def test_a_decompression_bomb_is_refused(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    error = one(path)
    assert isinstance(error, PageError)
    assert f"{size[0]} x {size[1]} pixels, more than 65,500 pixels a side and 178,956,970 in all" in error.message


def test_a_bomb_in_text_is_refused(tmp_path):
    text = b"note\0\0" + zlib.compress(bytes(5 * 2**20))  # Pillow reads at most 1 MiB of text
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(100, 100, chunk))
    assert len(list(read_pages(path))) == 1


def test_a_webp_bomb_is_refused(tmp_path):
    canvas = struct.pack("<I", 0) + (16_382).to_bytes(3, "little") * 2  # sides less one
    chunks = b"VP8X" + struct.pack("<I", 10) + canvas + b"VP8 " + struct.pack("<I", 0)
    path = tmp_path / "bomb.webp"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks)
    assert isinstance(one(path), PageError)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"GIF89a" + bytes(100), "not a PDF, PNG, JPEG, WebP or TIFF file: convert it"),
        (b"just some text", "not a PDF, PNG, JPEG, WebP or TIFF file"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "the header of the PNG cannot be read"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "the header of the JPEG cannot be read"),
        (b"II*\0\x08\0\0\0" + bytes(100), "TIFF frame 1 cannot be read"),
        (b"II*\0\xff\xff\xff\xff", "TIFF frame 1 cannot be read"),
    ],
)
def test_a_file_that_is_no_picture(tmp_path, data, words):
    path = tmp_path / "scan.png"
    path.write_bytes(data)
    error = one(path)
    assert isinstance(error, PageError) and words in error.message and str(error).startswith(str(path))


@pytest.mark.parametrize("kind", FORMATS)
@settings(derandomize=True, deadline=None, max_examples=150)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12))
def test_no_damage_raises(tmp_path_factory, kind, changes):
    path = picture(tmp_path_factory.mktemp("damage") / "a", kind, size=(16, 12))
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[int(place**3 * len(data))] = value  # mostly near the header
    path.write_bytes(data)
    items = list(read_pages(path))
    assert items and all(isinstance(item, Page | PageError) for item in items)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not here")
def test_real_pictures():
    pages = list(read_pages(SHARED / "*.jpg"))
    assert [(page.label, page.width, page.height) for page in pages] == [
        ("show1.jpg", 1031, 1171),
        ("show3.jpg", 934, 1183),
    ]
