"""From labelled arrays to curves: which dimension goes where, and that no number is lost or changed."""

import numpy as np
import pytest
import xarray as xr

from modelmeter.report.plots.curves import MOST_BARS, MOST_CURVES, MOST_POINTS, curves_of, layout_of, spread


def array(**sizes):
    """Numbers 1, 2, ... over dimensions: sizes are coordinates."""
    shape = [len(values) for values in sizes.values()]
    values = np.arange(1, 1 + np.prod(shape)).reshape(shape)
    return xr.DataArray(values, dims=list(sizes), coords={name: list(one) for name, one in sizes.items()})


def names(count):
    return [f"device-{i}" for i in range(count)]


def test_the_longest_numeric_dimension_is_along_x():
    layout = layout_of(array(attention=["eager", "flash"], batch_size=[1, 2], context_len=[1, 2, 3]))
    assert (layout.along, layout.across, layout.held) == ("context_len", ("attention", "batch_size"), {})


def test_a_grid_goes_before_numbers_and_numbers_before_names():
    assert layout_of(array(grid=["1x1", "2x1"], batch_size=[1, 2, 3])).along == "grid"
    assert layout_of(array(device=names(5), batch_size=[1, 2])).along == "batch_size"
    assert layout_of(array(device=names(5), precision=["a", "b"])).along == "device"


def test_what_makes_too_many_curves_is_held():
    layout = layout_of(array(context_len=[1, 2, 3], attention=["eager", "flash"], device=names(4), batch_size=[1, 2]))
    assert (layout.across, layout.held) == (("attention", "device"), {"batch_size": 0})


def test_dimensions_of_one_value_are_held_unless_all_are():
    assert layout_of(array(context_len=[1, 2], batch_size=[4])).held == {"batch_size": 0}
    assert layout_of(array(context_len=[1], attention=["eager"])).along == "context_len"


def test_without_a_dimension_or_with_too_many_names_there_is_no_layout():
    assert layout_of(xr.DataArray(3)) is None
    assert layout_of(array(device=names(MOST_BARS))).along == "device"
    assert layout_of(array(device=names(MOST_BARS + 1))) is None


@pytest.mark.parametrize(("count", "most"), [(1, 5), (5, 5), (7, 5), (100, 8), (10**8, 400)])
def test_spread_indices_have_both_ends_and_are_no_more_than_asked(count, most):
    found = spread(count, most)
    assert (found[0], found[-1]) == (0, count - 1)
    assert len(found) == min(count, most)
    assert (np.diff(found) >= 1).all()


def test_each_curve_has_the_numbers_of_its_labels():
    values = array(context_len=[10, 20, 30], attention=["eager", "flash"], device=["a", "b"])
    curves, fixed = curves_of(xr.Dataset({"flops": values}), {"flops": ""})
    assert fixed == ""
    assert [curve.name for curve in curves] == ["eager, a", "eager, b", "flash, a", "flash, b"]
    for curve in curves:
        attention, device = curve.name.split(", ")
        np.testing.assert_array_equal(curve.y, values.sel(attention=attention, device=device))
        np.testing.assert_array_equal(curve.x, [10, 20, 30])
    looks = {curve.name: curve.look for curve in curves}
    assert looks["eager, a"].colour == looks["flash, a"].colour != looks["eager, b"].colour
    assert looks["eager, a"].line != looks["flash, a"].line


def test_many_curves_and_points_are_thinned_evenly():
    values = array(context_len=range(1, 2001), batch_size=range(1, 21))
    curves, _ = curves_of(xr.Dataset({"flops": values}), {"flops": ""})
    assert len(curves) == MOST_CURVES and len(curves[0].x) == MOST_POINTS
    assert [curves[0].name, curves[-1].name] == ["batch size 1", "batch size 20"]
    np.testing.assert_array_equal(curves[-1].y, values.sel(batch_size=20, context_len=curves[-1].x))


