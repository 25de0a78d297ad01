"""Differences: their arithmetic, their order, what a threshold sees, and what is not compared at all."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.compare.compare import ALLOWABLE, Difference, compare, parse_threshold
from modelmeter.report.compare.tidy import Tidy

from .conftest import analysis


def pages(**values):
    """An analysis of one page whose decode stage has these values."""
    return analysis(("a.pdf", 1, {"decode": values}))


def tidied(rows, **more):
    """A result of these rows: name -> {quantity: value}."""
    head = {"name": "a.json", "schema": "modelmeter.time/1", "title": "times", "analytic_model_version": "1"}
    keyed = {(("row", name),): values for name, values in rows.items()}
    return Tidy(**{**head, "settings": {}, "rows": keyed, **more})


def difference(a, b):
    """The one difference of two values."""
    found = compare(tidied({"x": {"v": a}}), tidied({"x": {"v": b}}))
    (each,) = [*found.numbers, *found.states, *found.words]
    return each


# Arithmetic


@pytest.mark.parametrize(
    ("a", "b", "absolute", "relative"),
    [
        (100, 105, 5, Fraction(5, 100)),
        (100, 95, -5, Fraction(-5, 100)),
        (-4, -5, -1, Fraction(-1, 4)),  # of the amount: it became smaller
        (4, 1, -3, Fraction(-3, 4)),
        (0.5, 0.75, 0.25, Fraction(1, 2)),
        (2, 2.5, 0.5, Fraction(1, 4)),
        (10**30, 10**30 + 1, 1, Fraction(1, 10**30)),  # exact beyond what a float tells apart
        (0, 7, 7, None),
        (-1e308, 1e308, math.inf, Fraction(2)),
    ],
)
def test_differences_are_exact(a, b, absolute, relative):
    each = difference(a, b)
    assert (each.absolute, each.relative) == (absolute, relative)
    assert type(each.absolute) is type(absolute)


def test_equal_numbers_are_equal_whatever_their_type():
    found = compare(tidied({"x": {"v": 3, "w": 0.5}}), tidied({"x": {"v": 3.0, "w": 0.5}}))
    assert (found.compared, found.equal) == (2, 2)


def test_true_is_no_1():
    assert not difference(1, True).is_number


@pytest.mark.parametrize("tiny", [1e-13, 9e-112, -1e-13])
def test_real_numbers_below_a_picosecond_are_0(tiny):
    """A probability of 1e-100 and one of 0 are the same; the whole number 0 stays what it is."""
    assert compare(tidied({"x": {"v": 0.0}}), tidied({"x": {"v": tiny}})).equal == 1
    assert difference(0.0, 1e-11).relative is None


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(-1000, 1000)), st.integers(1, 50))
def test_there_and_back(values, more):
    """B - A is A - B with the other sign; all values are equal or differ."""
    one = tidied({name: {"v": value} for name, value in values.items()})
    other = tidied({name: {"v": value + more} for name, value in values.items()})
    there, back = compare(one, other), compare(other, one)
    assert {each.key: each.absolute for each in there.numbers} == {each.key: -each.absolute for each in back.numbers}
    assert there.compared == there.equal + len(there.numbers) == len(values)


# Order


def test_the_largest_relative_difference_comes_first():
    one = {"half": {"v": 100}, "from 0": {"v": 0}, "twice": {"v": 1}, "little": {"v": 1000}, "more from 0": {"v": 0}}
    other = {"half": {"v": 50}, "from 0": {"v": 1}, "twice": {"v": 2}, "little": {"v": 1001}, "more from 0": {"v": 9}}
    found = compare(tidied(one), tidied(other))
    order = [each.key[0][1] for each in found.numbers]
    assert order == ["more from 0", "from 0", "twice", "half", "little"]  # from 0: by the absolute one


def test_rows_are_joined_by_what_they_are_of(compared):
    one = analysis(("a.pdf", 1, {"decode": {"io_bytes": 10}}), ("a.pdf", 2, {"decode": {"io_bytes": 30}}))
    other = analysis(("a.pdf", 2, {"decode": {"io_bytes": 30}}), ("a.pdf", 1, {"decode": {"io_bytes": 11}}))
    (each,) = compared(one, other).numbers
    assert dict(each.key) == {"source": "a.pdf", "page": 1, "stage": "decode"}
    assert (each.quantity, each.a, each.b, each.absolute) == ("io_bytes", 10, 11, 1)


# Thresholds


@pytest.mark.parametrize(
    ("text", "share"), [("5%", "0.05"), ("0.05", "0.05"), (" 0.1 % ", "0.001"), ("150%", "1.5"), ("0", "0")]
)
def test_a_threshold_is_a_share(text, share):
    assert parse_threshold(text) == Fraction(share)


@pytest.mark.parametrize(
    "text", ["", "5 percent", "%", "-5%", "nan", "inf", "1/0", "1/2", "1e9", "1e999999999", "5%%", "5"]
)
def test_other_thresholds_are_refused(text):
    with pytest.raises(ModelMeterError, match="threshold"):
        parse_threshold(text)


def test_a_whole_number_is_told_what_it_may_be():
    with pytest.raises(ModelMeterError, match="write 5% or 500%"):
        parse_threshold("5")
    with pytest.raises(ModelMeterError, match=r"write 2\.5% or 250%"):
        parse_threshold("2.5")


@pytest.mark.parametrize(("b", "exceeding"), [(105, 0), (106, 1), (95, 0), (94, 1), (100, 0)])
def test_what_is_at_the_threshold_does_not_exceed_it(b, exceeding):
    one, other = tidied({"x": {"v": 100}}), tidied({"x": {"v": b}})
    assert compare(one, other, threshold=parse_threshold("5%")).exceeding == exceeding


def test_real_numbers_at_the_threshold():
    """1.05 as a file has it is above 1.05 or below, by the float that it is."""
    one, other = tidied({"x": {"v": 1.0}}), tidied({"x": {"v": 1.05}})
    assert compare(one, other, threshold=Fraction(1.05) - 1).exceeding == 0


@pytest.mark.parametrize(("a", "b"), [(0, 1), (True, False), (None, 3), (3, None), (None, "full"), (3, "three")])
def test_any_threshold_sees_what_has_no_relative_difference(a, b):
    found = compare(tidied({"x": {"v": a}}), tidied({"x": {"v": b}}), threshold=Fraction(10**6))
    assert found.exceeding == 1


def test_no_threshold_sees_words():
    found = compare(tidied({"x": {"v": "memory"}}), tidied({"x": {"v": "launch"}}), threshold=Fraction(0))
    assert ([each.b for each in found.words], found.exceeding) == (["launch"], 0)


def test_without_a_threshold_nothing_exceeds_it():
    assert compare(tidied({"x": {"v": 1}}), tidied({"y": {"v": 2}})).exceeding == 0


# What one file alone has


def only(found):
    """(key without names, quantity, values) of what is in one file alone."""
    return [[(tuple(v for _, v in e.key), e.quantity, e.values) for e in some] for some in (found.only_a, found.only_b)]


def test_a_page_of_one_file_is_one_line(compared):
    stages = {"decode": {"io_bytes": 10, "kv_bytes": 5, "parts": {"sam": {"io_bytes": 10}}}}
    found = compared(analysis(("a.pdf", 1, stages), ("b.pdf", 1, stages)), analysis(("a.pdf", 1, stages)))
    assert only(found) == [[(("b.pdf",), None, 3)], []]
    assert found.compared == 3


def test_a_quantity_of_one_file_is_one_line(compared):
    one = analysis(("a.pdf", 1, {"decode": {"io_bytes": 1}, "run": {"io_bytes": 2}}))
    other = analysis(("a.pdf", 1, {"decode": {"io_bytes": 1, "seconds": 1.0}, "run": {"io_bytes": 2, "seconds": 2.0}}))
    assert only(compared(one, other)) == [[], [((), "seconds", 2)]]


def test_a_value_of_one_file(compared):
    one = analysis(("a.pdf", 1, {"decode": {"io_bytes": 1}, "run": {"io_bytes": 2}}))
    other = analysis(("a.pdf", 1, {"decode": {"io_bytes": 1}, "run": {"kv_bytes": 2}}))
    assert only(compared(one, other)) == [[(("a.pdf", 1, "run"), "io_bytes", 1)], [((), "kv_bytes", 1)]]


def test_rows_of_one_file_exceed_a_threshold_unless_they_may(compared):
    one, other = pages(io_bytes=1), analysis(("b.pdf", 1, {"decode": {"io_bytes": 1}}))
    assert compared(one, other, threshold=Fraction(1)).exceeding == 2  # one in each
    assert compared(one, other, threshold=Fraction(1), allow=["rows"]).exceeding == 0


# What is refused


CASES = {
    "conventions": {"conventions": {"attention": "flash"}},
    "models": {"model": {"name": "other", "parameters": 3}},
    "schemas": {"schema": "modelmeter.time/1"},
}


@pytest.mark.parametrize("what", CASES)
def test_what_differs_is_refused_unless_allowed(compared, what):
    one, other = pages(io_bytes=1), {**pages(io_bytes=2), **CASES[what]}
    with pytest.raises(ModelMeterError, match=f"different {what} .*--allow-different {what} "):
        compared(one, other)
    found = compared(one, other, allow=[what])
    assert [each.absolute for each in found.numbers] == [1]
    with pytest.raises(ModelMeterError, match=what):
        compared(one, other, allow=sorted(set(ALLOWABLE) - {what}))


def test_all_that_is_refused_is_said_at_once(compared):
    one, other = pages(io_bytes=1), {**pages(io_bytes=2), **CASES["conventions"], **CASES["models"]}
    with pytest.raises(
        ModelMeterError, match=r"conventions \(attention eager and flash\) and models \(name ocr and other\)"
    ):
        compared(one, other)


def test_a_convention_that_one_file_lacks_differs(compared):
    other = {**pages(io_bytes=2), "conventions": {"attention": "eager", "logits": "all"}}
    with pytest.raises(ModelMeterError, match="logits None and all"):
        compared(pages(io_bytes=1), other)


def test_prose_about_conventions_may_differ(compared):
    other = {**pages(io_bytes=1), "conventions": {"attention": "eager", "notes": ["as eager as can be"]}}
    assert compared(pages(io_bytes=1), other).settings == ()


def test_another_precision_is_a_setting_and_no_other_model(compared):
    """What is resident stands among the model's fields: it follows from the precision."""
    changed = {"model": {"name": "ocr", "parameters": 3, "weights_resident_bytes": 2}, "precision": {"weights": "int4"}}
    found = compared(pages(io_bytes=1), {**pages(io_bytes=1), **changed})
    assert [(each.name, each.a, each.b) for each in found.settings] == [("precision.weights", "bf16", "int4")]


def test_another_version_is_told_and_compared(compared):
    found = compared({**pages(io_bytes=1), "analytic_model_version": "2"}, pages(io_bytes=3))
    assert (found.a.analytic_model_version, found.b.analytic_model_version) == ("2", "2026.11.21")
    assert found.numbers[0].relative == Fraction(2)


def test_only_known_things_can_be_allowed():
    with pytest.raises(ModelMeterError, match=r"'colours' cannot be allowed.*conventions, models, schemas, rows"):
        compare(tidied({}), tidied({}), allow=["colours"])


def test_a_result_equals_itself(compared):
    data = pages(io_bytes=1, fits=True, binds="memory", limit=None, share=0.5)
    found = compared(data, data, threshold=Fraction(0))
    assert (found.compared, found.equal, found.exceeding) == (5, 5, 0)
    assert found.only_a == found.only_b == found.settings == ()


def test_size_has_no_sign():
    each = Difference(key=(), quantity="v", a=4, b=1, absolute=-3, relative=Fraction(-3, 4))
    assert each.size == Fraction(3, 4)
