"""Plots as files: all of them, equal each time, or a clear error."""

import pytest
import xarray as xr

from modelmeter import ModelMeterError
from modelmeter.report.plots import plots_of, save_figures, save_plots

from .conftest import study


@pytest.fixture(scope="module")
def small():
    dataset = xr.Dataset({"flops": ("batch_size", [1, 2])}, {"batch_size": [1, 2]})
    return study("a $ <b> \x01", vision=dataset)


def test_each_plot_is_an_svg_and_a_png(small, tmp_path):
    names = save_plots(small, tmp_path / "new")
    assert names == ["flops.svg", "flops.png"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)
    assert (tmp_path / "new" / "flops.png").read_bytes().startswith(b"\x89PNG")
    assert "a $ &lt;b&gt; \ufffd: FLOPs" in (tmp_path / "new" / "flops.svg").read_text(encoding="utf-8")


def test_asked_again_the_files_are_the_same(small, tmp_path):
    for folder in ("a", "b"):
        save_plots(small, tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_bad_format_writes_nothing(small, tmp_path):
    with pytest.raises(ModelMeterError, match=r"cannot draw a \.bmp"):
        save_figures(plots_of(small), tmp_path / "new", ("svg", "bmp"))
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_a_file_is_named(small, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ModelMeterError, match=r"cannot write .*taken"):
        save_plots(small, tmp_path / "taken")


def test_nothing_to_draw_writes_nothing(tmp_path):
    assert save_plots(study("empty"), tmp_path / "new") == []