def test_what_is_held_or_fixed_is_told():
    values = array(context_len=[1, 2], device=names(5), batch_size=[1, 7]).assign_coords(decode_tokens=100, pages=3)
    curves, fixed = curves_of(xr.Dataset({"seconds": values}), {"seconds": ""})
    assert fixed == "batch size 1, decode steps 100"  # the coordinate pages is no dimension of sweeps
    np.testing.assert_array_equal(curves[0].y, values.sel(batch_size=1, device="device-0"))


def test_a_modes_own_sides_are_told_only_where_they_are_held():
    values = array(context_len=[1, 2, 3]).assign_coords(tile_size=640, prompt_tokens=10)
    assert curves_of(xr.Dataset({"flops": values}), {"flops": ""})[1] == ""  # and the prompt counts in the context
    values = array(base_size=[512, 640, 1024], tile_size=[512, 640], attention=["eager", "flash"])
    curves, fixed = curves_of(xr.Dataset({"flops": values}), {"flops": ""}, most=2)
    assert ([curve.name for curve in curves], fixed) == (["eager", "flash"], "side of a tile 512")


def test_bars_of_flash_are_hatched_on_every_device():
    values = array(precision=["bf16", "int4", "fp8"], attention=["eager", "flash"], device=["a", "b"])
    curves, _ = curves_of(xr.Dataset({"seconds": values}), {"seconds": ""})
    assert {curve.name: bool(curve.look.hatch) for curve in curves} == {
        "eager, a": False,
        "eager, b": False,
        "flash, a": True,
        "flash, b": True,
    }


def test_costs_name_no_device():
    values = array(context_len=[1, 2]).assign_coords(device="h200")
    assert curves_of(xr.Dataset({"flops": values}), {"flops": ""})[1] == ""
    assert curves_of(xr.Dataset({"seconds": values}), {"seconds": ""})[1] == "h200"


def test_what_is_absent_zero_or_no_number_has_no_curve():
    none = xr.full_like(array(context_len=[1, 2]), np.nan, dtype=float)
    dataset = xr.Dataset({"zero": array(context_len=[1, 2]) * 0, "none": none, "one": xr.DataArray(1)})
    for name in ("zero", "none", "one", "absent"):
        assert curves_of(dataset, {name: ""}) == ([], "")


def test_what_was_measured_stands_beside_it():
    values = array(context_len=[10, 20, 30], attention=["eager", "flash"])
    measured = (values * 1.5).where(values.context_len != 20)
    curves, _ = curves_of(xr.Dataset({"flops": values, "measured_flops": measured}), {"flops": ""})
    assert [curve.name for curve in curves] == ["eager", "flash", "eager, measured", "flash, measured"]
    np.testing.assert_array_equal(curves[2].y, measured.sel(attention="eager"))
    assert {curve.look.line for curve in curves if curve.measured} == {"none"}
    assert len({(curve.look.colour, curve.look.marker) for curve in curves}) == 4


def test_several_quantities_are_told_by_colour_and_attention_by_line():
    values = array(context_len=[10, 20], attention=["eager", "flash"])
    curves, _ = curves_of(xr.Dataset({"a": values, "b": values}), {"a": "A", "b": "B"})
    looks = {curve.name: curve.look for curve in curves}
    assert list(looks) == ["A, eager", "A, flash", "B, eager", "B, flash"]
    assert looks["A, eager"].colour == looks["A, flash"].colour != looks["B, eager"].colour
    assert looks["A, flash"].line == looks["B, flash"].line != looks["A, eager"].line


def test_grids_stand_at_their_image_tokens():
    tokens = array(grid=["1x1", "3x2", "2x3"]).copy(data=[273, 893, 903])
    dataset = xr.Dataset({"flops": array(grid=["1x1", "3x2", "2x3"]), "image_tokens": tokens})
    (curve,), _ = curves_of(dataset, {"flops": ""})
    assert (curve.along, curve.points) == ("image_tokens", ("1x1", "3x2", "2x3"))
    np.testing.assert_array_equal(curve.x, [273, 893, 903])
    (named,), _ = curves_of(dataset.drop_vars("image_tokens"), {"flops": ""})
    assert named.categories and named.along == "grid"
