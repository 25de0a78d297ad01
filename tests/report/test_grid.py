"""Tables on narrow terminals: words fold, numbers stay whole, nothing is cut off."""

import io

import pytest
from rich.console import Console

from modelmeter.report.grid import Table, print_table

NUMBERS = ("12.3 ms to 14.5 ms", "1,234,567 B")
WORDS = "a row with a long name"
TABLE = Table(title="t", columns=("row", "quartiles of\ntimes", "size"), rows=((WORDS, *NUMBERS),))


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
def test_numbers_are_whole_at_any_width(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    print_table(console, TABLE)
    text = out.getvalue()
    assert all(number in text for number in NUMBERS)
    assert all(word in text for word in WORDS.split()) and "quartiles of" in text
    assert console.width == width  # lines after the table wrap where they did
