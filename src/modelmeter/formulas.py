"""Closed formulas: the same recording with symbols for sizes."""

import difflib
import json
import re
from os import PathLike
from typing import Any

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core.cost import Cost
from modelmeter.core.dims import Dim
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.layer import Layer
from modelmeter.core.recorder import RecordOptions
from modelmeter.core.trace import Trace
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.engine import Step
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.network import VisionTower
from modelmeter.models.deepseek_ocr.sam import ImageEncoderViT, PatchEmbed
from modelmeter.nn.token import CachedLayer, TokenLayer

QUANTITIES = (
    "flops",
    "tensor_flops",
    "cuda_flops",
    "counted_flops",
    "weight_bytes",
    "activation_bytes",
    "activation_read_bytes",
    "activation_write_bytes",
    "kv_bytes",
    "kv_read_bytes",
    "kv_write_bytes",
    "io_bytes",
    "kv_cache_bytes",
)
STAGES = ("vision", "prefill", "decode")
VIEW_UNIT = 64
"""Pixels of a view's side for each row of its image tokens: patches of 16, then 4 times fewer."""
IMAGE_LAYERS = (ImageEncoderViT, PatchEmbed, VisionTower)
MODELS = ("deepseek-ocr",)
LARGER_SIZES = "holds for B and S above 1: at 1 some copies fall away (--exact keeps the cases apart)"
OTHER_SIDES = "holds where tables are resized and windows padded: not at the native side nor at multiples of 448 px"
SYMBOLS = {
    "B": "sequences (or pages, or views of one size) in the batch",
    "S": "query tokens of a prefill or of a layer's input",
    "T": "tokens cached before the decoded one",
    "R": "side of a square view in units of 64 pixels (rows of image tokens); of a grid layer, the grid's side",
}
"""The symbols of every formula, positive integers."""


def formula(
    target: Layer | DeepseekOCRModel,
    quantity: str = "flops",
    *,
    stage: str | None = None,
    layer: str | None = None,
    exact: bool = False,
) -> Any:
    """The closed form of `quantity` (see `QUANTITIES`) as an expanded SymPy expression in the symbols of `SYMBOLS`.

    Of a layer: its call on [B S hidden] (S queries and, in decode, T cached tokens for an attention or decoder layer).
    Of a model: a stage, "vision" (B square views of side 64 R pixels), "prefill" (B sequences of S text tokens, nothing
    cached) or "decode" (the next token of B sequences with T cached); `layer` picks one module path of it.

    The state of `target` is not moved. Where a size of 1 makes a copy fall away, the formula is that of larger sizes;
    `exact` keeps the cases apart. A view's formula is that of sides whose position tables are resized and whose
    windows are padded: neither the native side nor multiples of 448 pixels (a page's own views are exact: ask a model).

    Raises `ModelMeterError` for an unknown quantity, stage or path, and where SymPy is not installed.
    """
    if quantity not in QUANTITIES:
        raise ModelMeterError(f"unknown quantity {quantity!r}: choose among {', '.join(QUANTITIES)}")
    if isinstance(target, DeepseekOCRModel):
        cost, kv = _of_model(target, stage, layer)
    else:
        if stage not in (None, "prefill", "decode"):
            raise ModelMeterError(f"a layer has no stage {stage!r}: choose prefill or decode")
        cost, kv = _of_layer(target, stage, layer)
    return closed(kv if quantity == "kv_cache_bytes" else getattr(cost, quantity), exact)


