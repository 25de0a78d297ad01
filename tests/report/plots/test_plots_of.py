"""The plots of a study: which there are, units on every axis, curves by name, and the dataset's own numbers in them."""

import re

import numpy as np
import pytest
import xarray as xr
from support.figures import bars, labels, legend, line, panels, ticks

from modelmeter import ModelMeterError
from modelmeter.hardware.page_time import required_rates
from modelmeter.report.plots import plots_of
from modelmeter.report.plots.choose import RESIDENT, ROLES

from .conftest import DEVICES, GRIDS, LENGTHS, study

COSTS = {"flops", "intensity", "peak-activations", "kv-cache", "tensor-and-cuda-flops", "bytes-by-role"} | {
    "resident-memory"
}
TIMES = {"latency", "roofline"}
GIB = 2**30


@pytest.fixture(scope="module")
def drawn(grids, lengths, precisions, pages):
    """The figures of each study."""
    return {one.name: plots_of(one) for one in (grids, lengths, precisions, pages)}


def test_plots_fit_what_a_study_has(drawn):
    assert set(drawn["grids"]) == COSTS | {"required-throughput"}
    assert set(drawn["lengths"]) == COSTS | {"required-throughput"} | TIMES
    assert set(drawn["precisions"]) == COSTS | {"required-throughput"} | TIMES
    assert set(drawn["pages"]) == COSTS | {"required-throughput"} | TIMES | {"distribution"}


def test_every_axis_has_a_name_and_a_unit_or_names_categories(drawn):
    for name, figures in drawn.items():
        for plot, figure in figures.items():
            for axes in figure.axes:
                for which in ("x", "y"):
                    label, words = getattr(axes, f"get_{which}label")(), ticks(axes, which)
                    spelled = bool(words) and all(re.search("[a-z]", word) for word in words)
                    assert spelled or re.fullmatch(r".+ \(.+\)", label), (name, plot, which, label)
            assert labels(figure)


def test_units_are_those_of_the_quantities(drawn):
    units = {
        "flops": "FLOP",
        "intensity": "FLOP per byte",
        "peak-activations": "B",
        "kv-cache": "B",
        "tensor-and-cuda-flops": "FLOP",
        "bytes-by-role": "B",
        "resident-memory": "B",
        "latency": "s",
        "required-throughput": "/s",
        "roofline": "FLOP/s",
    }
    for plot, figure in drawn["lengths"].items():
        assert all(axes.get_ylabel().endswith(f"{units[plot]})") for axes in figure.axes), plot
        assert all(axes.get_xlabel().endswith(("(tokens)", "(FLOP per byte moved)")) for axes in figure.axes), plot


def test_stages_stand_in_their_order_and_keep_to_themselves(drawn):
    assert list(panels(drawn["grids"]["flops"])) == ["vision", "prefill", "decode: decode steps 100"]
    assert list(panels(drawn["grids"]["kv-cache"])) == ["prefill", "decode: decode steps 100"]  # vision holds none


@pytest.mark.parametrize(
    ("plot", "variable", "factor"),
    [
        ("flops", "flops", {"prefill": 1e12, "decode": 1e9}),
        ("intensity", "arithmetic_intensity", {"prefill": 1, "decode": 1}),
        ("peak-activations", "activation_peak_bytes", {"prefill": GIB, "decode": 2**10}),
        ("kv-cache", "kv_cache_bytes", {"prefill": 2**20, "decode": 2**20}),
    ],
)
@pytest.mark.parametrize("attention", ["eager", "flash"])
def test_lines_are_the_datasets_numbers(lengths, drawn, plot, variable, factor, attention):
    figure = drawn["lengths"][plot]
    for axes, (stage, dataset) in zip(figure.axes, lengths.datasets.items(), strict=True):
        x, y = line(axes, attention)
        np.testing.assert_array_equal(x, LENGTHS)
        np.testing.assert_array_equal(y, dataset[variable].sel(attention=attention) / factor[stage])
        assert axes.get_title().startswith(stage)
    assert legend(figure) == ["eager", "flash"]


