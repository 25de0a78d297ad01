"""The stats that this process records into, where a `Shadow` is given none."""

from pathlib import Path

from modelmeter.live.shadow.export import write_stats
from modelmeter.live.shadow.stats import AnalyticRunStats

_current = AnalyticRunStats()


def get_analytic_run_stats() -> AnalyticRunStats:
    """The stats that this process records into, unless a `Shadow` was given others."""
    return _current


def reset_analytic_run_stats() -> AnalyticRunStats:
    """Begin new stats and return them; the old ones stay as they are with whoever holds them."""
    global _current  # noqa: PLW0603 - the process's stats are one name
    _current = AnalyticRunStats()
    return _current


def write_analytic_run_stats(path: str | Path) -> None:
    """Write the process's stats to a JSON file, whole or not at all. Raises `ModelMeterError` when it cannot."""
    write_stats(_current, path)
