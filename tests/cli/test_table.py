"""`modelmeter table`."""

import csv
import io

import pytest

from modelmeter.hardware import catalogue
from modelmeter.report.derived.derive import TABLES
from modelmeter.sweeps.shapes import Shape, read_shapes, write_shapes

from .conftest import TOKEN

ONE = [Shape(2, 3, True)]


@pytest.fixture(autouse=True)
def own_devices(monkeypatch, tmp_path):
    """No device file of the user."""
    monkeypatch.setattr(catalogue, "user_file", lambda: tmp_path / "none.toml")


@pytest.fixture
def one(tmp_path):
    """A list of one shape."""
    write_shapes(ONE, tmp_path / "one.yaml")
    return tmp_path / "one.yaml"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_in_every_format(program, valid, one, tmp_path, name):
    done = program("table", name, "--shapes", one)
    assert (done.code, done.err) == (0, "")
    assert TABLES[name].title in done.out and "| 2x3 " in done.out
    for ending in ("md", "csv", "json"):
        path = tmp_path / f"out.{ending}"
        done = program("table", name, "--shapes", one, "-o", path)
        assert (done.code, done.err) == (0, f"wrote {path}\n")
    data = valid((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert data["table"] == name
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    assert [row["grid"] for row in rows] == [row["grid"] for row in data["rows"]]
    assert program("table", name, "--shapes", one, "-o", "-").out == (tmp_path / "out.md").read_text(encoding="utf-8")


def test_options_reach_the_numbers(program, valid, one, tmp_path):
    path = tmp_path / "out.json"
    sizes = ("--batch-size", 3, "--prompt-tokens", 7, "--decode-tokens", 4, "--base-size", 640)
    done = program("table", "kvcache-by-shape", "--shapes", one, *sizes, "--kv", "fp8", "-o", path, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    (row,) = valid(path.read_text(encoding="utf-8"))["rows"]
    tokens = 10 * 11 + 1 + (2 * 10 + 1) * 3 * 10 + 7 + 4  # views of 640 px have 10 x 10 features
    assert row["kv_cache_bytes"] == 3 * tokens * TOKEN // 2  # a byte a value

    wanted = ("--ttft", 0.5, "--tpot", 0.02, "--device", "h200,rtx-4090", "--device", "a100-40g")
    conventions = ("--attention", "flash", "--implementation", "transformers", "--coverage", "7.5", "--logits", "last")
    program("table", "required-throughput", "--shapes", one, *wanted, *conventions, "-o", path)
    data = valid(path.read_text(encoding="utf-8"))
    assert data["devices"] == ["h200", "rtx-4090", "a100-40g"]
    assert {(row["target"], row["seconds"]) for row in data["rows"]} == {("ttft", 0.5), ("tpot", 0.02)}
    chosen = {"attention": "flash", "implementation": "transformers", "coverage": 7.5, "logits": "last"}
    assert {name: data["conventions"][name] for name in chosen} == chosen


def test_a_device_of_ones_own(program, one, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('[my-card]\nbase = "h200"\nmemory = "8 GiB"\n')
    named = program("table", "vram-by-shape", "--shapes", one, "--device", "my-card", "--device-file", mine)
    assert (named.code, named.err) == (0, "") and "my-card" in named.out
    assert program("table", "vram-by-shape", "--shapes", one, "--device", mine).out == named.out


def test_shapes_from_a_database_and_the_default_ones(program, tmp_path):
    write_shapes(read_shapes(), tmp_path / "shapes.db")
    done = program("table", "kvcache-by-shape", "--shapes", tmp_path / "shapes.db")
    assert done.out == program("table", "kvcache-by-shape").out
    assert len([line for line in done.out.splitlines() if line.startswith("| ")]) == 2 + len(read_shapes())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("kv",), "unknown table 'kv': choose among kvcache-by-shape"),
        (("kvcache-by-shape", "--device", "h200"), "a device changes nothing in kvcache-by-shape"),
        (("vram-by-shape", "--device", "H200"), "did you mean h200"),
        (("vram-by-shape", "--device", "h200,h200"), "the device h200 is named twice"),
        (("vram-by-shape", "--device", ","), "no device is named"),
        (("vram-by-shape", "--shapes", "gone.yaml"), "cannot read the shapes in gone.yaml"),
        (
            ("vram-by-shape", "-o", "out.xlsx"),
            "cannot write out.xlsx: --output needs a name that ends in .md, .csv, .json",
        ),
        (("vram-by-shape", "-o", ""), "--output needs the name of a file"),
        (("required-throughput", "--ttft", "0"), "ttft is 0.0: give a time greater than zero"),
        (("required-throughput", "--tpot", "nan"), "tpot is nan"),
        (("flops-by-part", "--batch-size", "0"), "batch_size"),
        (("flops-by-part", "--tile-size", "650"), "tile_size must be a positive multiple of 64"),
        (("flops-by-part", "--attention", "sdpa"), "attention"),
    ],
)
def test_what_cannot_be_asked_is_one_line(refused, arguments, words):
    assert words in refused("table", *arguments)


def test_a_broken_list_is_one_line_and_no_file(refused, tmp_path, one):
    broken = tmp_path / "broken.yaml"
    broken.write_text("schema: modelmeter.shapes/1\nshapes:\n- {width: 2, height: -3}\n")
    line = refused("table", "kvcache-by-shape", "--shapes", broken, "-o", tmp_path / "out.csv")
    assert f"{broken}: shape 1: height is -3" in line
    assert not (tmp_path / "out.csv").exists()
    assert "is also the input" in refused("table", "kvcache-by-shape", "--shapes", one, "-o", one)


def test_the_help_names_every_table_and_its_examples_work(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = program("table", "--help").out
    assert [name for name in TABLES if name not in text] == []
    examples = [line.split()[1:] for line in text.splitlines() if line.strip().startswith("modelmeter ")]
    assert len(examples) == 4
    assert [program(*example).code for example in examples] == [0, 0, 0, 0]
    assert (tmp_path / "rates.csv").exists()
