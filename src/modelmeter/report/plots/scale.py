"""Units of axes: the prefix that makes the largest number easy to read."""

from collections.abc import Iterable
from typing import Final

import attrs
import numpy as np

_DECIMAL: Final = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_STEPS: Final[dict[str, tuple[tuple[float, str], ...]]] = {
    "FLOP": tuple((step, f"{prefix}FLOP") for step, prefix in _DECIMAL),
    "FLOP/s": tuple((step, f"{prefix}FLOP/s") for step, prefix in _DECIMAL),
    "B/s": tuple((step, f"{prefix}B/s") for step, prefix in _DECIMAL),  # decimal, as data sheets give bandwidths
    "B": ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")),
}
_NAMES: Final = {"FLOP/B": "FLOP per byte", "1": "ratio"}


@attrs.frozen
class Scale:
    """Numbers are shown divided by `factor`, in `unit`."""

    factor: float
    unit: str

    def shown(self, values: np.ndarray) -> np.ndarray:
        """The numbers as they stand on the axis."""
        return values / self.factor


def scale_for(unit: str, values: Iterable[np.ndarray]) -> Scale:
    """The scale for a unit of `Quantity`, or of a rate, that fits the largest of `values`; no prefix where unknown."""
    if unit not in _STEPS:
        return Scale(1.0, _NAMES.get(unit, unit))
    largest = max((float(np.nanmax(several)) for several in values if np.isfinite(several).any()), default=0.0)
    steps = _STEPS[unit]
    if largest <= 0:
        return Scale(*next(step for step in steps if step[0] == 1.0))
    return Scale(*next((step for step in steps if largest >= step[0]), steps[-1]))


def is_wide(values: Iterable[np.ndarray], ratio: float) -> bool:
    """Whether all numbers are positive and the largest is more than `ratio` times the smallest."""
    numbers = np.concatenate([several[np.isfinite(several)] for several in values] or [np.zeros(0)])
    return bool(numbers.size and numbers.min() > 0 and numbers.max() / numbers.min() > ratio)


def plain(value: float) -> str:
    """A number on an axis: 1200 -> "1,200", 0.25 -> "0.25", 1e-7 -> "1e-07"."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def short_number(value: float) -> str:
    """A number beside a bar, with three digits."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