@attrs.frozen(kw_only=True)
class Formula:
    """A formula with its question: what, of which stage (and layer)."""

    model: str
    stage: str
    layer: str | None
    quantity: str
    expression: Any
    conventions: Conventions
    limits: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Plain text: `quantity(stage) = ...`."""
        return f"{self._name} = {self.expression}"

    @property
    def latex(self) -> str:
        """LaTeX."""
        from modelmeter.core.symbolic import sympy

        name = self._name.replace("_", r"\_")
        return rf"\mathrm{{{name}}} = {sympy.latex(self.expression)}"

    @property
    def symbols(self) -> dict[str, str]:
        """The symbols that occur, and what they mean."""
        used = {str(symbol) for symbol in self.expression.free_symbols}
        return {name: meaning for name, meaning in SYMBOLS.items() if name in used}

    @property
    def notes(self) -> list[str]:
        """The symbols and the conventions, a line each."""
        chosen = ", ".join(f"{name} {value}" for name, value in attrs.asdict(self.conventions).items())
        return [
            *[f"{name}: {meaning}" for name, meaning in self.symbols.items()],
            *self.limits,
            f"conventions: {chosen}",
        ]

    def to_json(self) -> str:
        """JSON with the symbols and the conventions."""
        data = {
            "schema": "modelmeter.formula/1",
            "modelmeter_version": __version__,
            "analytic_model_version": ANALYTIC_MODEL_VERSION,
            **{name: getattr(self, name) for name in ("model", "stage", "layer", "quantity")},
            "formula": str(self.expression),
            "symbols": self.symbols,
            "limits": list(self.limits),
            "conventions": attrs.asdict(self.conventions),
        }
        return json.dumps(data, indent=1) + "\n"

    @property
    def _name(self) -> str:
        return f"{self.quantity}({self.stage}{'' if self.layer is None else ', ' + self.layer})"


def describe_formula(
    model: str,
    stage: str,
    quantity: str,
    *,
    layer: str | None = None,
    config: str | PathLike[str] | None = None,
    exact: bool = False,
    **conventions: Any,
) -> Formula:
    """The formula of a named model. Raises `ModelMeterError` for an unknown model, stage, quantity or layer."""
    if model not in MODELS:
        raise ModelMeterError(f"unknown model {model!r}: choose {', '.join(MODELS)}")
    read = None if config is None else DeepseekOCRConfig.from_hf(config)
    twin = DeepseekOCRModel.from_config(read, **conventions)
    expression = formula(twin, quantity, stage=stage, layer=layer, exact=exact)
    limits = []
    if expression != formula(twin, quantity, stage=stage, layer=layer, exact=True):
        limits.append(LARGER_SIZES)
    if stage == "vision" and {str(symbol) for symbol in expression.free_symbols} & {"R"}:
        limits.append(OTHER_SIDES)
    return Formula(
        model=model,
        stage=stage,
        layer=layer,
        quantity=quantity,
        expression=expression,
        conventions=twin.conventions,
        limits=tuple(limits),
    )


def _of_layer(target: Layer, stage: str | None, path: str | None) -> tuple[Cost, Dim]:
    batch, queries, cached = size_symbols("B S T")
    side = size_symbols("R")[0]
    if isinstance(target, CachedLayer):
        sizes: tuple[Dim, ...] = (1, batch, cached) if stage == "decode" else (queries, batch, 0)
        held = cached if stage == "decode" else queries
        kv: Dim = target.kv_bytes_per_token() * batch * held
    else:
        over_tokens = isinstance(target, TokenLayer)
        extent = VIEW_UNIT * side if isinstance(target, IMAGE_LAYERS) else side
        sizes = (1 if stage == "decode" else queries if over_tokens else extent, batch)
        kv = 0
    return _pick(target.trace_at(*sizes), path), kv


def _of_model(model: DeepseekOCRModel, stage: str | None, path: str | None) -> tuple[Cost, Dim]:
    step = stage_step(stage)
    held = {"vision": 0, "prefill": step.queries, "decode": step.past}[step.mode]
    kv = model.kv_bytes_per_token(step.batch) * held
    return _pick(model.engine.trace(step, RecordOptions()), path), kv * _caching_share(model, path)


def stage_step(stage: str | None) -> Step:
    """The forward pass that a stage's formulas are of, in symbols. Raises `ModelMeterError` for another stage."""
    batch, queries, cached, side = size_symbols("B S T R")
    if stage == "vision":
        return Step(mode="vision", batch=batch, images=((1, VIEW_UNIT * side),))
    if stage == "prefill":
        return Step(mode="prefill", batch=batch, queries=queries)
    if stage == "decode":
        return Step(mode="decode", batch=batch, queries=1, past=cached)
    raise ModelMeterError(f"unknown stage {stage!r}: choose among {', '.join(STAGES)}")


def _caching_share(model: DeepseekOCRModel, path: str | None) -> Any:
    """The share of the KV cache that a module's layers hold: a decoder layer's is in its attention."""
    from modelmeter.core.symbolic import sympy

    if path in (None, "", "model"):
        return 1
    is_one = re.fullmatch(r"model\.layers\.\d+(\.self_attn)?", path or "") is not None
    return sympy.Rational(int(is_one), len(model.network.model.layers))


def _pick(trace: Trace, path: str | None) -> Cost:
    if path is None:
        return trace.total
    found = trace.by_layer()
    if path not in found:
        near = difflib.get_close_matches(path, found, n=3, cutoff=0.3)
        raise ModelMeterError(f"no module {path!r} in this stage; near it: {', '.join(near) or 'none'}")
    return found[path]


def size_symbols(names: str) -> tuple[Any, ...]:
    """The named ones of `SYMBOLS`."""
    from modelmeter.core.symbolic import sympy

    return tuple(sympy.symbols(names.split(), positive=True, integer=True))


def closed(value: Dim, exact: bool) -> Any:
    """An expanded expression; unless `exact`, that of sizes above 1."""
    from modelmeter.core.symbolic import sympy

    expression = sympy.sympify(value)
    if not exact:
        # The last branch is the general one: sizes above 1.
        expression = expression.replace(lambda part: isinstance(part, sympy.Piecewise), lambda part: part.args[-1][0])
    return sympy.expand(expression)
