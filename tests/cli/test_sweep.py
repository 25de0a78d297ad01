"""`modelmeter sweep`: every study as a user runs it, its folder, and what is refused in one line."""

import json
import shutil

import pytest
import xarray as xr

from modelmeter.cli.sweep.values import over_of, values_of
from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware import catalogue
from modelmeter.report.study import read_study

from .conftest import SAMPLE, TOKEN

DATA = {"sweep.json", "sweep.csv", "sweep.parquet", "sweep.sqlite", "sweep.nc", "README.md"}


@pytest.fixture(autouse=True)
def no_devices_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "user_file", lambda: tmp_path / "none.toml")


STUDIES = {
    "batch": ["--batch-sizes", "1", "2", "4", "--context-len", "64"],
    "decode": ["--max-tiles", "3", "--decode-steps", "5", "--device", "h200"],
    "device": ["h200", "l40s", "--execution", "eager,graph"],
    "experts": ["--top-k", "1,6", "--numbers", "8,64", "--coverages", "max,3", "--context-len", "4"],
    "kv-heads": ["1", "10", "--context-len", "16,32"],
    "pages": [SAMPLE, "600x620", "--decode-steps", "4"],
    "precision": ["bf16", "int4", "--kv-kinds", "bf16,int8", "--context-len", "9"],
    "prefill": ["--base-size", "640", "--batch-size", "2"],
    "seq-len": ["--seq-lens", "256", "512", "1024", "--decode-steps", "16", "--batch-size", "1"],
    "vision": ["--attention", "flash"],
    "custom": ["--over", "context_len=1:65:16", "--over", "batch_size=1,2", "--stage", "decode", "--device", "h200"],
}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_and_its_folder(program, valid, tmp_path, name):
    place = tmp_path / "out"
    done = program("sweep", name, *STUDIES[name], "-o", place, "--no-plots")
    assert (done.code, done.complaints) == (0, [])
    assert f"wrote {place}" in done.err and "README.md" in done.err
    assert {path.name for path in place.iterdir()} >= DATA
    data = valid((place / "sweep.json").read_text(encoding="utf-8"))
    assert data["study"] == name
    assert data["command"].startswith(f"modelmeter sweep {name}")
    study = read_study(place)
    assert study.description in done.out
    assert all(f"{stage}" in done.out for stage in study.datasets)


def test_the_scaling_file(program, valid, tmp_path):
    assert program("sweep", "seq-len", "--seq-lens", "256", "512", "-o", tmp_path / "a", "-q", "--no-plots").code == 0
    data = valid((tmp_path / "a" / "analytic_scaling.json").read_text(encoding="utf-8"))
    assert [point["seq_len_prefill"] for point in data["points"]] == [256, 512]
    assert [point["decode"]["kv_cache_bytes"] for point in data["points"]] == [272 * TOKEN, 528 * TOKEN]  # 16 steps


