"""The closed formulas of a kind of page: what a reader (or a page's sliders) can work out for other sizes."""

import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any, Final

import attrs

from modelmeter.core.cost import Cost
from modelmeter.core.recorder import RecordOptions
from modelmeter.formulas import OTHER_SIDES, SYMBOLS, closed, stage_step
from modelmeter.models.deepseek_ocr.engine import Step
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.report.model_report.data import STAGE_NAMES, ClosedFormula, Quantity, StageName

QUANTITIES: Final[tuple[Quantity, ...]] = (
    "tensor_flops",
    "cuda_flops",
    "weight_bytes",
    "activation_bytes",
    "kv_bytes",
)
"""Those that `flops` and `io_bytes` are the sums of."""
ABOVE_ONE: Final = "_above_1"
MEANINGS: Final = {
    **SYMBOLS,
    "S": "query tokens of a prefill, those of images among them",
    **{f"{name}{ABOVE_ONE}": f"1 where {name} is above 1, else 0: some copies fall away at 1" for name in SYMBOLS},
}
SEVERAL_WINDOWS: Final = "holds for views of 256 px (R = 4) and more: a smaller one is one window"
ROUNDED: Final = "with the number of experts reached as it is: the model rounds what it makes of it once an operator"


def has_sympy() -> bool:
    """Whether formulas can be written here (extra `symbolic`)."""
    return find_spec("sympy") is not None


def stage_formulas(model: DeepseekOCRModel, views: ViewPlan) -> tuple[ClosedFormula, ...]:
    """Every quantity of each stage of a page with these views, for any batch, prompt and cache. Needs SymPy.

    The stage's FLOPs and bytes in `QUANTITIES`, and what is cached. A decode step's grow evenly with T, so that K steps
    from T = S on are K times the one at T = S + (K - 1) / 2.
    """
    found = []
    for step in _steps(views):
        total = model.engine.trace(step, RecordOptions()).total
        found += [_formula(step.mode, None, name, getattr(total, name)) for name in QUANTITIES]
        if step.mode != "vision":
            held = model.kv_bytes_per_token(step.batch) * (step.past if step.mode == "decode" else step.end)
            found.append(_formula(step.mode, None, "kv_cache_bytes", held))
    return tuple(found)


def layer_formulas(model: DeepseekOCRModel, paths: Iterable[str]) -> tuple[ClosedFormula, ...]:
    """The same of modules, whatever the views: as `modelmeter formula` gives them."""
    found = []
    for stage in STAGE_NAMES:
        costs = model.engine.trace(stage_step(stage), RecordOptions()).by_layer()
        for path in paths:
            if path in costs:
                found += [_formula(stage, path, name, value) for name, value in _nonzero(costs[path])]
    return tuple(found)


def _steps(views: ViewPlan) -> Iterator[Step]:
    """The stages of a page: as those of `modelmeter formula`, with the page's views."""
    vision, prefill = stage_step("vision"), stage_step("prefill")
    yield attrs.evolve(vision, images=()).with_views(views)
    yield prefill.with_views(views)
    yield stage_step("decode")


def _nonzero(cost: Cost) -> Iterator[tuple[str, Any]]:
    for name in QUANTITIES:
        value = getattr(cost, name)
        if value != 0:
            yield name, value


def _formula(stage: StageName, layer: str | None, quantity: str, value: Any) -> ClosedFormula:
    expression, several_windows = _without_cases(closed(value, exact=True))
    text = str(expression)
    used = set(re.findall(r"[A-Za-z]\w*", text))
    limits = [] if _is_whole(expression) else [ROUNDED]
    limits += [OTHER_SIDES] if "R" in used else []
    limits += [SEVERAL_WINDOWS] if several_windows else []
    return ClosedFormula(
        stage=stage,
        layer=layer,
        quantity=quantity,
        expression=text,
        symbols={name: meaning for name, meaning in MEANINGS.items() if name in used},
        limits=tuple(limits),
    )


def _without_cases(expression: Any) -> tuple[Any, bool]:
    """(the expression with factors `B_above_1` for its cases of B = 1, whether a case of one window was left out)."""
    from modelmeter.core.symbolic import sympy

    sizes = {cases: cases.args[0].cond.lhs for cases in expression.atoms(sympy.Piecewise)}  # 0 where the size is 1
    factors = {
        cases: sympy.Symbol(f"{size}{ABOVE_ONE}", integer=True, nonnegative=True)
        if size.is_Symbol
        else sympy.Integer(1)
        for cases, size in sizes.items()
    }
    plain = sympy.expand(expression.xreplace(factors)).replace(_is_power_of_factor, lambda power: power.base)
    return plain, any(not size.is_Symbol for size in sizes.values())


def _is_whole(expression: Any) -> bool:
    """Whether whole sizes make whole numbers: not with a share of the experts, nor with a fraction of one."""
    from modelmeter.core.symbolic import sympy

    shares = any(power.exp.free_symbols for power in expression.atoms(sympy.Pow))
    return not shares and not expression.atoms(sympy.Float)


def _is_power_of_factor(part: Any) -> bool:
    """Whether it is a power of a number that is 0 or 1."""
    return bool(part.is_Pow and part.base.is_Symbol and part.base.name.endswith(ABOVE_ONE))
