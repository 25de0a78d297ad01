"""`compare`: the differences of two results, joined by what identifies a value, as data."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Final, TypeGuard

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.compare.read import read_result
from modelmeter.report.compare.tidy import Key, Leaf, Tidy

ALLOWABLE: Final = ("conventions", "models", "schemas", "rows")
"""What may differ only where that was allowed; "rows": those in one file alone do not exceed a threshold."""
NOTHING: Final = 1e-12
"""Real numbers below are 0: less than a picosecond, and shares and probabilities that are rounding."""
_PREFIXES: Final = {"conventions": "conventions", "models": "model"}


@attrs.frozen(kw_only=True)
class Difference:
    """A value that differs. Numbers have differences; `relative` is None where `a` is 0, and of what is no number."""

    key: Key
    quantity: str
    a: Leaf
    b: Leaf
    absolute: int | float | None
    relative: Fraction | None

    @property
    def is_number(self) -> bool:
        """Whether both values are numbers."""
        return self.absolute is not None

    @property
    def is_word(self) -> bool:
        """Whether both values are texts."""
        return isinstance(self.a, str) and isinstance(self.b, str)

    @property
    def size(self) -> Fraction | float:
        """The relative difference without its sign; that from 0, and that of what is no number, is infinite."""
        return math.inf if self.relative is None else abs(self.relative)


@attrs.frozen(kw_only=True)
class Lone:
    """What one file alone has: a value of a row, the rows under a key (no quantity), or a quantity (no key)."""

    key: Key
    quantity: str | None
    values: int


@attrs.frozen(kw_only=True)
class Setting:
    """A setting that differs."""

    name: str
    a: Leaf
    b: Leaf


@attrs.frozen(kw_only=True)
class Comparison:
    """Two results: numbers that differ, the largest relative difference first, and all else that does.

    `threshold` is a share of A's value, None where none was given. `states` are values that are yes, no or none in one
    of them; `words` are texts, which no threshold looks at.
    """

    a: Tidy
    b: Tidy
    allowed: frozenset[str]
    threshold: Fraction | None
    numbers: tuple[Difference, ...]
    states: tuple[Difference, ...]
    words: tuple[Difference, ...]
    only_a: tuple[Lone, ...]
    only_b: tuple[Lone, ...]
    settings: tuple[Setting, ...]
    compared: int

    @property
    def equal(self) -> int:
        """Values that both have and that are the same."""
        return self.compared - len(self.numbers) - len(self.states) - len(self.words)

    @property
    def exceeding(self) -> int:
        """How many differences are above the threshold; states, and what one file alone has, are above any."""
        if self.threshold is None:
            return 0
        lone = 0 if "rows" in self.allowed else len(self.only_a) + len(self.only_b)
        return sum(each.size > self.threshold for each in self.numbers) + len(self.states) + lone


def compare(
    a: str | Path | Tidy, b: str | Path | Tidy, *, allow: Iterable[str] = (), threshold: Fraction | None = None
) -> Comparison:
    """The differences of two results, as seen from A: B - A, and that over A.

    `allow` names what may differ (`ALLOWABLE`); `threshold` is a share. Raises `ModelMeterError` where something else
    that must be the same is not, and for files that cannot be read.
    """
    allowed = _allowed(allow)
    one, other = (each if isinstance(each, Tidy) else read_result(each) for each in (a, b))
    settings = _settings(one, other)
    _refuse(one, other, settings, allowed)
    pairs = [
        (key, quantity, value, other.rows[key][quantity])
        for key, values in one.rows.items()
        if key in other.rows
        for quantity, value in values.items()
        if quantity in other.rows[key]
    ]
    differing = [_difference(*pair) for pair in pairs if not _same(*pair[2:])]
    return Comparison(
        a=one,
        b=other,
        allowed=allowed,
        threshold=threshold,
        numbers=tuple(sorted((each for each in differing if each.is_number), key=_rank)),
        states=tuple(each for each in differing if not each.is_number and not each.is_word),
        words=tuple(each for each in differing if each.is_word),
        only_a=_only(one, other),
        only_b=_only(other, one),
        settings=settings,
        compared=len(pairs),
    )


def parse_threshold(text: str) -> Fraction:
    """A share of a value, exact: "5%" or "0.05". Raises `ModelMeterError` for what is none."""
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{0,99})?|\.\d{1,99})\s*(%?)\s*", text)
    if found is None:
        raise ModelMeterError(f"threshold {text!r}: give a share such as 5% or 0.05")
    number, is_percent = Fraction(found[1]), bool(found[2])
    if number >= 1 and not is_percent:
        raise ModelMeterError(f"threshold {text!r} is unclear: write {found[1]}% or {float(number * 100):g}%")
    return number / 100 if is_percent else number


def _allowed(names: Iterable[str]) -> frozenset[str]:
    given = frozenset(names)
    for name in sorted(given.difference(ALLOWABLE)):
        raise ModelMeterError(f"{name!r} cannot be allowed to differ: choose among {', '.join(ALLOWABLE)}")
    return given


def _settings(a: Tidy, b: Tidy) -> tuple[Setting, ...]:
    """Those that differ; of two schemas, those that both have."""
    names = dict.fromkeys([*a.settings, *b.settings])
    if a.schema != b.schema:
        names = {name: None for name in names if name in a.settings and name in b.settings}
    pairs = [Setting(name=name, a=a.settings.get(name), b=b.settings.get(name)) for name in names]
    return tuple(pair for pair in pairs if not _same(pair.a, pair.b))


def _refuse(a: Tidy, b: Tidy, settings: tuple[Setting, ...], allowed: frozenset[str]) -> None:
    """Raise where what must be the same is not."""
    reasons = {"schemas": [] if a.schema == b.schema else [f"{a.schema} and {b.schema}"]}
    for what, section in _PREFIXES.items():
        mine = [each for each in settings if each.name.partition(".")[0] == section]
        reasons[what] = [f"{each.name.removeprefix(section + '.')} {each.a} and {each.b}" for each in mine]
    refused = {what: found for what, found in reasons.items() if found and what not in allowed}
    if refused:
        texts = [f"{what} ({', '.join(found)})" for what, found in refused.items()]
        remedy = ",".join(sorted({*refused, *allowed}))
        raise ModelMeterError(
            f"{a.name} and {b.name} have different {' and '.join(texts)}: "
            f"--allow-different {remedy} compares them all the same"
        )


def _same(a: Leaf, b: Leaf) -> bool:
    if isinstance(a, float) and isinstance(b, float) and abs(a) < NOTHING and abs(b) < NOTHING:
        return True
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _is_number(value: Leaf) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _difference(key: Key, quantity: str, a: Leaf, b: Leaf) -> Difference:
    """Exact: fractions of what the files hold."""
    absolute: int | float | None = None
    relative = None
    if _is_number(a) and _is_number(b):
        exact = Fraction(b) - Fraction(a)
        absolute = int(exact) if isinstance(a, int) and isinstance(b, int) else as_float(exact)
        relative = None if a == 0 else exact / abs(Fraction(a))
    return Difference(key=key, quantity=quantity, a=a, b=b, absolute=absolute, relative=relative)


def as_float(value: Fraction) -> float:
    """The nearest float; what is beyond them all is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _rank(each: Difference) -> tuple[Fraction | float, int | float]:
    """Largest relative difference first, then the largest absolute one; what is left keeps the file's order."""
    return -each.size, -abs(each.absolute or 0)


def _only(mine: Tidy, others: Tidy) -> tuple[Lone, ...]:
    """What `mine` alone has. Rows under the shortest key that the other file lacks are one, and so is a quantity that
    it has nowhere."""
    known = {key[:length] for key in others.rows for length in range(len(key) + 1)}
    quantities = {quantity for values in others.rows.values() for quantity in values}
    counts: Counter[tuple[Key, str | None]] = Counter()
    for key, values in mine.rows.items():
        lacking = next((key[:length] for length in range(len(key) + 1) if key[:length] not in known), None)
        for quantity in values:
            if lacking is not None:
                counts[lacking, None] += 1
            elif quantity not in quantities:
                counts[(), quantity] += 1
            elif quantity not in others.rows.get(key, {}):
                counts[key, quantity] += 1
    return tuple(Lone(key=key, quantity=quantity, values=count) for (key, quantity), count in counts.items())
