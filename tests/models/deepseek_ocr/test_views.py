"""Views and image tokens: known values as arithmetic, and the tiling rule against the public implementation."""

import random

import numpy as np
import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views

GLOBAL_1024 = 16 * 17 + 1  # 1024 / 16 / 4 = 16 features a side, a newline a row, one separator
GLOBAL_1280 = 20 * 21 + 1


@pytest.mark.parametrize(
    ("mode", "side", "tokens"),
    [
        ("tiny", 512, 8 * 9 + 1),  # 73
        ("small", 640, 10 * 11 + 1),  # 111
        ("base", 1024, 16 * 17 + 1),  # 273
        ("large", 1280, 20 * 21 + 1),  # 421
    ],
)
def test_native_modes_are_one_view(mode, side, tokens):
    plan = plan_views(1654, 2339, mode=mode)
    assert (plan.grid, plan.num_tiles, plan.views, plan.image_tokens) == ((1, 1), 0, ((1, side),), tokens)
    assert (plan.mode, plan.width, plan.height, plan.max_tiles) == (mode, 1654, 2339, None)


def test_a4_in_gundam():
    plan = plan_views(1654, 2339, mode="gundam", max_tiles=9, base_size=None, tile_size=None)
    assert (plan.grid, plan.num_tiles, plan.views) == ((2, 3), 6, ((6, 640), (1, 1024)))
    assert plan.image_tokens == (10 * 2 + 1) * 10 * 3 + GLOBAL_1024 == 903


def test_portrait_and_landscape_differ():
    portrait, landscape = plan_views(1654, 2339), plan_views(2339, 1654)
    assert landscape.grid == portrait.grid[::-1] == (3, 2)
    assert landscape.image_tokens == (10 * 3 + 1) * 10 * 2 + GLOBAL_1024 == portrait.image_tokens - 10


def test_two_by_two():
    plan = plan_views(1000, 1000, max_tiles=4)  # 1,000,000 px > half of 4 * 640 * 640
    assert plan.grid == (2, 2) and plan.image_tokens == (10 * 2 + 1) * 10 * 2 + GLOBAL_1024 == 693


def test_a_page_that_fits_one_tile_has_none():
    assert plan_views(640, 640).views == ((1, 1024),)
    assert plan_views(1, 640).image_tokens == GLOBAL_1024
    assert plan_views(641, 640).num_tiles > 0
    assert plan_views(640, 641).num_tiles > 0


def test_gundam_m():
    plan = plan_views(1654, 2339, mode="gundam-m")
    assert plan.views == ((6, 1024), (1, 1280))
    assert plan.image_tokens == (16 * 2 + 1) * 16 * 3 + GLOBAL_1280
    assert plan_views(1024, 1024, mode="gundam-m").views == ((1, 1280),)


def test_a_tie_goes_to_the_larger_grid_only_on_a_large_page():
    # 1:1 is 2x2 (4 tiles) or 3x3 (9): 3x3 needs more than 0.5 * 9 * 640 * 640 = 1,843,200 px
    assert plan_views(1357, 1357).grid == (2, 2)  # 1357 ** 2 = 1,841,449
    assert plan_views(1358, 1358).grid == (3, 3)  # 1358 ** 2 = 1,844,164
    assert plan_views(1280, 720, tile_size=640, max_tiles=2).grid == (2, 1)


def test_sides_can_be_replaced():
    plan = plan_views(1654, 2339, base_size=1280, tile_size=512)
    assert plan.views == ((6, 512), (1, 1280))
    assert plan.image_tokens == (8 * 2 + 1) * 8 * 3 + GLOBAL_1280
    assert plan_views(100, 100, mode="base", base_size=64).image_tokens == 1 * 2 + 1
    assert plan_views(100, 100, mode="base", base_size=56, patch_size=14, downsample=2).image_tokens == 2 * 3 + 1


def test_from_grid():
    assert ViewPlan.from_grid((2, 3)).image_tokens == plan_views(1654, 2339).image_tokens
    assert ViewPlan.from_grid([1, 1]).views == ((1, 1024),)
    assert ViewPlan.from_grid((40, 50), base_size=1280, tile_size=1024).views == ((2000, 1024), (1, 1280))


