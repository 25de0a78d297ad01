"""Means over replications of a simulation, and how sure they are."""

import math
from collections.abc import Sequence

import attrs


@attrs.frozen
class Estimate:
    """A mean over replications and the half width of its 95% confidence interval, both in the quantity's unit."""

    mean: float
    half_width: float = 0.0

    @property
    def upper(self) -> float:
        """The upper end of the interval."""
        return self.mean + self.half_width

    @property
    def relative(self) -> float:
        """Half width over mean; 0 where the mean is 0."""
        return self.half_width / abs(self.mean) if self.mean else 0.0


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of independent replications with Student's t interval; infinitely wide for a single one."""
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, math.inf)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Estimate(mean, student_t_975(count - 1) * math.sqrt(variance / count))


def student_t_975(freedom: int) -> float:
    """The 97.5% point of Student's t: exact for 1 and 2 degrees of freedom, else within 0.2%.

    The expansion about the normal point is that of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    if freedom == 1:
        return math.tan(math.pi * 0.475)
    if freedom == 2:
        return 2 * 0.475 * math.sqrt(2 / (1 - (2 * 0.475) ** 2))
    z, v = 1.959963984540054, float(freedom)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / v + second / v**2 + third / v**3 + fourth / v**4
