"""How pages spread: each page counted; and sizes of pages from a CSV."""

import pytest

from modelmeter import DeepseekOCRModel, ModelMeterError
from modelmeter.report.study.distribution import distributions
from modelmeter.report.study.page_sizes import read_sizes
from modelmeter.report.study.summary import study_tables
from modelmeter.sweeps.studies.pages import pages
from modelmeter.sweeps.studies.setup import Setup

# 100 pages: 90 of 2 x 3 tiles, 9 without tiles, 1 of 1 x 3
SIZES = [(1654, 2339)] * 90 + [(600, 600)] * 9 + [(1000, 3000)]
TOKENS = {"2x3": 273 + 21 * 30, "1x1": 273, "1x3": 273 + 11 * 30}


@pytest.fixture(scope="module")
def study():
    return pages(Setup(model=DeepseekOCRModel.from_config(), attention=("eager",), devices=("h200",)), SIZES)


@pytest.fixture(scope="module")
def spread(study):
    """Entries by quantity and stage."""
    return {(one["quantity"], one["stage"]): one for one in distributions(study)}


def test_image_tokens(spread):
    one = spread["image_tokens", "page"]
    assert one["pages"] == 100
    assert one["total"] == 90 * TOKENS["2x3"] + 9 * TOKENS["1x1"] + TOKENS["1x3"]
    assert one["mean"] == one["total"] / 100
    quantiles = one["quantiles"]
    assert [quantiles[q] for q in ("0.0", "0.05", "0.5", "0.99", "1.0")] == [273, 273, 903, 903, 903]
    assert sum(one["histogram"]["pages"]) == 100
    assert one["histogram"]["pages"][0] == 9 and one["histogram"]["pages"][-1] == 90
    assert (one["histogram"]["edges"][0], one["histogram"]["edges"][-1]) == (273, 903)


def test_costs_and_times(spread, study):
    runs, counts = study.datasets["run"], {"2x3": 90, "1x1": 9, "1x3": 1}
    flops = sum(int(runs["flops"].sel(grid=grid)) * count for grid, count in counts.items())
    assert spread["flops", "run"]["total"] == flops
    seconds = sum(float(runs["seconds"].sel(grid=grid)) * count for grid, count in counts.items())
    assert spread["seconds", "run"]["total"] == pytest.approx(seconds, rel=1e-12)
    assert spread["seconds", "run"]["device"] == "h200"
    assert "total" not in spread["activation_peak_bytes", "run"]  # pages run one after the other
    assert ("kv_cache_bytes", "vision") not in spread


def test_it_is_shown(study):
    table = study_tables(study)[-1]
    row = next(row for row in table.rows if row[:2] == ("page", "image tokens"))
    total = 90 * 903 + 9 * 273 + 603
    assert row[2:] == (f"{total / 100:.0f}", "273", "903", "903", "903", "903", f"{total:,}")


def test_other_studies_have_none(decode_study):
    assert distributions(decode_study) == []


# Sizes from a CSV


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("width,height\n10,20\n30,40\n", [(10, 20), (30, 40)]),
        ("10,20\n30,40", [(10, 20), (30, 40)]),
        ("Height, pages ,WIDTH,name\n20,2,10,a\n", [(10, 20), (10, 20)]),
        ("\ufeffwidth,height\r\n10,20\r\n\r\n", [(10, 20)]),
        ("name,width,height\n7.pdf,10,20\n", [(10, 20)]),
        ("", []),
    ],
)
def test_sizes_are_read(tmp_path, text, sizes):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert list(read_sizes(path)) == sizes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("width,breadth\n1,2\n", "no column height"),
        ("width,height,width\n1,2,3\n", "no column width"),
        ("10,20\n10\n", "line 2: height is ''"),
        ("width,height\n10,0\n", "line 2: height is '0'"),
        ("10,-20\n", "line 1: height is '-20'"),
        ("10,2.5\n", "line 1: height"),
        ("10,65501\n", "line 1: height"),
        ("width,height,pages\n1,2,x\n", "line 2: pages"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, says):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ModelMeterError, match=says):
        list(read_sizes(path))


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "a.csv", tmp_path / "none.csv", tmp_path):
        with pytest.raises(ModelMeterError, match="cannot read the page sizes"):
            list(read_sizes(path))
