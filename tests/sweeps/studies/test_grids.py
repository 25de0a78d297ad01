"""Studies over grids, modes and sides: what varies, what a point is of, and numbers as the model gives them alone."""

import pytest

from modelmeter import DeepseekOCRModel, ModelMeterError, ViewPlan, plan_views
from modelmeter.models.deepseek_ocr.views import MODES
from modelmeter.sweeps.shapes import Shape, generate_shapes, read_shapes
from modelmeter.sweeps.studies import grids

from .conftest import TOKEN

SHAPES = [Shape.of(1, 1), Shape.of(2, 3), Shape.of(5, 2)]
GLOBAL = 16 * 17 + 1  # tokens of the global view of 1024: 16 rows of 16 and a newline, and the separator


def tiles(width, height):
    """Tokens of tiles of 640: 10 features a side, a newline a row."""
    return (10 * width + 1) * 10 * height


@pytest.mark.parametrize("study", [grids.vision, grids.prefill, grids.decode])
def test_every_point_says_what_its_pages_are(setup, study):
    for dataset in study(setup, SHAPES).datasets.values():
        assert dict(dataset.sizes) == {"grid": 3, "attention": 2}
        assert dataset["grid"].values.tolist() == ["1x1", "2x3", "5x2"]
        assert dataset["image_tokens_crops"].values.tolist() == [0, tiles(2, 3), tiles(5, 2)]
        assert dataset["image_tokens_total"].values.tolist() == [GLOBAL + n for n in (0, tiles(2, 3), tiles(5, 2))]
        assert dataset["width_crop_num"].values.tolist() == [1, 2, 5]
        assert dataset["height_crop_num"].values.tolist() == [1, 3, 2]
        assert dataset["vendor"].values.tolist() == [True, True, False]  # 10 tiles are beyond 9


def test_vision_is_what_the_model_says(setup, agrees, grid_views):
    dataset = grids.vision(setup, SHAPES, batch_size=3).datasets["vision"]
    for kind in ("eager", "flash"):
        model = DeepseekOCRModel.from_config(attention=kind)
        for label in dataset["grid"].values:
            model.set_views(grid_views(label))
            model.start_vision(3)
            agrees(dataset, model, grid=label, attention=kind)


def test_prefill_holds_its_vision_and_its_prompt(setup, agrees, grid_views):
    datasets = grids.prefill(setup, SHAPES, prompt_tokens=512, batch_size=2).datasets
    assert list(datasets) == ["vision", "prefill"]
    contexts = [GLOBAL + n + 512 for n in (0, tiles(2, 3), tiles(5, 2))]
    assert datasets["prefill"]["context_len"].values.tolist() == contexts
    held = datasets["prefill"]["kv_cache_bytes"].sel(attention="flash").values.tolist()
    assert held == [2 * context * TOKEN for context in contexts]
    model = DeepseekOCRModel.from_config(attention="flash")
    model.set_views(grid_views("5x2"))
    model.start_prefill(contexts[2], 2)
    agrees(datasets["prefill"], model, grid="5x2", attention="flash")


def test_decode_sums_its_steps(setup, grid_views):
    datasets = grids.decode(setup, SHAPES[1:2], decode_steps=3).datasets
    context = GLOBAL + tiles(2, 3) + 10
    for kind in ("eager", "flash"):
        model = DeepseekOCRModel.from_config(attention=kind)
        model.set_views(grid_views("2x3"))
        model.start_prefill(context)
        model.start_decode()
        flops = moved = 0
        for _ in range(3):
            flops, moved = flops + model.cost().flops, moved + model.cost().io_bytes
            model.decode_one_token()
        here = datasets["decode"].sel(grid="2x3", attention=kind)
        assert (int(here["flops"]), int(here["io_bytes"])) == (flops, moved)
        assert int(here["kv_cache_bytes"]) == (context + 3) * TOKEN
    assert int(datasets["decode"].coords["decode_tokens"]) == 3
    assert grids.decode(setup, SHAPES[:1]).datasets["decode"].coords["decode_tokens"] == 100


def test_sides_of_the_views(setup, agrees):
    dataset = grids.vision(setup, SHAPES, sides={"base_size": 1280, "tile_size": 1024}).datasets["vision"]
    model = DeepseekOCRModel.from_config()
    model.set_views(ViewPlan.from_grid((2, 3), base_size=1280, tile_size=1024))
    model.start_vision()
    agrees(dataset, model, grid="2x3", attention="eager")


def test_modes_and_sides_of_a_page(setup, agrees):
    modes = grids.vision_modes(setup, (1654, 2339)).datasets["vision"]
    assert modes["mode"].values.tolist() == list(MODES)
    assert modes["width_crop_num"].values.tolist() == [1, 1, 1, 1, 2, 2]  # the last two have tiles
    sides = grids.vision_sides(setup, (1654, 2339), base_sides=[640, 1024], tile_sides=[512]).datasets["vision"]
    model = DeepseekOCRModel.from_config()
    for dataset, place, views in (
        (modes, {"mode": "gundam-m"}, plan_views(1654, 2339, mode="gundam-m")),
        (sides, {"base_size": 640, "tile_size": 512}, plan_views(1654, 2339, base_size=640, tile_size=512)),
    ):
        model.set_views(views)
        model.start_vision()
        agrees(dataset, model, attention="eager", **place)


def test_the_lists_of_shapes_are_swept_without_a_warning(setup):
    for shapes in (read_shapes(), generate_shapes(12)):
        assert grids.decode(setup, shapes).warnings == ()


def test_no_shapes(setup):
    with pytest.raises(ModelMeterError, match="no shapes"):
        grids.vision(setup, [])
