"""One look: told apart by more than colour; files without date; nothing of a caller's is changed."""

import builtins
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib
import pytest

from modelmeter import ModelMeterError
from modelmeter.report.plots.choose import RESIDENT, ROLES
from modelmeter.report.plots.style import (
    ATTENTION,
    COLOURS,
    FORMATS,
    STAGES,
    check_format,
    file_bytes,
    look,
    new_figure,
    printable,
    styled,
)

# Okabe and Ito (2008), "Color Universal Design": orange, sky blue, green, yellow, blue, vermilion, purple, black.
OKABE_ITO = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#000000"}
BEGINNINGS = {"svg": b"<?xml", "png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-"}


def figure():
    with styled():
        made = new_figure(3, 2)
        axes = made.add_subplot()
        axes.plot([1, 2], [3, 4], label="a $ b")
        axes.set_title("a $x^{2$ name")
        axes.barh([1], [2], hatch="///")
        made.legend()
    return made


def test_the_palette_is_for_all_eyes():
    assert set(COLOURS) <= OKABE_ITO | {"#666666"}  # and a grey
    assert len(set(COLOURS)) == len(COLOURS)


def test_looks_differ_without_colour():
    first = [look(i) for i in range(len(COLOURS))]
    assert len({one.marker for one in first}) == len(first)
    assert len({one.hatch for one in first}) == len(first)
    assert all(a.line != b.line for a, b in pairwise(first))
    assert look(0) != look(len(COLOURS))


@pytest.mark.parametrize("looks", [ROLES, RESIDENT])
def test_stacked_roles_differ_by_colour_and_by_hatch(looks):
    chosen = [one for _, one in looks.values()]
    assert len({one.colour for one in chosen}) == len({one.hatch for one in chosen}) == len(chosen)


@pytest.mark.parametrize("looks", [ATTENTION, STAGES])
def test_named_curves_differ_by_colour_marker_and_line(looks):
    for what in ("colour", "marker", "line"):
        assert len({getattr(one, what) for one in looks.values()}) == len(looks)


@pytest.mark.parametrize("suffix", FORMATS)
def test_equal_figures_make_equal_files(suffix):
    content = file_bytes(figure(), suffix)
    assert content.startswith(BEGINNINGS[suffix])
    assert file_bytes(figure(), suffix) == content
    for word in (b"dc:date", b"CreationDate", b"tplotlib v"):
        assert word not in content


def test_words_of_an_svg_can_be_searched():
    text = file_bytes(figure(), "svg").decode()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "a $x^{2$ name" in text and "a $ b" in text  # and a dollar begins no formula


def test_a_callers_settings_stay():
    before = dict(matplotlib.rcParams)
    file_bytes(figure(), "svg")
    assert dict(matplotlib.rcParams) == before


def test_no_global_state_is_loaded():
    code = (
        "import sys\n"
        "from modelmeter.report.plots.style import styled, new_figure, file_bytes\n"
        "assert 'matplotlib' not in sys.modules\n"
        "with styled():\n    figure = new_figure(1, 1)\n"
        "file_bytes(figure, 'svg')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("suffix", "words"), [("gif", "cannot draw a .gif: name"), ("", "without a suffix: name")])
def test_another_format_is_refused(suffix, words):
    with pytest.raises(ModelMeterError, match=words):
        check_format(suffix)
    with pytest.raises(ModelMeterError, match=words):
        file_bytes(figure(), suffix)


def test_what_cannot_be_drawn_is_replaced():
    assert printable("a\x01b\udcff\n") == "a\ufffdb\ufffd\ufffd"


def test_without_matplotlib_there_is_one_clear_error(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelMeterError, match=r"plots need matplotlib: pip install 'modelmeter\[plot\]'"), styled():
        pass
