"""The labelled arrays: dimensions, coordinates, units, attributes, types; and as a file."""

import json

import attrs
import numpy as np
import pytest
import xarray as xr

import modelmeter as mm
from modelmeter._version import ANALYTIC_MODEL_VERSION
from modelmeter.sweeps.dimensions import DIMENSIONS
from modelmeter.sweeps.quantities import QUANTITIES, VIEW_QUANTITIES

WHOLE = [name for name, quantity in QUANTITIES.items() if quantity.units in ("FLOP", "B")]


def swept(over, stage="decode", **options):
    """A sweep of the released model."""
    return mm.sweep(mm.DeepseekOCRModel.from_config(), over, stage=stage, **options)


def test_dimensions_are_in_the_order_of_over():
    over = {"attention": ["flash", "eager"], "context_len": [9, 5, 7], "batch_size": [2]}
    found = swept(over)
    assert found.flops.dims == ("attention", "context_len", "batch_size")
    assert found.context_len.values.tolist() == [9, 5, 7]  # as given, not sorted
    assert found.attention.values.tolist() == ["flash", "eager"]


def test_views_tell_their_tokens_over_their_own_dimensions():
    over = {"batch_size": [1, 2], "grid": ["1x1", "2x3"], "attention": ["eager", "flash"]}
    found = swept(over, "vision")
    assert found.flops.dims == ("batch_size", "grid", "attention")
    assert found.image_tokens.dims == ("grid",)
    # 16 rows of 16 + 1 and a separator; 3 rows of tiles of 10 rows of 2 * 10 + 1
    assert found.image_tokens.values.tolist() == [273, 273 + 30 * 21]
    assert found.num_tiles.values.tolist() == [0, 6]


def test_every_variable_and_coordinate_says_what_it_is():
    over = {"context_len": [500, 600], "grid": ["1x1"], "precision": ["int4"], "decode_tokens": 3}
    found = mm.sweep(mm.DeepseekOCRModel.from_config(), over, stage="run", device="h200")
    assert set(found.data_vars) == {
        *VIEW_QUANTITIES,
        *(name for name, quantity in QUANTITIES.items() if "run" in quantity.stages),
    }
    for name, variable in found.data_vars.items():
        units, long_name = (
            VIEW_QUANTITIES[name] if name in VIEW_QUANTITIES else (QUANTITIES[name].units, QUANTITIES[name].long_name)
        )
        assert variable.attrs == {"units": units, "long_name": long_name}
    assert set(found.coords) == {*over, "device"}
    for name, coordinate in found.coords.items():
        assert coordinate.attrs == {"long_name": DIMENSIONS[name].long_name}


def test_the_whole_is_of_a_model_and_its_conventions():
    model = mm.DeepseekOCRModel.from_config(cache="in_place", precision=mm.Precision(weights="int4"))
    over = {"context_len": [5], "attention": ["eager", "flash"], "logits": "last"}
    found = mm.sweep(model, over, stage="decode")
    assert found.attrs["analytic_model_version"] == ANALYTIC_MODEL_VERSION
    assert found.attrs["schema"] == "modelmeter.sweep-dataset/1"
    assert found.attrs["model"] == "deepseek-ai/DeepSeek-OCR" and found.attrs["stage"] == "decode"
    expected = attrs.asdict(mm.Conventions(cache="in_place", logits="last")) | {"attention": "varied"}
    assert json.loads(found.attrs["conventions"]) == expected
    assert found.attrs["precision"] == mm.Precision(weights="int4").describe()
    assert found.attrs["views"] == "none"


@pytest.mark.parametrize(
    ("over", "views"), [({"grid": "2x3"}, "6 x 640 px + 1 x 1024 px"), ({"grid": ["2x3"]}, "varied")]
)
def test_views_are_named_where_they_do_not_vary(over, views):
    assert swept(over, "vision").attrs["views"] == views


def test_a_precision_is_named_where_it_does_not_vary():
    fixed = swept({"context_len": [5], "precision": "int8"})
    assert fixed.attrs["precision"] == mm.Precision(weights="int8").describe()
    assert swept({"context_len": [5], "precision": ["int8"]}).attrs["precision"] == "varied"


