"""From measured operators to the efficiencies of their classes: least squares on the logarithms of the times.

Of a class with terms t (its FLOPs or bytes at the device's rate) a kernel takes, with shares e and an overlap o,

    longest + (1 - o) * (sum - longest) + seconds * launches,   terms t / e,

five numbers at most, however many operators are measured; small operands spread over a large output have seconds a row,
causal attention the size of the blocks it skips. Shares are at most 1 and nothing is negative, so that no
calibrated time is below the roofline's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import numpy as np

from modelmeter.core.dims import prod
from modelmeter.core.op import Op
from modelmeter.hardware.device import Device
from modelmeter.hardware.efficiency import CLASSES, Calibration, Efficiency, class_of
from modelmeter.hardware.machine import Machine
from modelmeter.live.calibration.cases import Sample

_LEAST_SHARE: Final = 1e-4
_MOST_SECONDS: Final = 1e-2
_UNIT: Final = 1e-6  # seconds a kernel are fitted in microseconds
_ROW_UNIT: Final = 1e-9
_NOTHING: Final = 1e-12  # what a bound of zero leaves
_BLOCKS: Final = (1.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
_STARTS: Final = tuple((share, overlap) for share in (0.1, 0.7) for overlap in (0.1, 0.9))
_OUTLIER: Final = 0.2
"""Beyond this (in log time) an operator counts linearly, not squared: one odd size does not bend the others' fit."""
_DOUBT: Final = {"share": 0.003, "overlap": 0.03}
"""How much the logarithm of a share, or what an overlap lacks of 1, weighs beside the log error of one operator: where
the measurements cannot tell, both are the roofline's 1."""
_WIDTHS: Final = ("tensor", "vector", "memory")


@attrs.frozen(kw_only=True)
class Fitted:
    """A class: its efficiency, and how well it gives back what was measured (share of the measured time)."""

    efficiency: Efficiency
    operators: int
    median_error: float
    worst_error: float
    spread: float


def fit(samples: Sequence[Sample], device: Device) -> dict[str, Fitted]:
    """The efficiency of every class that has samples, against the device's rates."""
    machine = Machine(device=attrs.evolve(device, calibration=device.calibration or {}), execution="graph")
    found: dict[str, Fitted] = {}
    for kind in CLASSES:
        of_kind = [sample for sample in samples if sample.kind == kind]
        if of_kind:
            found[kind] = _fit_class(of_kind, machine)
    return found


def _fit_class(samples: Sequence[Sample], machine: Machine) -> Fitted:
    measured = np.array([s.timing.seconds for s in samples])
    masked = any(s.op.kind == "fused" and s.op.numbers[0] < s.op.numbers[2] for s in samples)
    found = []
    for block in _BLOCKS if masked else (1.0,):
        terms = terms_of([s.op for s in samples], machine, block)
        efficiency = attrs.evolve(fit_terms(terms, measured), causal_block=block)
        errors = np.abs(predicted(efficiency, terms) / measured - 1)
        found.append((float(np.abs(np.log1p(np.minimum(errors, 9))).sum()), efficiency, errors))
    _, efficiency, errors = min(found, key=lambda one: one[0])
    return Fitted(
        efficiency=efficiency,
        operators=len(samples),
        median_error=float(np.median(errors)),
        worst_error=float(errors.max()),
        spread=float(np.median([s.timing.spread for s in samples])),
    )


def terms_of(ops: Sequence[Op], machine: Machine, block: float = 1.0) -> np.ndarray:
    """[n 5] of operators: seconds of tensor, vector and memory at the device's rates, launches, and rows."""
    bare: dict[str, Efficiency] = {kind: Efficiency(causal_block=block) for kind in CLASSES}
    at_rates = attrs.evolve(machine, calibration=Calibration(classes=bare, host_seconds=0.0))
    rows = [prod(op.shape[:-1]) if class_of(op) == "broadcast" else 0 for op in ops]
    return np.array([[*at_rates.terms(op)[:3], op.launches, n] for op, n in zip(ops, rows, strict=True)], dtype=float)