def test_tensor_and_cuda_flops_are_on_one_logarithmic_axis(lengths, drawn):
    figure = drawn["lengths"]["tensor-and-cuda-flops"]
    assert legend(figure) == [
        f"{unit}, {kind}" for unit in ("tensor cores", "CUDA cores") for kind in ("eager", "flash")
    ]
    for axes, dataset, factor in zip(figure.axes, lengths.datasets.values(), (1e12, 1e9), strict=True):
        assert axes.get_yscale() == "log"
        for name, variable in (("tensor cores", "tensor_flops"), ("CUDA cores", "cuda_flops")):
            _, y = line(axes, f"{name}, flash")
            np.testing.assert_array_equal(y, dataset[variable].sel(attention="flash") / factor)


def test_grids_are_at_their_image_tokens_and_named(grids, drawn):
    axes = drawn["grids"]["flops"].axes[0]
    tokens = np.sort(grids.datasets["vision"].image_tokens)
    x, _ = line(axes, "eager")
    np.testing.assert_array_equal(x, tokens)
    (names,) = axes.child_axes
    named = " ".join(text.get_text() for text in names.get_xticklabels()).split()
    assert sorted(named) == sorted(f"{w}x{h}" for w, h in GRIDS)


def tops(axes):
    """The upper edge of each filled area, left to right."""
    found = []
    for area in axes.collections:
        (path,) = area.get_paths()
        corners = path.vertices
        found.append([corners[corners[:, 0] == x, 1].max() for x in np.unique(corners[:, 0])])
    return np.array(found)


@pytest.mark.parametrize(
    ("plot", "parts", "total"), [("bytes-by-role", ROLES, "io_bytes"), ("resident-memory", RESIDENT, "resident_bytes")]
)
def test_stacked_areas_end_at_the_total(lengths, drawn, plot, parts, total):
    for title, axes in panels(drawn["lengths"][plot]).items():
        stage, attention = title.split(",")[0].split(": ")
        dataset = lengths.datasets[stage].sel(attention=attention)
        assert axes.get_ylabel().endswith("(GiB)")
        np.testing.assert_allclose(tops(axes)[-1], dataset[total] / GIB, rtol=1e-12)
        first = next(iter(parts))
        np.testing.assert_allclose(tops(axes)[0], dataset[first] / GIB, rtol=1e-12)
    assert set(legend(drawn["lengths"][plot])) == {name for name, _ in parts.values()}


def test_eager_and_flash_stacks_of_a_stage_have_one_scale(drawn):
    figures = panels(drawn["lengths"]["bytes-by-role"])
    assert figures["prefill: eager"].get_ylim() == figures["prefill: flash"].get_ylim()


def test_stacked_bars_are_the_datasets_numbers(precisions, drawn):
    (axes,) = drawn["precisions"]["bytes-by-role"].axes
    dataset = precisions.datasets["prefill"]
    for variable, (name, _) in ROLES.items():
        assert bars(axes, name) == pytest.approx(dataset[variable].values / GIB, rel=1e-12)
    assert ticks(axes, "y") == ["bf16", "fp8", "int4"]


def test_names_along_x_are_bars(precisions, drawn):
    (axes,) = drawn["precisions"]["intensity"].axes
    assert bars(axes, None) == precisions.datasets["prefill"].arithmetic_intensity.values.tolist()
    assert axes.get_title() == "prefill: context length 1,000"
    assert legend(drawn["precisions"]["intensity"]) == []  # one quantity needs none: the axis names it


def test_ttft_and_tpot_by_device(lengths, drawn):
    ttft, tpot = drawn["lengths"]["latency"].axes
    assert (ttft.get_ylabel(), tpot.get_ylabel()) == ("TTFT (ms)", "TPOT (ms)")
    for device in DEVICES:
        chosen = {"device": device, "attention": "flash"}
        _, y = line(ttft, f"flash, {device}")
        np.testing.assert_allclose(y, lengths.datasets["prefill"].seconds.sel(chosen) * 1e3, rtol=1e-12)
        _, y = line(tpot, f"flash, {device}")
        np.testing.assert_allclose(y, lengths.datasets["decode"].seconds.sel(chosen) / 16 * 1e3, rtol=1e-12)


def test_a_run_has_both_times_and_its_stages_are_not_drawn_again(pages, drawn):
    titles = list(panels(drawn["pages"]["latency"]))
    assert [title.split(",")[0] for title in titles] == ["vision", "TTFT", "TPOT"]
    axes = drawn["pages"]["latency"].axes[1]
    _, y = line(axes, "flash")
    expected = pages.datasets["run"].ttft_seconds.sel(attention="flash").values
    assert sorted(y) == pytest.approx(sorted(expected * 1e3), rel=1e-12)


