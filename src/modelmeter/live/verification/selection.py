"""Which rows of a verification are reported: stages, layers, and those that a name selects."""

from collections.abc import Sequence
from typing import Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.trace import Unpriced
from modelmeter.live.verification.compare import Row
from modelmeter.live.verification.cross_check import CrossCheck
from modelmeter.live.verification.verify import Comparison, Point, Routing, Verification
from modelmeter.models.deepseek_ocr.config import Conventions

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "SAM": ("model.sam_model",),
    "CLIP": ("model.vision_model",),
    "projector": ("model.projector",),
    "decoder": ("model.embed_tokens", "model.rotary_emb", "model.layers", "model.norm"),
}
"""Parts of the model by name: the module paths that begin them."""


@attrs.frozen
class Shown:
    """What is reported of one point; `total` is None where only layers are."""

    point: Point
    total: Row | None
    layers: tuple[Row, ...]
    unpriced: tuple[Unpriced, ...]
    routing: Routing | None = None
    unmatched: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The whole, if it is reported, then the layers."""
        return self.layers if self.total is None else (self.total, *self.layers)

    @property
    def ok(self) -> bool:
        """Every row inside its bounds, every operator priced, every module compared."""
        return all(row.ok for row in self.rows) and not self.unpriced and not self.unmatched


@attrs.frozen
class Report:
    """What is reported of a verification. It is `ok` when every comparison shown is."""

    reference: str
    conventions: Conventions
    comparisons: tuple[Shown, ...]
    cross_checks: tuple[CrossCheck, ...] = ()

    @property
    def ok(self) -> bool:
        """Everything reported."""
        return all(each.ok for each in self.comparisons) and all(each.ok for each in self.cross_checks)


def select(verification: Verification, names: Sequence[str] = (), *, only_layers: bool = False) -> Report:
    """The rows to report. `names` (parts, twin classes, path prefixes) narrow the layers; none: all of them.

    Raises `ModelMeterError` for a name that selects nothing, listing what there is.
    """
    for name in names:
        if not any(_selects(name, row) for each in verification.comparisons for row in each.layers):
            raise ModelMeterError(f"nothing verified here is called {name!r}: {_choices(verification)}")
    shown = [_shown(comparison, names, only_layers) for comparison in verification.comparisons]
    kept = tuple(each for each in shown if each.rows or each.unpriced or each.unmatched)
    return Report(verification.reference, verification.conventions, kept)


def _shown(comparison: Comparison, names: Sequence[str], only_layers: bool) -> Shown:
    layers = tuple(row for row in comparison.layers if not names or any(_selects(name, row) for name in names))
    total = None if only_layers else comparison.total
    found = [each for each in comparison.unpriced if not (only_layers and names) or _inside(each.path, layers)]
    routing = None if only_layers else comparison.routing
    return Shown(comparison.point, total, layers, tuple(found), routing, comparison.unmatched)


def _inside(path: str, layers: tuple[Row, ...]) -> bool:
    return any(_below(path, prefix) for row in layers for prefix in row.paths)


def _selects(name: str, row: Row) -> bool:
    parts = {part.lower(): paths for part, paths in PARTS.items()}.get(name.lower())
    if parts is not None:
        return any(_below(path, prefix) for path in row.paths for prefix in parts)
    return row.layer == name or any(_below(path, name) for path in row.paths)


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}.")


def _choices(verification: Verification) -> str:
    rows = [row for each in verification.comparisons for row in each.layers]
    parts = [part for part in PARTS if any(_selects(part, row) for row in rows)]
    classes = sorted({row.layer for row in rows})
    return f"choose {', '.join([*parts, *classes])}, or the start of a module path such as {rows[-1].path}"
