"""JSON, YAML and CSV of an analysis say the same."""

import csv
import io
import json

import pytest
import yaml

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core.cost import STAGE_FIELDS
from modelmeter.documents import Page, PageError
from modelmeter.report.export import EXACT_FIELDS, analysis_data, to_csv, to_json, to_yaml

NAMES = ["plain.png", "é中.png", 'a|b<c>,"d".png', "line\nbreak.png", "- yes", "1654x2339", "#x: [y]", "tab\t.png"]


@pytest.fixture(scope="module")
def named(analysed):
    """Pages with names that a format could stumble over, an error, and numbers beyond 2**64."""
    pages = [Page(name, 1, 600, 620, name) for name in NAMES]
    return analysed(*pages, PageError("broken: {}.pdf", "damaged: save it again"), decode_tokens=10**21, by_layer=2)


def test_json_round_trips(named):
    text = to_json(named)
    assert text.endswith("}\n")
    data = json.loads(text)
    assert json.loads(json.dumps(data)) == data == json.loads(json.dumps(analysis_data(named)))
    assert [page["source"] for page in data["pages"]] == NAMES
    assert data["errors"] == [{"source": "broken: {}.pdf", "message": "damaged: save it again"}]
    assert (data["modelmeter_version"], data["analytic_model_version"]) == (__version__, ANALYTIC_MODEL_VERSION)


def test_yaml_says_what_json_says(named):
    assert yaml.safe_load(to_yaml(named)) == json.loads(to_json(named))


def test_yaml_keeps_the_order_of_json(named):
    def order(value):
        if isinstance(value, dict):
            return [(name, order(item)) for name, item in value.items()]
        return [order(item) for item in value] if isinstance(value, list) else None

    assert order(yaml.safe_load(to_yaml(named))) == order(json.loads(to_json(named)))


@pytest.mark.parametrize("which", ["named", "document"])
def test_csv_holds_the_numbers_of_json(which, request):
    analysis = request.getfixturevalue(which)
    rows = list(csv.DictReader(io.StringIO(to_csv(analysis), newline="")))
    pages = json.loads(to_json(analysis))["pages"]
    expected = [(page, name, stage) for page in pages for name, stage in page["stages"].items()]
    assert len(rows) == len(expected) == 4 * len(pages)
    for row, (page, name, stage) in zip(rows, expected, strict=True):
        assert (row["source"], row["stage"], row["mode"]) == (page["source"], name, page["mode"])
        assert [int(row["grid_columns"]), int(row["grid_rows"])] == page["grid"]
        for field in ("page", "width", "height", "image_tokens", "context_len"):
            assert int(row[field]) == page[field]
        for field in EXACT_FIELDS:
            assert int(row[field]) == stage[field]
        for field in STAGE_FIELDS:
            assert float(row[field]) == stage[field]
        assert row["conventions"].startswith("implementation=vendor attention=")
        known = {*page, "grid_columns", "grid_rows", "stage", *EXACT_FIELDS, *STAGE_FIELDS, "conventions"}
        assert set(row) == known - {"grid", "views", "stages"}


def test_nothing_read_is_still_an_answer(analysed):
    analysis = analysed(PageError("a.pdf", "damaged"))
    assert json.loads(to_json(analysis))["pages"] == []
    assert yaml.safe_load(to_yaml(analysis)) == json.loads(to_json(analysis))
    assert len(to_csv(analysis).splitlines()) == 1


def test_conventions_are_those_chosen(analysed):
    analysis = analysed(Page("x", 1, 10, 10, "x"), coverage=3.5, attention="flash", max_tiles=6)
    conventions = json.loads(to_json(analysis))["conventions"]
    assert (conventions["coverage"], conventions["attention"], conventions["max_tiles"]) == (3.5, "flash", 6)
    words = " ".join(conventions["notes"])
    assert "coverage 3.5" in words and "attention: flash" in words


def test_an_expected_value_is_labelled(document):
    notes = analysis_data(document)["conventions"]["notes"]
    assert any("expected" in note and "rounded" in note for note in notes)
