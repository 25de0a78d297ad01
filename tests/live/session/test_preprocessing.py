"""Pictures as views, by the vendor's rules: sizes, padding, tiles and pixel values, worked out by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from modelmeter import plan_views
from modelmeter.live.session.preprocessing import global_view, noise_images, normalised, page_images, tiles


def plain(width: int, height: int, colour: tuple[int, int, int]) -> Image.Image:
    """A page of one colour."""
    return Image.new("RGB", (width, height), colour)


def test_normalised_from_minus_one_to_one() -> None:
    """(x / 255 - 0.5) / 0.5, channels first."""
    picture = plain(3, 2, (0, 255, 51))
    found = normalised(picture)
    assert found.shape == (3, 2, 3) and found.dtype == np.float32
    assert np.all(found[0] == -1) and np.all(found[1] == 1)
    assert found[2] == pytest.approx(np.full((2, 3), 51 / 255 / 0.5 - 1), abs=1e-6)


@pytest.mark.parametrize(("width", "height"), [(600, 300), (300, 600), (2000, 1000)])
def test_padded_with_grey_on_both_sides(width: int, height: int) -> None:
    """2 : 1 fits into a square of 1024 as 1024 x 512, in the middle; the rest is 127, int(0.5 * 255)."""
    view = global_view(plain(width, height, (255, 0, 0)), plan_views(width, height, mode="base"))
    assert view.size == (1024, 1024)
    pixels = np.asarray(view)
    pixels = pixels if width > height else pixels.transpose(1, 0, 2)
    assert np.all(pixels[:256] == 127) and np.all(pixels[768:] == 127)
    assert np.all(pixels[256:768] == (255, 0, 0))


@pytest.mark.parametrize(("mode", "side"), [("tiny", 512), ("small", 640)])
def test_small_modes_stretch(mode: str, side: int) -> None:
    view = global_view(plain(900, 300, (255, 0, 0)), plan_views(900, 300, mode=mode))
    assert view.size == (side, side) and np.all(np.asarray(view) == (255, 0, 0))


def test_tiles_are_cut_row_by_row() -> None:
    """A page of 3 x 2 squares, each of its own colour and as large as a tile: the tiles are these squares."""
    colours = [(40 * i, 255 - 40 * i, 7 * i) for i in range(6)]
    page = Image.new("RGB", (3 * 640, 2 * 640))
    for i, colour in enumerate(colours):
        page.paste(colour, ((i % 3) * 640, (i // 3) * 640, (i % 3 + 1) * 640, (i // 3 + 1) * 640))
    views = plan_views(*page.size)
    assert views.grid == (3, 2)
    found = [np.asarray(tile) for tile in tiles(page, views)]
    assert len(found) == 6
    assert all(np.all(tile == colour) for tile, colour in zip(found, colours, strict=True))


def test_tiles_are_stretched_not_padded() -> None:
    """A4 at 200 dpi: 1654 x 2339 becomes 2 x 3 tiles, 1280 x 1920; nothing is grey."""
    views = plan_views(1654, 2339)
    cut = tiles(plain(1654, 2339, (255, 255, 255)), views)
    assert [tile.size for tile in cut] == [(640, 640)] * 6
    assert all(np.all(np.asarray(tile) == 255) for tile in cut)


def test_a_page_that_fits_one_tile_has_none() -> None:
    assert tiles(plain(640, 640, (1, 2, 3)), plan_views(640, 640)) == []


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([6, 9, 32]))
def test_the_grid_is_that_of_transformers(width: int, height: int, most: int) -> None:
    """Their rule takes (height, width), and knows no page that needs no tiles."""
    theirs: Any = get_optimal_tiled_canvas((height, width), (640, 640), 2, most)
    expected = (1, 1) if max(width, height) <= 640 else tuple(theirs)
    assert plan_views(width, height, max_tiles=most).grid == expected


def test_batches_of_pages() -> None:
    """[b 3 s s] and [b*n 3 t t]; the tiles of a page follow one another."""
    views = plan_views(1300, 640)
    assert views.grid == (2, 1)
    page = plain(1300, 640, (0, 0, 0))
    page.paste((255, 255, 255), (650, 0, 1300, 640))
    images = page_images(page, views, batch_size=3, dtype=torch.bfloat16)
    assert images.page.shape == (3, 3, 1024, 1024) and images.page.dtype is torch.bfloat16
    assert images.tiles is not None and images.tiles.shape == (6, 3, 640, 640)
    assert images.tiles[:, 0, 320, 320].tolist() == [-1, 1] * 3  # in the middle of each
    alone = page_images(plain(100, 100, (0, 0, 0)), plan_views(100, 100), batch_size=2, dtype=torch.float16)
    assert alone.tiles is None and alone.page.dtype is torch.float16


def test_noise_is_the_same_for_a_seed() -> None:
    views = plan_views(1300, 640, base_size=128, tile_size=64)
    sizes: dict[str, Any] = {"channels": 3, "batch_size": 2, "dtype": torch.bfloat16}
    one, same, other = (noise_images(views, seed=seed, **sizes) for seed in (1, 1, 2))
    assert one.tiles is not None and same.tiles is not None
    assert one.page.shape == (2, 3, 128, 128) and one.tiles.shape == (2 * views.num_tiles, 3, 64, 64)
    assert torch.equal(one.page, same.page) and torch.equal(one.tiles, same.tiles)
    assert not torch.equal(one.page, other.page)
