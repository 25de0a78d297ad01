"""Rows, values and differences as people read them."""

import math
from fractions import Fraction

from modelmeter.report.compare.compare import Difference, as_float
from modelmeter.report.compare.tidy import Key, Leaf

_LONGEST = 60  # letters of a value in a table
_EXACT_BELOW = 10**18  # larger integers are written as powers of ten


def label(key: Key) -> str:
    """What a row is of: "a.pdf, page 1, decode". Numbers stand behind their names."""
    parts = [value if isinstance(value, str) else f"{name.replace('_', ' ')} {value}" for name, value in key]
    return ", ".join(parts) or "all"


def values(each: Difference) -> tuple[str, str]:
    """Both values, with as many digits as tell them apart."""
    texts = value_text(each.a), value_text(each.b)
    if texts[0] != texts[1]:
        return texts
    return str(each.a)[: 2 * _LONGEST], str(each.b)[: 2 * _LONGEST]


def value_text(value: Leaf) -> str:
    """A value: integers in full, real numbers with six digits, "yes", "no", "none", or a text, cut where it is long."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < _EXACT_BELOW else _power(Fraction(value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "..."


def change(value: float | None) -> str:
    """B - A, with its sign."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:+,}" if abs(value) < _EXACT_BELOW else _power(Fraction(value), "+")
    return f"{value:+.4g}"


def percent(value: Fraction | None) -> str:
    """A relative difference with its sign: "+5%"; one from 0 has none."""
    if value is None:
        return "from 0"
    share = as_float(100 * value)
    if math.isinf(share):
        return f"{'+' if share > 0 else '-'}above 1e308%"
    if abs(share) < 1e3:
        return f"{share:+.3g}%"
    return f"{share:+,.0f}%" if abs(share) < 1e6 else f"{share:+.2e}%"


def share(value: Fraction) -> str:
    """A threshold: "5%"."""
    return f"{as_float(100 * value):g}%"


def _power(value: Fraction, sign: str = "") -> str:
    number = as_float(value)
    return f"beyond {sign}1e308" if math.isinf(number) else format(number, f"{sign}.6e")