def test_required_throughput_is_that_of_the_cost(model, drawn):
    axes = drawn["lengths"]["required-throughput"].axes
    model.set_views(None)
    model.start_prefill(1024)
    wanted = required_rates(model.cost(), 1.0)
    at = LENGTHS.index(1024)
    assert line(axes[0], "eager")[1][at] == pytest.approx(wanted.flops / 1e12, rel=1e-12)
    assert line(axes[1], "eager")[1][at] == pytest.approx(wanted.num_bytes / 1e9, rel=1e-12)
    run = model.simulate_run(16).decode.cost
    step = required_rates(run, 16 * 0.05)  # 16 steps of 0.05 s
    assert line(axes[2], "eager")[1][at] == pytest.approx(step.flops / 1e9, rel=1e-12)
    assert line(axes[3], "eager")[1][at] == pytest.approx(step.num_bytes / 1e9, rel=1e-12)
    assert [one.get_ylabel().split("(")[1] for one in axes] == ["TFLOP/s)", "GB/s)", "GFLOP/s)", "GB/s)"]


def test_roofline_points_are_flops_per_byte_and_second(lengths, drawn):
    figure = drawn["lengths"]["roofline"]
    assert [title.split(",")[0] for title in panels(figure)] == ["NVIDIA L4 24 GB", "NVIDIA H200 SXM 141 GB"]
    for axes, device in zip(figure.axes, DEVICES, strict=True):
        for stage, dataset in lengths.datasets.items():
            one = dataset.sel(device=device, attention="eager")
            x, y = line(axes, f"{stage}, eager")
            np.testing.assert_allclose(x, one.flops / one.io_bytes, rtol=1e-12)
            np.testing.assert_allclose(y, one.flops / one.seconds, rtol=1e-12)
    written = [text.get_text() for text in figure.axes[1].texts]
    assert {"fp16, bf16 tensor: 989 TFLOP/s", "4.8 TB/s"} <= set(written)
    assert {"300 GB/s"} <= {text.get_text() for text in figure.axes[0].texts}


def test_fused_and_unknown_devices_are_on_no_roofline(lengths):
    own = {stage: one.assign_coords(device=["mine", "h200"]) for stage, one in lengths.datasets.items()}
    assert len(plots_of(study("own", **own))["roofline"].axes) == 1
    fused = {stage: one.assign_coords(execution="fused") for stage, one in lengths.datasets.items()}
    assert "roofline" not in plots_of(study("fused", **fused))


def test_histograms_count_pages(drawn):
    tokens = panels(drawn["pages"]["distribution"])["image tokens"]
    heights = [bar.get_height() for bar in tokens.patches]
    assert sum(heights) == 3 + 2
    assert (heights[0], heights[-1]) == (3, 2)  # without tiles, and A4
    quantiles = {one.get_label(): one.get_xdata()[0] for one in tokens.lines}
    # Three of five pages have the 273 tokens of the global view; A4 has 2 x 3 tiles: 273 + 30 * (20 + 1).
    assert quantiles == {"50% quantile": 273, "90% quantile": 273 + 630, "99% quantile": 273 + 630}


def test_what_was_measured_is_drawn_beside_ours(lengths):
    ours = lengths.datasets["prefill"]
    measured = ours.assign(measured_counted_flops=ours.counted_flops)
    figure = plots_of(study("measured", prefill=measured))["counted-flops"]
    assert legend(figure) == ["eager", "flash", "eager, measured", "flash, measured"]
    (axes,) = figure.axes
    np.testing.assert_array_equal(line(axes, "eager, measured")[1], line(axes, "eager")[1])
    styles = {one.get_label(): one.get_linestyle() for one in axes.lines}
    assert styles["eager, measured"] == "None" != styles["eager"]


def test_where_nothing_varies_there_is_nothing_to_draw():
    assert plots_of(study("point", prefill=xr.Dataset({"flops": 3}))) == {}
    assert plots_of(study("empty")) == {}


def test_stages_of_another_name_come_last():
    dataset = xr.Dataset({"flops": ("batch_size", [1, 2])}, {"batch_size": [1, 2]})
    figure = plots_of(study("more", other=dataset, decode=dataset))["flops"]
    assert list(panels(figure)) == ["decode", "other"]


def test_what_is_no_study_is_refused():
    with pytest.raises(ModelMeterError, match=r"plots_of\(\) takes a Study, .* not Dataset"):
        plots_of(xr.Dataset())
