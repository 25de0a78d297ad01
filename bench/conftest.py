"""What the benchmarks share: goals, processes, and one processor for what is promised of one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import modelmeter

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(modelmeter.__file__).parents[1])}


def pytest_addoption(parser):
    """What takes minutes runs when it is asked for."""
    parser.addoption("--large-sweep", action="store_true", help="run the sweep of 10**8 points too")


@pytest.fixture
def goal(benchmark):
    """goal(what, most, unit): what the benchmark shows, and what it may take at most (None: no promise)."""

    def promise(what, most=None, unit="ms"):
        benchmark.extra_info.update(what=what, goal=most, unit=unit)

    return promise


@pytest.fixture
def one_core():
    """One processor, where the system can say so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def python(*arguments):
    """Output of a fresh Python process."""
    done = subprocess.run([sys.executable, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return done.stdout
