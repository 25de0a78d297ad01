"""A folder appears whole or not at all, and is replaced only where that is meant."""

import json
import os

import attrs
import pytest

from modelmeter import ModelMeterError
from modelmeter.report.study import read_study, write, write_study

from .conftest import COMMAND

DATA = {"sweep.json", "sweep.csv", "sweep.parquet", "sweep.sqlite", "sweep.nc", "README.md"}


def test_all_files_and_nothing_else(folder):
    assert {path.name for path in folder.iterdir()} == DATA
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_readme_says_how_it_was_made_and_what_is_in_it(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert COMMAND in text
    assert all(f"`{name}`" in text for name in DATA - {"README.md"})
    assert "grid: 1x1, 2x3, 5x2" in text and "no plots" in text


def test_the_readme_shows_warnings_first(decode_study, tmp_path):
    wrong = attrs.evolve(decode_study, warnings=("decode: cannot be",))
    write_study(wrong, tmp_path / "a", plots=False)
    text = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert text.index("decode: cannot be") < text.index("## What varies")
    assert read_study(tmp_path / "a").warnings == wrong.warnings


def test_plots_come_along(studies, tmp_path):
    names = write_study(studies["seq-len"], tmp_path / "a")
    plots = [name for name in names if name.endswith((".svg", ".png"))]
    assert "flops.svg" in plots and "flops.png" in plots
    assert set(names) == {path.name for path in (tmp_path / "a").iterdir()}
    assert "![flops](flops.svg)" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert {"analytic_scaling.json", "analytic_scaling_flash.json"} < set(names)


def test_without_matplotlib_a_note_stands_in(decode_study, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "find_spec", lambda name: None)
    write_study(decode_study, tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == DATA
    assert "matplotlib" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")


def test_the_same_study_is_replaced_only_with_force(studies, tmp_path):
    place = tmp_path / "a"
    write_study(studies["seq-len"], place, plots=False)
    (place / "of mine").touch()
    with pytest.raises(ModelMeterError, match="--force"):
        write_study(studies["seq-len"], place, plots=False)
    assert (place / "of mine").exists()
    write_study(studies["seq-len"], place, plots=False, force=True)
    assert not (place / "of mine").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("force", [False, True])
def test_what_is_not_ours_is_never_replaced(studies, tmp_path, force):
    place = tmp_path / "a"
    write_study(studies["seq-len"], place, plots=False)
    with pytest.raises(ModelMeterError, match="holds the study seq-len"):
        write_study(studies["vision"], place, plots=False, force=force)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    for path in (other, tmp_path / "file"):
        with pytest.raises(ModelMeterError, match="no folder of a study"):
            write_study(studies["vision"], path, plots=False, force=force)
    assert (other / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_and_missing_parents_are_fine(studies, tmp_path):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "new" / "deep"):
        write_study(studies["seq-len"], place, plots=False)
        assert (place / "README.md").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), ZeroDivisionError])
@pytest.mark.parametrize("there", [False, True])
def test_interrupted_it_is_as_it_was(studies, tmp_path, monkeypatch, error, there):
    place = tmp_path / "a"
    if there:
        write_study(studies["seq-len"], place, plots=False)
        before = (place / "sweep.json").read_bytes()

    def fail(*_args):
        raise error

    monkeypatch.setattr(write.tables, "write_netcdf", fail)  # the last of the data
    told = ModelMeterError if isinstance(error, OSError) else error
    with pytest.raises(told):
        write_study(studies["seq-len"], place, plots=False, force=True)
    assert os.listdir(tmp_path) == (["a"] if there else [])
    if there:
        assert (place / "sweep.json").read_bytes() == before


def test_where_nothing_can_be_written(studies, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ModelMeterError, match="cannot write"):
        write_study(studies["seq-len"], tmp_path / "file" / "a", plots=False)


# Reading


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("modelmeter.sweep/0", "old schema modelmeter.sweep/0.*make it anew"),
        ("modelmeter.sweep/2", "newer schema modelmeter.sweep/2.*update modelmeter"),
        ("modelmeter.analysis/1", "is of the schema 'modelmeter.analysis/1'"),
        (None, "names no schema"),
        (7, "names no schema"),
    ],
)
def test_other_schemas_are_refused(folder, tmp_path, schema, says):
    data = json.loads((folder / "sweep.json").read_text(encoding="utf-8")) | {"schema": schema}
    (tmp_path / "sweep.json").write_text(json.dumps(data))
    with pytest.raises(ModelMeterError, match=says):
        read_study(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_what_is_no_study_is_refused(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text, encoding="latin-1")
    with pytest.raises(ModelMeterError, match=r"sweep\.json"):
        read_study(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(ModelMeterError, match="cannot read"):
        read_study(tmp_path)


@pytest.mark.parametrize("name", ["points", "stages", "dimensions", "warnings"])
def test_half_a_file_is_refused(folder, tmp_path, name):
    data = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    del data[name]
    (tmp_path / "sweep.json").write_text(json.dumps(data))
    with pytest.raises(ModelMeterError, match=r"no whole modelmeter\.sweep/1"):
        read_study(tmp_path)


def test_a_point_missing_is_refused(folder, tmp_path):
    data = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    data["points"].pop()
    (tmp_path / "sweep.json").write_text(json.dumps(data))
    with pytest.raises(ModelMeterError, match="no whole"):
        read_study(tmp_path)


def test_a_name_too_long_is_told_before_any_work(decode_study, tmp_path):
    with pytest.raises(ModelMeterError, match="too long: choose another folder"):
        write_study(decode_study, tmp_path / ("a" * 300), plots=False)
