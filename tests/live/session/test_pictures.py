"""Pages as pictures: files turned upright, PDF pages drawn, and one clear line for what is none."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelmeter import ModelMeterError
from modelmeter.documents import Page, read_pages
from modelmeter.live.session.pictures import open_page

RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves() -> Image.Image:
    """40 x 20 pixels: red on the left, blue on the right."""
    picture = Image.new("RGB", (40, 20), RED)
    picture.paste(BLUE, (20, 0, 40, 20))
    return picture


def test_a_picture_file(tmp_path: Path) -> None:
    halves().save(tmp_path / "page.png")
    found = open_page(tmp_path / "page.png")
    assert found.mode == "RGB" and np.array_equal(np.asarray(found), np.asarray(halves()))
    assert np.array_equal(np.asarray(open_page(str(tmp_path / "page.png"))), np.asarray(halves()))


def test_turned_as_exif_says(tmp_path: Path) -> None:
    """Orientation 6: the camera was turned; upright, the left side is on top."""
    exif = Image.Exif()
    exif[274] = 6
    halves().save(tmp_path / "page.png", exif=exif)
    found = open_page(tmp_path / "page.png")
    assert found.size == (20, 40)
    assert found.getpixel((10, 5)) == RED and found.getpixel((10, 35)) == BLUE


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_any_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    name = tmp_path / ("page.tif" if mode == "CMYK" else "page.png")
    halves().convert(mode).save(name)
    assert open_page(name).mode == "RGB" and open_page(halves().convert(mode)).size == (40, 20)


def test_frames_of_a_tiff(tmp_path: Path) -> None:
    file = tmp_path / "fax.tif"
    halves().save(file, save_all=True, append_images=[Image.new("RGB", (8, 9), BLUE)])
    assert open_page(file).size == (40, 20)
    assert open_page((file, 2)).size == (8, 9) and open_page((file, 2)).getpixel((4, 4)) == BLUE
    second = list(read_pages(file))[1]
    assert isinstance(second, Page) and open_page(second).size == (8, 9)
    with pytest.raises(ModelMeterError, match="has no page 3"):
        open_page((file, 3))


def test_a_page_of_a_pdf_is_drawn(tmp_path: Path) -> None:
    """72 points are an inch: pages of 100 x 50 and 30 x 60 points at 144 dpi have twice as many pixels."""
    file = tmp_path / "two.pdf"
    Image.new("RGB", (100, 50), RED).save(
        file, save_all=True, append_images=[Image.new("RGB", (30, 60), BLUE)], resolution=72
    )
    first, second = open_page(file), open_page((file, 2))
    assert (first.size, second.size) == ((200, 100), (60, 120))
    assert open_page((file, 2), dpi=72).size == (30, 60)
    assert np.asarray(first)[50, 100] == pytest.approx(RED, abs=2)  # PDF pictures are JPEG
    assert np.asarray(second)[60, 30] == pytest.approx(BLUE, abs=2)
    for page, drawn in zip(read_pages(file), (first, second), strict=True):
        assert isinstance(page, Page) and (page.width, page.height) == drawn.size
        assert np.array_equal(np.asarray(open_page(page)), np.asarray(drawn))


def test_pages_are_found_by_their_numbers(tmp_path: Path) -> None:
    """Of four pages the middle two are nowhere, which reading tells in one line: the fourth is still the fourth."""
    file = tmp_path / "four.pdf"
    pages = [Image.new("RGB", (20 + 10 * i, 20), BLUE) for i in range(4)]
    pages[0].save(file, save_all=True, append_images=pages[1:], resolution=72)
    data = file.read_bytes()
    kids = re.search(rb"/Kids \[ (\d+) 0 R (\d+) 0 R (\d+) 0 R", data)
    assert kids is not None
    lost = [data[kids.start(i) : kids.end(i)] for i in (2, 3)]
    spoiled = kids[0].replace(lost[0] + b" 0 R", b"9" * len(lost[0]) + b" 0 R")
    spoiled = spoiled.replace(lost[1] + b" 0 R", b"9" * len(lost[1]) + b" 0 R")
    file.write_bytes(data.replace(kids[0], spoiled))
    assert open_page((file, 4), dpi=72).size == (50, 20)
    with pytest.raises(ModelMeterError, match="pages 2 to 3 cannot be read"):
        open_page((file, 3))
    with pytest.raises(ModelMeterError, match="has no page 5"):
        open_page((file, 5))


def test_what_is_no_page(tmp_path: Path) -> None:
    text, empty, cut = tmp_path / "page.txt", tmp_path / "empty.png", tmp_path / "cut.png"
    text.write_text("no picture")
    empty.touch()
    halves().save(tmp_path / "whole.png")
    data = bytearray((tmp_path / "whole.png").read_bytes())
    begin = data.index(b"IDAT") + 4
    data[begin : begin + 2] = b"\xff\xff"  # no zlib stream: header and end of the file are sound
    cut.write_bytes(data)
    for page, said in (
        (text, "page.txt: not a .* file: convert it"),
        (empty, "the file is empty"),
        (cut, "pixels of .*cut.png cannot be read"),
        (tmp_path / "none.png", "none.png is no file"),
        (tmp_path, "is no file, and only files have pixels"),
        ("1654x2339", "synthetic_inputs"),
    ):
        with pytest.raises(ModelMeterError, match=said) as error:
            open_page(page)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("page", [3, None, ("a.png", 0), ("a.png", True), ("a.png", "2"), (1, 2), ["a.png"]])
def test_what_is_no_source(page: Any) -> None:
    with pytest.raises(ModelMeterError, match="is no page: give a path"):
        open_page(page)


def test_pictures_that_pillow_holds(tmp_path: Path) -> None:
    """Decoded late: a file that is cut short, one that is closed; and a palette that Pillow warns of."""
    halves().save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-30])
    closed = Image.open(tmp_path / "whole.png")
    closed.close()
    with Image.open(tmp_path / "cut.png") as cut:
        for broken in (cut, closed):
            with pytest.raises(ModelMeterError, match="pixels of the picture cannot be read"):
                open_page(broken)
    palette = halves().quantize(2)
    palette.info["transparency"] = b"\x00\xff"
    assert open_page(palette).mode == "RGB"


def test_the_error_is_that_of_the_page_asked_for(tmp_path: Path) -> None:
    """All three are too large at such a resolution."""
    file = tmp_path / "three.pdf"
    page = Image.new("RGB", (20, 20))
    page.save(file, save_all=True, append_images=[page, page], resolution=72)
    for number in (1, 2, 3):
        with pytest.raises(ModelMeterError, match=f"page {number} is .* lower the dpi"):
            open_page((file, number), dpi=1e6)


def test_a_picture_without_pixels() -> None:
    with pytest.raises(ModelMeterError, match="0 x 5 pixels"):
        open_page(Image.new("RGB", (0, 5)))
