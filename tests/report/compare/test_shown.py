"""A comparison as JSON, CSV, Markdown and on a terminal."""

import csv
import io
import json
from fractions import Fraction

import pytest
from rich.console import Console
from support.schema import check_schema, places, validator_of, with_more, without

from modelmeter._version import ANALYTIC_MODEL_VERSION
from modelmeter.report.compare import export, render, words

from .conftest import analysis

ONE = analysis(
    ("a.pdf", 1, {"decode": {"io_bytes": 10, "kv_bytes": 0, "share": 0.5, "binds": "memory", "fits": True}}),
    ("a|b.pdf", 2, {"decode": {"io_bytes": 7}}),
    analytic_model_version="2",
)
OTHER = analysis(
    ("a.pdf", 1, {"decode": {"io_bytes": 15, "kv_bytes": 3, "share": 0.5, "binds": "launch", "fits": None}}),
    ("c.pdf", 1, {"decode": {"io_bytes": 7}}),
    precision={"weights": "int4"},
)
ROW = {"source": "a.pdf", "page": 1, "stage": "decode"}


@pytest.fixture
def found(compared):
    """A comparison that has something of everything."""
    return compared(ONE, OTHER, threshold=Fraction(1, 20))


@pytest.fixture
def text(found):
    """text(top): what is printed."""

    def show(top=20):
        out = io.StringIO()
        render.print_comparison(found, top, console=Console(file=out, force_terminal=False))
        return out.getvalue()

    return show


def test_data_says_what_differs(found):
    data = json.loads(export.to_json(found))
    validator_of("comparison-1").validate(data)
    assert data["numbers"] == [
        {"row": ROW, "quantity": "kv_bytes", "a": 0, "b": 3, "absolute": 3, "relative": None},
        {"row": ROW, "quantity": "io_bytes", "a": 10, "b": 15, "absolute": 5, "relative": 0.5},  # (15 - 10) / 10
    ]
    assert data["states"] == [{"row": ROW, "quantity": "fits", "a": True, "b": None}]
    assert data["words"] == [{"row": ROW, "quantity": "binds", "a": "memory", "b": "launch"}]
    assert data["only_a"] == [{"row": {"source": "a|b.pdf"}, "quantity": None, "values": 1}]
    assert data["only_b"] == [{"row": {"source": "c.pdf"}, "quantity": None, "values": 1}]
    assert data["settings"] == [{"name": "precision.weights", "a": "bf16", "b": "int4"}]
    assert (data["compared"], data["equal"]) == (5, 1)
    assert (data["threshold"], data["exceeding"]) == (0.05, 2 + 1 + 2)  # numbers, states, rows of one file


def test_data_names_the_versions(found):
    data = json.loads(export.to_json(found))
    assert data["analytic_model_version"] == ANALYTIC_MODEL_VERSION
    assert [data[side]["analytic_model_version"] for side in "ab"] == ["2", "2026.11.21"]
    assert [data[side]["file"].rpartition("/")[2] for side in "ab"] == ["a.json", "b.json"]


def test_without_a_threshold_the_data_has_none(compared):
    data = json.loads(export.to_json(compared(ONE, OTHER)))
    validator_of("comparison-1").validate(data)
    assert (data["threshold"], data["exceeding"]) == (None, None)


def test_what_is_beyond_every_float_is_null(compared):
    one, other = (analysis(("a.pdf", 1, {"run": {"v": value}})) for value in (-1e308, 1e308))
    (number,) = json.loads(export.to_json(compared(one, other)))["numbers"]
    assert (number["absolute"], number["relative"]) == (None, 2.0)
    one, other = (analysis(("a.pdf", 1, {"run": {"v": value}})) for value in (1, 10**400))
    (number,) = json.loads(export.to_json(compared(one, other)))["numbers"]
    assert (number["absolute"], number["relative"]) == (10**400 - 1, None)


def test_the_schema_is_strict(found):
    validator = validator_of("comparison-1")
    check_schema(validator)
    data = json.loads(export.to_json(found))
    for path in places(data):
        if "row" in path:
            continue
        assert not validator.is_valid(with_more(data, path, extra=1))
        here = data
        for step in path:
            here = here[step]
        for name in here:
            assert not validator.is_valid(without(data, path, name)), (path, name)


def test_csv_has_a_line_for_each(found):
    lines = list(csv.DictReader(io.StringIO(export.to_csv(found))))
    assert [line["difference"] for line in lines] == ["number", "number", "state", "word", "only in A", "only in B"]
    first = {name: lines[1][name] for name in ("source", "page", "stage", "quantity", "a", "b", "absolute", "relative")}
    wanted = {**ROW, "quantity": "io_bytes", "a": 10, "b": 15, "absolute": 5, "relative": 0.5}
    assert first == {name: str(value) for name, value in wanted.items()}
    assert (lines[4]["source"], lines[4]["a"]) == ("a|b.pdf", "")


def test_nothing_is_lost_in_print(text):
    shown = text()
    for words_ in ["2 and 2026.11.21", "precision.weights", "+50%", "from 0", "memory", "launch", "Only in A", "c.pdf"]:
        assert words_ in shown
    assert "5 values in both: 1 equal, 4 differ" in shown
    assert "above the threshold of 5%: 5, what is in one file alone included" in shown


def test_top_cuts_and_says_so(text):
    assert "(the first 1 of 2)" in text(1) and "io_bytes" not in text(1)
    assert "the first" not in text(2) + text(0)
    assert "io_bytes" in text(0)


def test_markdown_shows_the_same(found):
    lines = render.to_markdown(found).splitlines()
    assert lines[0] == "# Two results side by side"
    assert "| a.pdf, page 1, decode | io_bytes | 10 | 15 | +5 | +50% |" in lines
    assert "| a\\|b.pdf |  | 1 |" in lines
    assert [line for line in lines if "## " in line] == [
        "## Settings that differ",
        "## Numbers that differ, by relative difference",
        "## Other values that differ",
        "## Only in A",
        "## Only in B",
    ]


def test_equal_results_have_no_tables(compared):
    found = compared(ONE, ONE, threshold=Fraction(0))
    assert render.comparison_tables(found) == []
    assert "above the threshold of 0%: nothing" in render.to_markdown(found)


def test_results_of_other_pages_have_nothing_to_compare(compared):
    found = compared(*(analysis((name, 1, {"run": {"v": 1}})) for name in ("a.pdf", "b.pdf")))
    assert "nothing to compare" in render.to_markdown(found)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (10**30, "1.000000e+30"),
        (10**400, "beyond 1e308"),
        (0.123456789, "0.123457"),
        (True, "yes"),
        (False, "no"),
        (None, "none"),
        ("x" * 61, "x" * 57 + "..."),
    ],
)
def test_values_are_readable(value, shown):
    assert words.value_text(value) == shown


@pytest.mark.parametrize(
    ("relative", "shown"),
    [
        (Fraction(5, 100), "+5%"),
        (Fraction(-1, 3), "-33.3%"),
        (Fraction(39), "+3,900%"),
        (Fraction(10**8), "+1.00e+10%"),
        (Fraction(10**400), "+above 1e308%"),
        (Fraction(1, 10**9), "+1e-07%"),
        (None, "from 0"),
    ],
)
def test_relative_differences_are_readable(relative, shown):
    assert words.percent(relative) == shown


def test_values_that_look_alike_get_more_digits(compared):
    one, other = (analysis(("a.pdf", 1, {"run": {"v": value}})) for value in (0.12345678, 0.12345679))
    (each,) = compared(one, other).numbers
    assert words.values(each) == ("0.12345678", "0.12345679")
