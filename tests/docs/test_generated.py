"""What the documentation takes from the code is what the code gives, and its formulas count what the model counts."""

import importlib
import re
import sys
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sympy

from modelmeter import Cost, DeepseekOCRModel, ViewPlan, plan_views

ROOT = Path(__file__).resolve().parents[2]
SYMBOLS = {name: sympy.Symbol(name, positive=True, integer=True) for name in "BSTR"}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/make_formulas.py, which finds its neighbours as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        return importlib.import_module("make_formulas")


@pytest.fixture(scope="module")
def tables(tool: ModuleType) -> ModuleType:
    """tools/formula_tables.py, its neighbour."""
    return sys.modules["formula_tables"]


def test_the_marked_blocks_are_up_to_date(tool):
    stale = [path.relative_to(ROOT).as_posix() for path in tool.stale()]
    assert stale == [], f"{', '.join(stale)} differ from the code: run `{tool.COMMAND}`"


def test_every_block_stands_on_a_page(tool):
    marked = re.findall(r"<!-- generated: ([\w-]+) -->", "".join(tool.pages().values()))
    assert sorted(marked) == sorted(tool.BLOCKS)


def rows(block: str) -> list[list[str]]:
    """The cells of a table on the formulas page."""
    text = (ROOT / "docs" / "formulas.md").read_text(encoding="utf-8")
    table = text.split(f"<!-- generated: {block} -->")[1].split("<!-- end -->")[0]
    return [[cell.strip("` ") for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]


def value(formula: str, **sizes: int) -> Any:
    """A formula of the page at numbers."""
    return sympy.sympify(formula, locals=SYMBOLS).subs({SYMBOLS[name]: size for name, size in sizes.items()})


def costs() -> dict[str, tuple[Cost, dict[str, int]]]:
    """Each stage in numbers, and the sizes that its formula takes."""
    model = DeepseekOCRModel.from_config()
    model.set_views(ViewPlan.from_grid((1, 1), base_size=640))
    model.start_vision(batch_size=3)
    vision = model.cost()
    model.set_views(None)
    model.start_prefill(context_len=2000, batch_size=3)
    prefill = model.cost()
    model.start_decode()
    return {
        "vision": (vision, {"B": 3, "R": 10}),
        "prefill": (prefill, {"B": 3, "S": 2000}),
        "decode": (model.cost(), {"B": 3, "T": 2000}),
    }


def test_the_stage_formulas_count_what_the_model_counts(tables):
    stages, quantities = costs(), tables.STAGE_QUANTITIES[:-1]
    met = []
    for stage, quantity, formula in rows("stage-formulas"):
        if quantity in quantities:  # not the cache held, not the rows of one sequence
            cost, sizes = stages[stage]
            rounding = 11 * 3 / 2 if quantity == "weight_bytes" else 0  # half a byte for each product of the experts
            assert abs(value(formula, **sizes) - getattr(cost, quantity)) <= rounding, (stage, quantity)
            met.append((stage, quantity))
    zero = {("vision", "kv_bytes")}
    assert met == [pair for pair in product(stages, quantities) if pair not in zero]


def test_the_formulas_of_each_mode_count_what_the_model_counts():
    model = DeepseekOCRModel.from_config()
    for views, quantity, formula in rows("mode-formulas"):
        model.set_views(plan_views(1654, 2339, mode=views.split(":")[0]))
        model.start_vision(batch_size=2)
        assert value(formula, B=2) == getattr(model.cost(), quantity), (views, quantity)
