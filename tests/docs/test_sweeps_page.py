"""The tables of docs/sweeps.md are those of the code."""

from pathlib import Path

from modelmeter.sweeps.dimensions import DIMENSIONS
from modelmeter.sweeps.quantities import QUANTITIES, STAGES, VIEW_QUANTITIES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TEXT.splitlines() if line.startswith("| `")]


def test_every_dimension_is_in_the_tables():
    found = {row[0].strip("`"): row[1] for row in ROWS if len(row) == 2}
    assert found == {name: dimension.long_name for name, dimension in DIMENSIONS.items()}


def test_every_quantity_is_in_the_table():
    found = {row[0].strip("`"): row[1:] for row in ROWS if len(row) == 5}
    expected = {
        name: [
            quantity.units,
            quantity.long_name,
            "all" if quantity.stages == STAGES else ", ".join(quantity.stages),
            "yes" if quantity.timed else "",
        ]
        for name, quantity in QUANTITIES.items()
    }
    views = {name: [units, long_name, "where views vary", ""] for name, (units, long_name) in VIEW_QUANTITIES.items()}
    assert found == expected | views
