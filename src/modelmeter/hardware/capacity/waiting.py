"""Distributions of waiting times on a grid: what is added to what, and where 95% lie below.

A delay is an array of probabilities of being in [i, i + 1) steps of the grid; sums of independent delays are
convolutions, done with the FFT.
"""

import math

import numpy as np

from modelmeter.hardware.capacity.workload import Floats

_POINTS = 2**12


class Grid:
    """Delays from 0 to `longest` seconds; what lies beyond is put at the end."""

    def __init__(self, longest: float) -> None:
        self.step = longest / _POINTS
        self._edges = np.arange(_POINTS + 1) * self.step

    def constants(self, seconds: Floats, shares: Floats) -> Floats:
        """A delay that takes given values; each is split over the two nearest points, so that means are exact."""
        place = np.minimum(seconds / self.step, _POINTS - 2)
        low = place.astype(np.int64)
        delay = np.bincount(low, shares * (1 - (place - low)), _POINTS)
        return np.asarray(delay + np.bincount(low + 1, shares * (place - low), _POINTS))

    def residuals(self, seconds: Floats, shares: Floats) -> Floats:
        """What is left of a service under way at a random moment: uniform up to its length, long ones more often."""
        weights = shares * seconds
        whole = weights.sum()
        if whole == 0:
            return self.constants(np.zeros(1), np.ones(1))
        below = np.minimum(self._edges[:, None] / np.maximum(seconds, 1e-300)[None, :], 1.0) @ (weights / whole)
        masses = np.diff(below)
        # A cell's mass sits at its middle: split it over the points at its ends.
        return np.asarray((masses + np.concatenate(([0.0], masses[:-1]))) / 2)

    def exponential(self, mean: float) -> Floats:
        """An exponential delay."""
        if mean <= 0:
            return self.constants(np.zeros(1), np.ones(1))
        masses = -np.diff(np.exp(-self._edges / mean))
        masses[-1] += math.exp(-self._edges[-1] / mean)
        return np.asarray((masses + np.concatenate(([0.0], masses[:-1]))) / 2)

    def pollaczek_khinchine(self, load: float, residual: Floats) -> Floats:
        """The wait of the M/G/1 queue: a geometric number of residual services (Pollaczek-Khinchine)."""
        spectrum = np.fft.rfft(residual, 2 * _POINTS)
        wait = np.fft.irfft((1 - load) / (1 - load * spectrum), 2 * _POINTS)[:_POINTS]
        return np.asarray(np.maximum(wait, 0.0))

    def sum(self, *delays: Floats) -> Floats:
        """The sum of independent delays."""
        spectrum = np.prod([np.fft.rfft(delay, 2 * _POINTS) for delay in delays], axis=0)
        return np.asarray(np.maximum(np.fft.irfft(spectrum, 2 * _POINTS)[:_POINTS], 0.0))

    def mean(self, delay: Floats) -> float:
        """Mean, seconds."""
        return float(delay @ self._edges[:-1]) / float(delay.sum())

    def quantile(self, delay: Floats, share: float) -> float:
        """The delay, in seconds, that a share of all stays below."""
        below = np.cumsum(delay) / delay.sum()
        return float(np.interp(share, below, self._edges[:-1] + self.step / 2))


def erlang_c(servers: int, load: float) -> float:
    """Share of arrivals that wait in M/M/c (Erlang's C formula); `load` is arrival rate x service time, below c."""
    blocking = 1.0  # Erlang's B by its recursion
    for count in range(1, servers + 1):
        blocking = load * blocking / (count + load * blocking)
    return blocking / (1 - load / servers * (1 - blocking))
