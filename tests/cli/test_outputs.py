"""`modelmeter analyze`: what it writes and where, files that cannot be read, and awkward names."""

import csv
import io
import json
import os

import pytest
import yaml

from .conftest import SAMPLE

OUTPUTS = ["json", "yaml", "markdown", "csv"]


def test_json_on_standard_output_is_all_there_is(process, valid):
    done = process("analyze", "600x620", "--json", "-")
    assert (done.code, done.err) == (0, "")
    valid(done.out)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_any_output_on_standard_output_is_all_there_is(program, tmp_path, kind):
    done = program("analyze", "600x620", f"--{kind}", "-")
    assert program("analyze", "600x620", f"--{kind}", tmp_path / "out").code == 0
    assert (done.code, done.err) == (0, "")
    assert done.out == (tmp_path / "out").read_text(encoding="utf-8")


def test_all_outputs_at_once_agree(program, tmp_path, valid):
    paths = {kind: tmp_path / f"new folder/out.{kind}" for kind in OUTPUTS}
    done = program("analyze", SAMPLE, *[word for kind, path in paths.items() for word in (f"--{kind}", path)])
    assert (done.code, done.complaints) == (0, [])
    assert done.err.splitlines() == [f"wrote {path}" for path in paths.values()]
    assert "Conventions" in done.out
    data = valid(paths["json"].read_text(encoding="utf-8"))
    assert yaml.safe_load(paths["yaml"].read_text(encoding="utf-8")) == data
    rows = list(csv.DictReader(io.StringIO(paths["csv"].read_text(encoding="utf-8"))))
    stages = [stage for page in data["pages"] for stage in page["stages"].values()]
    assert [int(row["io_bytes"]) for row in rows] == [stage["io_bytes"] for stage in stages]
    assert paths["markdown"].read_text(encoding="utf-8").startswith("# ")
    assert sorted(os.listdir(tmp_path / "new folder")) == sorted(path.name for path in paths.values())


def test_one_file_and_standard_output(program, tmp_path, valid):
    done = program("analyze", "600x620", "--csv", tmp_path / "out.csv", "--json", "-")
    assert done.code == 0
    valid(done.out)
    assert (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(("one", "other"), [("json", "yaml"), ("json", "csv"), ("markdown", "csv")])
def test_two_outputs_do_not_share_standard_output(refused, one, other):
    line = refused("analyze", "600x620", f"--{one}", "-", f"--{other}", "-")
    assert f"--{one}" in line and f"--{other}" in line


def test_two_outputs_do_not_share_a_file(refused, tmp_path):
    line = refused("analyze", "600x620", "--json", tmp_path / "out", "--csv", tmp_path / "out")
    assert "--json" in line and "--csv" in line
    assert os.listdir(tmp_path) == []


def test_an_output_does_not_take_the_place_of_a_page(refused, picture):
    path = picture()
    before = path.read_bytes()
    assert "page.png" in refused("analyze", path, "--json", path)
    assert path.read_bytes() == before


def test_quiet_is_silent(program, tmp_path):
    done = program("analyze", "600x620", "--quiet", "--json", tmp_path / "out.json", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (tmp_path / "out.json").exists()


def test_quiet_still_writes_what_was_asked_for(program, valid):
    valid(program("analyze", "600x620", "--quiet", "--json", "-").out)


def test_quiet_still_says_what_is_wrong(program):
    done = program("analyze", "600x620", "missing.pdf", "--quiet")
    assert (done.code, done.out) == (1, "")
    assert done.err == "modelmeter: missing.pdf: no such file or directory: check the name\n"


# Files that cannot be read


@pytest.fixture
def bad_files(tmp_path):
    """An empty file, one of another kind, a damaged PDF, and a name of nothing."""
    contents = {"empty.png": b"", "notes.txt": b"no page", "cut.pdf": SAMPLE.read_bytes()[:300]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [*[tmp_path / name for name in contents], tmp_path / "missing.png"]


def test_bad_files_among_good_ones(program, valid, bad_files, picture, tmp_path):
    good = picture()
    outputs = [word for kind in OUTPUTS for word in (f"--{kind}", tmp_path / f"out.{kind}")]
    done = program("analyze", bad_files[0], good, *bad_files[1:], SAMPLE, *outputs)
    assert done.code == 1
    assert len(done.complaints) == len(bad_files)
    for path, line in zip(bad_files, done.complaints, strict=True):
        assert line.startswith(f"modelmeter: {path}: ")
    assert "Conventions" in done.out
    data = valid((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [page["source"] for page in data["pages"]] == [str(good), *[str(SAMPLE)] * 4]
    assert [f"modelmeter: {e['source']}: {e['message']}" for e in data["errors"]] == done.complaints
    assert yaml.safe_load((tmp_path / "out.yaml").read_text(encoding="utf-8")) == data
    assert len((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4 * 5
    assert "## Not read" in (tmp_path / "out.markdown").read_text(encoding="utf-8")


def test_only_bad_files(program, valid, bad_files):
    done = program("analyze", *bad_files)
    assert (done.code, done.out, len(done.complaints)) == (1, "", len(bad_files))
    assert len(done.err.splitlines()) == len(bad_files)
    done = program("analyze", *bad_files, "--json", "-")
    assert done.code == 1
    assert len(valid(done.out)["errors"]) == len(bad_files)


def test_the_same_file_twice_is_two_pages(program, valid, picture):
    path = picture()
    once = valid(program("analyze", path, "--json", "-").out)
    twice = valid(program("analyze", path, path, "--json", "-").out)
    assert twice["pages"] == once["pages"] * 2
    run = [data["totals"]["stages"]["run"] for data in (once, twice)]
    assert run[1]["io_bytes"] == 2 * run[0]["io_bytes"]


# Names


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("target", ["-", "out"])
def test_a_name_that_is_not_utf_8(process, picture, tmp_path, kind, target):
    picture(os.fsdecode(b"\xff\xe9.png"))
    done = process("analyze", os.fsdecode(b"\xff\xe9.png"), f"--{kind}", target, PYTHONIOENCODING="utf-8")
    assert (done.code, done.complaints) == (0, [])
    text = done.out if target == "-" else (tmp_path / "out").read_text(encoding="utf-8")
    if kind == "json":
        assert json.loads(text)["pages"][0]["source"] == "\udcff\udce9.png"
    assert "udcff" in text.lower()


def test_a_missing_name_that_is_not_utf_8(process):
    done = process("analyze", os.fsdecode(b"\xff.png"), PYTHONIOENCODING="utf-8")
    assert (done.code, len(done.err.splitlines())) == (1, 1)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_results_are_utf_8_whatever_the_terminal_is(process, picture, kind):
    picture("é中.png")
    done = process("analyze", "é中.png", f"--{kind}", "-", PYTHONIOENCODING="ascii")
    assert (done.code, done.err) == (0, "")
    assert "é中.png" in done.out
    if kind == "json":
        assert json.loads(done.out)["pages"][0]["source"] == "é中.png"


def test_a_terminal_without_unicode_shows_the_table(process, picture):
    picture("é中.png")
    done = process("analyze", "é中.png", "neither é.png", PYTHONIOENCODING="ascii")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "Conventions" in done.out


def test_a_name_with_a_line_break_stays_on_its_line(program, picture):
    name = picture("a\nb.png")
    out = program("analyze", name).out
    assert "a\\nb.png" in out
    assert "modelmeter: " in program("analyze", name, "c\nd.png").err.splitlines()[0]
