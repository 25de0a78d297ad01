"""bench/ is no package: its parts are found as when its scripts run."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="session")
def part() -> Iterator[Callable[[str], ModuleType]]:
    """part(name): a module of bench/gpu_bench."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCH)
        yield lambda name: importlib.import_module(f"gpu_bench.{name}")