def predicted(efficiency: Efficiency, terms: np.ndarray) -> np.ndarray:
    """Seconds of operators whose terms are [n 5], as `terms_of` gives them."""
    shares = np.array([efficiency.tensor, efficiency.vector, efficiency.memory])
    reached = terms[:, :3] / shares
    longest = reached.max(axis=1)
    together = longest + (1 - efficiency.overlap) * (reached.sum(axis=1) - longest)
    return together + terms[:, 3] * efficiency.seconds + terms[:, 4] * efficiency.row_seconds


def fit_terms(terms: np.ndarray, measured: np.ndarray) -> Efficiency:
    """The efficiency that gives `measured` seconds back best. A term that no operator has keeps its share of 1.

    With fewer operators than numbers to find, those of the most time come first: the longest term's, the seconds.
    """
    present = [i for i in np.argsort(-terms[:, :3].sum(axis=0)) if terms[:, i].any()]
    if not present:
        return Efficiency(seconds=float(np.median(measured / terms[:, 3])))
    longest, *others = [_WIDTHS[i] for i in present]
    rows = ["row_seconds"] * bool(terms[:, 4].any())
    names = [longest, "seconds", *rows, *others, *["overlap"] * bool(others)][: len(measured)]
    best = min((_solve(names, start, terms, measured) for start in _STARTS), key=lambda found: found[0])
    return best[1]


def _solve(
    names: Sequence[str], start: tuple[float, float], terms: np.ndarray, measured: np.ndarray
) -> tuple[float, Efficiency]:
    """(cost, efficiency) from one starting point: shares by their logarithm, seconds in microseconds."""
    from scipy.optimize import least_squares

    share, overlap = start
    least = float((measured / terms[:, 3]).min())
    a_row = float((measured / np.maximum(terms[:, 4], 1)).min())
    first = {"seconds": min(least, _MOST_SECONDS) / _UNIT / 2, "overlap": overlap, "row_seconds": a_row / _ROW_UNIT / 2}
    bounds: Mapping[str, tuple[float, float]] = {
        "seconds": (0.0, max(min(least, _MOST_SECONDS) / _UNIT, 1e-9)),
        "overlap": (0.0, 1.0),
        "row_seconds": (0.0, a_row / _ROW_UNIT),
    }
    shares = math.log(_LEAST_SHARE), 0.0

    def efficiency_of(x: Sequence[float]) -> Efficiency:
        return _efficiency(names, x)

    def residuals(x: Sequence[float]) -> np.ndarray:
        efficiency = efficiency_of(x)
        doubts = [_DOUBT["share"] * math.log(getattr(efficiency, width)) for width in _WIDTHS]
        doubts.append(_DOUBT["overlap"] * (1 - efficiency.overlap))
        return np.append(np.log(predicted(efficiency, terms) / measured), doubts)

    found = least_squares(
        residuals,
        [first.get(name, math.log(share)) for name in names],
        bounds=tuple(zip(*[bounds.get(name, shares) for name in names], strict=True)),
        loss="soft_l1",
        f_scale=_OUTLIER,
    )
    return float(found.cost), efficiency_of(found.x)


def _efficiency(names: Sequence[str], x: Sequence[float]) -> Efficiency:
    to: Mapping[str, Callable[[float], float]] = {
        "seconds": lambda value: value * _UNIT if value * _UNIT > _NOTHING else 0.0,
        "row_seconds": lambda value: value * _ROW_UNIT if value * _ROW_UNIT > _NOTHING else 0.0,
        "overlap": lambda value: min(max(value, 0.0), 1.0),
    }
    values: dict[str, Any] = {
        name: to.get(name, lambda value: min(1.0, math.exp(value)))(float(value))
        for name, value in zip(names, x, strict=True)
    }
    return Efficiency(**values)
