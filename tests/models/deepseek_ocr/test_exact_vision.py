"""Vision of the released model against the real one, as integers: totals, each kind of operator, each module."""

import pytest
from support.compare import assert_same_modules, assert_same_operators
from support.reference import image_arguments

from modelmeter import ViewPlan, plan_views

SIDES = (512, 640, 1024, 1280)
# Every number of tiles from 2 to 9, wide and tall.
GRIDS = ((1, 2), (3, 1), (2, 2), (5, 1), (2, 3), (3, 2), (1, 7), (4, 2), (3, 3))

# In the real model the stage is `model.get_image_features`: a method, so `model` itself is not a module called.
METHODS = ("model",)


def compare(real, model, plan, batch):
    counted = real.count(lambda real: real.get_image_features(**image_arguments(plan, batch)))
    model.set_views(plan)
    model.start_vision(batch)
    trace = model.trace()
    assert trace.total.counted_flops == model.cost().counted_flops == counted.total
    assert_same_operators(trace, counted)
    assert_same_modules(trace, counted, methods=METHODS)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("side", SIDES)
def test_one_view(real, make_model, side, batch):
    compare(real, make_model(), plan_views(side, side, mode="base", base_size=side), batch)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid[0]}x{grid[1]}")
def test_tiles_and_a_global_view(real, make_model, grid):
    compare(real, make_model(), ViewPlan.from_grid(grid), batch=1)


def test_tiles_of_several_pages(real, make_model):
    compare(real, make_model(), ViewPlan.from_grid((2, 3)), batch=3)


def test_gundam_m(real, make_model):
    compare(real, make_model(), plan_views(1654, 2339, mode="gundam-m"), batch=1)


@pytest.mark.parametrize("side", SIDES)
def test_scaled_dot_product_attention(real_sdpa, make_model, side):
    compare(real_sdpa, make_model(attention="flash"), plan_views(side, side, mode="base", base_size=side), batch=1)


@pytest.mark.parametrize("grid", [(2, 3), (3, 3)], ids=["2x3", "3x3"])
def test_the_vendor_differs_in_the_fused_qkv_only(real_sdpa, make_model, grid):
    """The vendor's CLIP has one product of 3 * 1024 columns where transformers has three of 1024: equal FLOPs."""
    plan = ViewPlan.from_grid(grid)
    counted = real_sdpa.count(lambda real: real.get_image_features(**image_arguments(plan)))
    model = make_model(implementation="vendor")
    model.set_views(plan)
    model.start_vision()
    assert model.cost().counted_flops == counted.total
    assert_same_operators(model.trace(), counted)