PRECISIONS = {
    "int4": mm.Precision(weights="int4"),
    "int4, groups of 64": mm.Precision(weights="int4", group_size=64),
    "fp8 in decoder+lm_head, activations fp8, kv fp8": mm.Precision(
        weights="fp8", activations="fp8", kv="fp8", parts=("decoder", "lm_head")
    ),
}
LABELS = {  # dimension: (values, labels)
    "precision": (list(PRECISIONS.values()), list(PRECISIONS)),
    "coverage": ([6, 12.5], [6.0, 12.5]),
    "elementwise": ([True, False], [True, False]),
    "num_hidden_layers": (range(1, 4), [1, 2, 3]),
    "cache": (np.array(["concat", "in_place"]), ["concat", "in_place"]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels(name):
    values, labels = LABELS[name]
    assert swept({"context_len": 9, name: values}, quantities="flops")[name].values.tolist() == labels


def test_devices_are_labelled_by_name():
    found = swept({"context_len": 9}, device=[mm.get_device("h200"), "b300"], quantities="seconds")
    assert found.device.values.tolist() == ["h200", "b300"]


@pytest.mark.parametrize(
    "values",
    [
        [5, 900],
        (5, 900),
        range(5, 1000, 895),
        np.array([5, 900]),
        np.array([5, 900], np.uint64),
        np.array([5, 900], object),
        (size for size in (5, 900)),
        xr.DataArray([5, 900], dims="context_len"),
        xr.DataArray([5, 900], dims="context_len").to_index(),
        xr.DataArray([5, 900], dims="context_len").to_series(),
    ],
    ids=["list", "tuple", "range", "array", "unsigned", "objects", "generator", "labelled", "index", "series"],
)
def test_values_of_a_size_may_come_as(values):
    found = swept({"context_len": values}, quantities="kv_cache_bytes")
    assert found.context_len.dtype == np.int64
    assert found.kv_cache_bytes.values.tolist() == [61_440 * 5, 61_440 * 900]  # 2 * 12 layers * 10 heads * 128, bf16


@pytest.mark.parametrize("value", [5, np.int64(5), np.array(5), xr.DataArray(5)], ids=["int", "scalar", "0-d", "label"])
def test_one_value_is_no_dimension(value):
    found = swept({"context_len": value}, quantities="kv_cache_bytes")
    assert found.kv_cache_bytes.dims == () and found.kv_cache_bytes.item() == 61_440 * 5


@pytest.mark.parametrize(
    "pages", [["500x600", "1654x2339"], [(500, 600), (1654, 2339)], np.array([[500, 600], [1654, 2339]])]
)
def test_pairs_may_come_as(pages):
    found = swept({"page": pages}, "vision", quantities="flops")
    assert found.page.values.tolist() == ["500x600", "1654x2339"]


def test_whole_numbers_are_int64_where_all_fit():
    found = swept({"context_len": [1, 100_000], "batch_size": [1, 512]}, "prefill", device="h200")
    for name, variable in found.data_vars.items():
        assert variable.dtype == (np.int64 if name in WHOLE else np.float64), name


def test_whole_numbers_are_floats_where_one_does_not_fit():
    model = mm.DeepseekOCRModel.from_config()
    over = {"context_len": [10, 10**9], "batch_size": [1, 10**6]}
    found = mm.sweep(model, over, stage="prefill")
    model.start_prefill(10**9, 10**6)
    cost = model.get_forward_cost().cost
    assert cost.flops > 2**63 > cost.weight_read_bytes
    assert found.flops.dtype == np.float64 and found.weight_read_bytes.dtype == np.int64
    assert found.flops.values[1, 1] == float(cost.flops)
    assert found.weight_read_bytes.values[1, 1] == cost.weight_read_bytes


def test_a_single_number_beyond_int64_is_a_float():
    # 61,440 bytes a token: 2**64 / 61,440 is 3.0e14 tokens, so that the cache is between 2**63 and 2**64 bytes
    found = swept({"context_len": 2 * 10**14, "batch_size": 1}, quantities="kv_cache_bytes")
    assert 2**63 < 61_440 * 2 * 10**14 < 2**64
    assert found.kv_cache_bytes.dtype == np.float64
    assert found.kv_cache_bytes.item() == float(61_440 * 2 * 10**14)


def test_sums_of_sizes_do_not_wrap():
    longest = 2**63 - 1
    found = swept({"prompt_tokens": [1, longest], "grid": ["1x1"]}, "prefill", quantities="kv_cache_bytes")
    assert found.kv_cache_bytes.values.ravel().tolist() == [61_440 * 274, float(61_440 * (longest + 273))]
    run = {"context_len": [1, 2**62], "decode_tokens": [1, 2**62]}
    ends = swept(run, quantities="kv_cache_bytes").kv_cache_bytes.values
    assert ends[1, 1] == 61_440 * 2**63


@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_a_file_gives_it_back(tmp_path, ending):
    over = {
        "context_len": [5, 913],
        "grid": ["1x1", "2x3"],
        "attention": ["eager", "flash"],
        "elementwise": [True, False],
        "coverage": ["expected", 7.5],
        "batch_size": 3,
        "precision": "int4",
    }
    found = swept(over, device=["h200", "b300"])
    path = tmp_path / f"sweep.{ending}"
    if ending == "nc":
        found.to_netcdf(path)
        with xr.open_dataset(path) as opened:
            again = opened.load()
    else:
        found.to_zarr(path, zarr_format=2, consolidated=True)
        again = xr.open_zarr(path).load()
    xr.testing.assert_identical(again[list(found.data_vars)], found)