def test_without_a_folder_it_prints_only(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = program("sweep", "vision", "--by", "mode")
    assert (done.code, done.err) == (0, "")
    assert "gundam-m" in done.out
    assert list(tmp_path.iterdir()) == []


def test_quiet(program, tmp_path):
    done = program("sweep", "vision", "--by", "side", "-o", tmp_path / "a", "-q", "--no-plots")
    assert done == (0, "", "")
    assert {path.name for path in (tmp_path / "a").iterdir()} == DATA


def test_plots_by_default(program, tmp_path):
    assert program("sweep", "kv-heads", "1", "10", "-o", tmp_path / "a", "-q").code == 0
    assert {"flops.svg", "flops.png"} < {path.name for path in (tmp_path / "a").iterdir()}


def test_shapes_for_a_study(program, tmp_path):
    for name in ("a.yaml", "a.db"):
        assert program("sweep", "shapes", "--max-tiles", "12", "-o", tmp_path / name).code == 0
        done = program("sweep", "prefill", "--shapes", tmp_path / name, "-o", tmp_path / "out", "-q", "--no-plots")
        assert done.code == 0
        points = json.loads((tmp_path / "out" / "sweep.json").read_text(encoding="utf-8"))["points"]
        assert max(point["width_crop_num"] * point["height_crop_num"] for point in points) == 12
        assert {point["vendor"] for point in points} == {True, False}
        shutil.rmtree(tmp_path / "out")


def test_pages_of_a_csv_and_a_bad_file(program, tmp_path):
    (tmp_path / "sizes.csv").write_text("width,height,pages\n1654,2339,90\n600,600,10\n")
    done = program("sweep", "pages", tmp_path / "sizes.csv", tmp_path / "none.pdf", "-o", tmp_path / "a", "--no-plots")
    assert done.code == 1
    assert [("none.pdf" in line) for line in done.complaints] == [True]
    points = json.loads((tmp_path / "a" / "sweep.json").read_text(encoding="utf-8"))["points"]
    assert {point["dimensions"]["grid"]: point["pages"] for point in points} == {"1x1": 10, "2x3": 90}


def test_force(program, refused, tmp_path):
    place = tmp_path / "a"
    arguments = ("sweep", "vision", "--by", "mode", "-o", place, "-q", "--no-plots")
    assert program(*arguments).code == 0
    assert "--force" in refused(*arguments)
    assert program(*arguments, "--force").code == 0
    assert "holds the study vision" in refused("sweep", "prefill", "-o", place, "--force")


def test_a_warning_is_told(program, monkeypatch):
    from modelmeter.sweeps.studies import setup

    monkeypatch.setattr(setup, "find_absurd", lambda datasets: ("decode: cannot be",))
    done = program("sweep", "vision", "--by", "mode")
    assert (done.code, done.complaints) == (0, ["modelmeter: decode: cannot be"])


def test_a_store(program, refused, tmp_path):
    store = tmp_path / "a.zarr"
    over = ["--over", "context_len=1:100", "--over", "batch_size=1,2,4", "--quantities", "flops,kv_cache_bytes"]
    arguments = ["sweep", "custom", *over, "--stage", "decode", "--device", "h200", "--store", store, "--chunks", "50"]
    done = program(*arguments)
    assert (done.code, done.complaints) == (0, [])
    assert "context_len 100 x batch_size 3: flops, kv_cache_bytes" in done.out
    with xr.open_zarr(store) as dataset:
        held = dataset["kv_cache_bytes"].sel(context_len=100).values.tolist()
    assert held == [100 * TOKEN * batch for batch in (1, 2, 4)]
    assert "drop --output" in refused(*arguments, "-o", tmp_path / "b")
    assert "--chunks is of --store" in refused("sweep", "custom", *over, "--stage", "decode", "--chunks", "5")


def test_a_store_asked_again_by_another_process_is_found(process):
    arguments = ("sweep", "custom", "--over", "context_len=1:50", "--stage", "decode", "--device", "h200")
    for seed in "12":  # a set's order differs
        done = process(*arguments, "--store", "a.zarr", "--chunks", "20", PYTHONHASHSEED=seed)
        assert (done.code, done.complaints) == (0, [])


@pytest.mark.slow
def test_measured_flops(program, tmp_path):
    done = program(
        *("sweep", "seq-len", "--seq-lens", "8,16", "--decode-steps", "2", "--measure-flops"),
        *("--attention", "eager", "-o", tmp_path / "a", "--no-plots"),
    )
    assert (done.code, done.complaints) == (0, [])
    for point in json.loads((tmp_path / "a" / "sweep.json").read_text(encoding="utf-8"))["points"]:
        for cost in (point["prefill_stagecost"]["prefill_eager"], point["decode_stagecost"]["decode_eager"]):
            assert cost["measured_counted_flops"] == cost["counted_flops"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["vision", "--by", "size"], "--by 'size': choose grid, mode, side"),
        (["vision", "--by", "mode", "--max-tiles", "3"], "--max-tiles is of --by grid"),
        (["vision", "--shapes", "a", "--max-tiles", "3"], "give one of them"),
        (["vision", "--attention", "sdpa"], "attention 'sdpa'"),
        (["vision", "--measure-flops", "--implementation", "vendor"], "drop --implementation vendor"),
        (["prefill", "--device", "h2000"], "unknown device 'h2000'"),
        (["prefill", "--device", "h200", "--execution", "fast"], "execution 'fast'"),
        (["seq-len", "--seq-lens", "a"], "--seq-lens: 'a' is no whole number"),
        (["seq-len", "--seq-lens", "5:1"], "'5:1' is no range"),
        (["seq-len", "--seq-lens", "1:100000000000000"], "100,000,000,000,000 values, at most 1,000,000"),
        (["batch", "--page", "A4"], "--page 'A4': give WIDTHxHEIGHT"),
        (["kv-heads", "3"], "num_key_value_heads 3"),
        (["experts", "--measure-flops", "--context-len", "4"], "not over num_experts_per_tok"),
        (["device", "h200"], "two or more"),
        (["custom", "--over", "context_len", "--stage", "decode"], "give NAME=VALUES"),
        (["custom", "--over", "context_len=1:1000000", "--stage", "decode"], "1,000,000 points are too many"),
        (["custom", "--over", "x=1", "--stage", "decode"], "unknown dimension 'x'"),
    ],
)
def test_refused(refused, arguments, says):
    assert says in refused("sweep", *arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["vision", "--execution", "graph"], "--execution is for times: name a --device"),
        (["vision", "--device-file", "a.toml"], "--device-file is for times: name a --device"),
        (["vision", "--page", "10x10"], "--page is of --by mode or side"),
        (["batch", "--context-len", "9", "--page", "10x10"], "--page is of a page, --context-len of text alone"),
        (["device", "--context-len", "9", "--mode", "tiny"], "--mode is of a page"),
        (["precision", "--context-len", "9", "--prompt-tokens", "3"], "--prompt-tokens is of a page"),
        (["precision", "--weights", "fp8"], "--weights is varied by this study"),
        (["precision", "--kv", "fp8", "--kv-kinds", "bf16"], "--kv and --kv-kinds both say it"),
        (["experts", "--coverage", "max"], "--coverage is varied by this study: give --coverages"),
        (["custom", "--over", "cache=in_place", "--cache", "in_place", "--stage", "run"], "--cache is in --over too"),
        (["custom", "--over", "device=h200", "--device", "l40s", "--stage", "run"], "--device is in --over too"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(refused, arguments, says):
    assert says in refused("sweep", *arguments)


# Values as text


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1,2", "4"], [1, 2, 4]),
        (["1:9:4"], [1, 5, 9]),  # the end is one of them
        (["1:9:5"], [1, 6]),
        (["3:5"], [3, 4, 5]),
        (["1,4:8:2, 20"], [1, 4, 6, 8, 20]),
        (["expected,12.5,max"], ["expected", 12.5, "max"]),
        (["true,False"], [True, False]),
        (["2x3,3x2"], ["2x3", "3x2"]),
    ],
)
def test_values(texts, values):
    assert values_of("it", texts) == values


@pytest.mark.parametrize("text", ["", "1,,2", "1:2:0", "2:1", ":", "1:", "a:b", "1:2:3:4"])
def test_values_that_are_none(text):
    with pytest.raises(ModelMeterError, match=r"^it: "):
        values_of("it", [text])


def test_over():
    assert over_of(["batch_size=4", "context_len=1:2"]) == {"batch_size": 4, "context_len": [1, 2]}
    for texts in (["x"], ["=1"], ["x=1", "x=2"]):
        with pytest.raises(ModelMeterError, match="--over"):
            over_of(texts)
