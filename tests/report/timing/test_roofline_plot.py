"""The roofline plot: its points by arithmetic, none above the roof, and what its files are."""

import builtins
import sys
from xml.etree import ElementTree

import attrs
import pytest

from modelmeter import ModelMeterError
from modelmeter.report.plots.style import FORMATS
from modelmeter.report.timing.roofline_plot import HEAVIEST, roofline_plot, roofline_points

from .conftest import A4, RECEIPT

STAGES = ["vision", "prefill", "decode"]
BEGINNINGS = {"svg": b"<?xml", "png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-"}


@pytest.fixture(scope="module")
def page(timed):
    (page,) = timed(RECEIPT, decode_tokens=1, execution="graph").pages
    return page


def test_the_stages_come_first(page):
    points = roofline_points(page.time)
    assert [point.name for point in points[:3]] == STAGES == [point.stage for point in points[:3]]
    for point in points[:3]:
        stage = getattr(page.time, point.stage)
        assert point.intensity == pytest.approx(stage.cost.flops / stage.cost.io_bytes, rel=1e-12)
        assert point.rate == pytest.approx(stage.cost.flops / stage.seconds.roofline, rel=1e-12)
        assert point.share == 1


def test_then_the_heaviest_operators(page):
    points = roofline_points(page.time)[3:]
    assert len(points) == HEAVIEST
    shares = [point.share for point in points]
    assert shares == sorted(shares, reverse=True)
    assert len({(point.stage, point.name) for point in points}) == HEAVIEST
    assert {point.stage for point in points} <= {"prefill", "decode"}
    assert [len(roofline_points(page.time, n)) for n in (0, 1, 5)] == [3, 4, 8]


def test_equal_operators_of_equal_layers_are_one_point(page):
    points = {(point.stage, point.name): point for point in roofline_points(page.time, 10**6)}
    # One product of an expert for the one new token: 6 of its tokens' experts in each of 11 layers.
    point = points["decode", "layers.mlp.experts.gate_proj mm"]
    flops = 2 * 1280 * 896  # of one row
    moved = 2 * (1280 * 896 + 1280 + 896)
    assert point.intensity == pytest.approx(flops / moved, rel=1e-12)
    assert point.rate == pytest.approx(flops / (moved / 4.8e12), rel=1e-12)  # an H200 reads 4.8 TB/s
    seconds = 11 * 6 * moved / 4.8e12
    assert point.share == pytest.approx(seconds / page.time.decode.seconds.roofline, rel=1e-12)
    head = points["decode", "lm_head mm"]
    assert head.intensity == pytest.approx(2 * 1280 * 129280 / (2 * (1280 * 129280 + 1280 + 129280)), rel=1e-12)
    assert sum(point.share for key, point in points.items() if key[0] == "decode" and key[1] not in STAGES) <= 1 + 1e-9


def test_what_has_no_flops_has_no_point(page):
    names = [point.name for point in roofline_points(page.time, 10**6)]
    assert not any(name.endswith((" clone", " embedding", " cat")) for name in names)


@pytest.mark.parametrize("execution", ["eager", "graph", "fused"])
@pytest.mark.parametrize("device", ["h200", "a100-40g", "cpu", "made-up"])
def test_no_point_is_above_the_roof(timed, device, execution):
    timing = timed(A4, decode_tokens=1, device=device, execution=execution)
    sheet = timing.machine.device
    peak = max(sheet.peaks[timing.machine.computes_in("bf16")], sheet.peaks["fp32"])
    points = roofline_points(timing.pages[0].time, 10**6)
    assert len(points) > 60
    for point in points:
        roof = min(point.intensity * sheet.bandwidth, peak)
        assert point.rate <= roof * (1 + 1e-6), point


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_each_format(page, suffix):
    content = roofline_plot(page, suffix)
    assert content.startswith(BEGINNINGS[suffix])
    assert len(content) > 10_000
    assert roofline_plot(page, suffix) == content  # no date, no random names


def test_what_is_written_on_it(page, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # letters stay letters
    text = roofline_plot(page, "svg").decode()
    assert "b.png on NVIDIA H200 SXM 141 GB, graph, roofline times" in text
    for words in ("vision, the whole stage", "decode, the whole stage", "4.8 TB/s", "989 TFLOP/s", "lm_head mm"):
        assert words in text
    assert "FLOP per byte moved" in text
    assert matplotlib.rcParams["svg.hashsalt"] is None  # what a caller set stays


@pytest.mark.parametrize("label", ["$x^{2$.png", "a$b.png", "文書.png", "\udcff.png", "a\x01b.png", "[b]&<i>.png", ""])
def test_any_name_is_drawn(page, label):
    named = attrs.evolve(page, page=attrs.evolve(page.page, label=label))
    text = roofline_plot(named, "svg").decode()
    assert ElementTree.fromstring(text).tag.endswith("svg")  # whatever is in a name, it is XML


@pytest.mark.parametrize(
    ("suffix", "words"),
    [("txt", "cannot draw a .txt: name"), ("", "cannot draw a file without a suffix: name"), ("SVG", "cannot draw a")],
)
def test_another_format_is_refused(page, suffix, words):
    with pytest.raises(ModelMeterError, match=words):
        roofline_plot(page, suffix)


def test_without_matplotlib_there_is_one_clear_error(page, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelMeterError, match=r"plots need matplotlib: pip install 'modelmeter\[plot\]'"):
        roofline_plot(page, "svg")


def test_a_plot_of_huge_numbers(timed):
    (page,) = timed(RECEIPT, decode_tokens=1, batch_size=10**30).pages
    assert roofline_plot(page, "png").startswith(BEGINNINGS["png"])
