"""Formulas as trees: what SymPy prints becomes lists, and nothing else does."""

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.html_page.formula_tree import formula_tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("0", "0"),
        ("B", "B"),
        ("61440*B*S**2", ["*", "61440", "B", ["^", "S", "2"]]),
        ("B + S + 3", ["+", "B", "S", "3"]),
        ("B - 5*S", ["+", "B", ["*", "-5", "S"]]),
        ("-484*(29/32)**(B*S)", ["*", "-484", ["^", ["/", "29", "32"], ["*", "B", "S"]]]),
        ("Max(S, T)", ["max", "S", "T"]),
        ("ceiling(S/128)", ["ceil", ["/", "S", "128"]]),
        ("Piecewise((0, Eq(S, 1)), (1, True))", ["cases", ["0", ["eq", "S", "1"]], ["1", ["true"]]]),
        ("1 if S > 1 else 0", ["cases", ["1", ["gt", "S", "1"]], ["0", ["true"]]]),
        ("9007199254740993", "9007199254740993"),  # 2**53 + 1: a float would end in 2
    ],
)
def test_tree_of_an_expression(text, tree):
    assert formula_tree(text) == tree


@pytest.mark.parametrize("text", ["__import__('os')", "S.real", "log(S)", "[S]", "S if", "Piecewise(S)"])
def test_what_the_page_cannot_evaluate_is_an_error(text):
    with pytest.raises(ModelMeterError, match="formula"):
        formula_tree(text)