@pytest.mark.parametrize(
    ("grid", "sides", "words"),
    [
        ((0, 2), {}, "grid width must be positive"),
        ((2, 1.5), {}, "grid height must be a whole number"),
        ((2, 2, 2), {}, "a pair of tile counts"),
        (4, {}, "a pair of tile counts"),
        ((2, 2), {"tile_size": 600}, "multiple of 64"),
        ((1, 1), {"base_size": 1}, "use 64"),
    ],
)
def test_from_grid_refuses(grid, sides, words):
    with pytest.raises(ModelMeterError, match=words):
        ViewPlan.from_grid(grid, **sides)


def test_numpy_integers_are_whole_numbers():
    plan = plan_views(np.int32(70_000), np.int32(50_000), tile_size=np.int64(640))  # the area overflows 32 bits
    assert plan == plan_views(70_000, 50_000) and type(plan.width) is int


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"width": 0}, "width must be positive, got 0"),
        ({"height": -3}, "height must be positive, got -3"),
        ({"width": 1654.0}, r"width must be a whole number, got 1654\.0: round it"),
        ({"width": True}, "whole number"),
        ({"height": "2339"}, "whole number"),
        ({"width": 10**400}, "at most 1000000000 pixels"),
        ({"mode": "Gundam"}, "unknown mode 'Gundam': choose one of tiny, small, base, large, gundam, gundam-m"),
        ({"max_tiles": 1}, "from 2 to 1024, got 1: for no tiles use mode='base'"),
        ({"max_tiles": 10**9}, "from 2 to 1024"),
        ({"base_size": 1000}, "multiple of 64 .patch_size 16 x downsample 4., got 1000: use 960 or 1024"),
        ({"tile_size": 32}, "got 32: use 64"),
        ({"tile_size": 0}, "tile_size must be positive"),
        ({"mode": "base", "tile_size": 640}, "mode 'base' has no tiles"),
        ({"patch_size": 0}, "patch_size must be positive"),
        ({"downsample": 2.5}, "downsample must be a whole number"),
    ],
)
def test_what_a_caller_can_get_wrong(arguments, words):
    with pytest.raises(ModelMeterError, match=words):
        plan_views(**{"width": 1654, "height": 2339} | arguments)


def sizes(tile: int) -> set[tuple[int, int]]:
    """2,000 random pages (half log-uniform, so with extreme ratios) and those on an edge of the rule."""
    draw = random.Random(tile)
    pages = {(draw.randint(1, 6000), draw.randint(1, 6000)) for _ in range(1200)}
    pages |= {(int(10 ** draw.uniform(0, 5)), int(10 ** draw.uniform(0, 5))) for _ in range(1200)}
    for w in range(1, 12):  # the exact ratio of every small grid, around each threshold of the tie rule
        for h in range(1, 12):
            for tiles in range(1, 40):
                scale = (tile * tile * tiles / 2 / (w * h)) ** 0.5
                pages |= {(w * (int(scale) + d), h * (int(scale) + d)) for d in (-1, 0, 1, 2)}
    pages |= {(w * 60 + h * 60, w * 120) for w in range(1, 30) for h in range(1, 30)}  # midway between two ratios
    pages |= {(tile + d, tile + e) for d in (-1, 0, 1) for e in (-1, 0, 1)}
    pages |= {(1, 10**6), (10**6, 1), (65_500, 1), (10**8, 10**8)}
    return {(w, h) for w, h in pages if w > 0 and h > 0}


@pytest.mark.parametrize("mode", ["gundam", "gundam-m"])
@pytest.mark.parametrize("max_tiles", [6, 9, 32])
def test_the_tiling_rule_is_the_public_one(mode, max_tiles):
    pytest.importorskip("transformers")
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    tile = plan_views(1, 1, mode=mode).tile_size
    compared = [page for page in sizes(tile) if max(page) > tile]  # smaller pages: no tiles, which that rule leaves out
    assert len(compared) >= 2000
    for width, height in compared:
        expected = get_optimal_tiled_canvas((height, width), (tile, tile), 2, max_tiles)
        assert plan_views(width, height, mode=mode, max_tiles=max_tiles).grid == expected, (width, height)
