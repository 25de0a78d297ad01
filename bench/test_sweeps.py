"""Speed of sweeps, against the goals of the README. Every round asks of a fresh model or of new sizes.

The sweep of 10**8 points is asked for: `pytest bench/test_sweeps.py --benchmark-only -k store --large-sweep`.
"""

import itertools
import sys

import numpy as np
import pytest

import modelmeter as mm

from .conftest import python

CONTEXTS, BATCHES = 10_000, 100  # 10**6 points
ROUNDS = 7
COSTS = [
    *("flops", "tensor_flops", "cuda_flops", "counted_flops", "weight_read_bytes", "activation_read_bytes"),
    *("activation_write_bytes", "kv_read_bytes", "kv_write_bytes", "activation_bytes", "kv_bytes", "io_bytes"),
    "arithmetic_intensity",
]


def points(stage, quantities, device=None):
    """Questions without end, of 10**6 points each: other contexts in every one."""
    for first in itertools.count(1, CONTEXTS):
        over = {"context_len": np.arange(first, first + CONTEXTS), "batch_size": np.arange(1, BATCHES + 1)}
        options = {"stage": stage, "quantities": quantities, "device": device}
        yield (mm.DeepseekOCRModel.from_config(), over), options


CASES = {
    "costs": ("13 cost quantities", COSTS, None, 1),
    "memory": ("the same with memory: all that needs no device", None, None, None),
    "times": ("13 cost quantities and the predicted time", [*COSTS, "seconds"], "h200", 3),
    "all": ("all 22 quantities, three of them times, with MFU and MBU", None, "h200", None),
}


@pytest.mark.parametrize("stage", ["decode", "prefill"])
@pytest.mark.parametrize("name", CASES)
def test_a_million_points(benchmark, goal, one_core, stage, name):
    what, quantities, device, most = CASES[name]
    goal(f"sweep of 1,000,000 {stage} points, one core: {what}", most, "s")
    asked = points(stage, quantities, device)
    found = benchmark.pedantic(mm.sweep, setup=lambda: next(asked), rounds=ROUNDS, warmup_rounds=1)
    assert found.flops.shape == (CONTEXTS, BATCHES) and found.flops.min() > 0


def test_page_sizes(benchmark, goal, one_core):
    goal("vision sweep of 100,000 page sizes, one core", 2, "s")
    random = np.random.default_rng(1)

    def pages():
        sides = np.unique(random.integers(1, 6000, (110_000, 2)), axis=0)
        return (mm.DeepseekOCRModel.from_config(), {"page": random.permutation(sides)[:100_000]}), {"stage": "vision"}

    found = benchmark.pedantic(mm.sweep, setup=pages, rounds=ROUNDS, warmup_rounds=1)
    assert found.flops.shape == (100_000,) and found.image_tokens.min() == 273


LARGE = """
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import modelmeter as mm
if __name__ == "__main__":
    over = {{"context_len": range(1, 100_001), "batch_size": range(1, 1001)}}
    quantities = ["flops", "io_bytes", "kv_cache_bytes"]
    model = mm.DeepseekOCRModel.from_config()
    found = mm.sweep(model, over, stage="decode", quantities=quantities, store={store!r}, workers={workers})
    peaks = [getrusage(who).ru_maxrss for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]  # KiB; of the largest child
    print(found.flops.size, int(found.flops[-1, -1]), max(peaks))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no module resource there")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_large_store(benchmark, goal, request, tmp_path, workers):
    if not request.config.getoption("--large-sweep"):
        pytest.skip("a minute or more and 2.4 GB of disk: ask for it with --large-sweep")
    goal(f"10**8 points of 3 quantities to a Zarr store, {workers} processes: largest process", 8 / workers, "GB")
    store = tmp_path / "large.zarr"
    script = LARGE.format(store=str(store), workers=workers)
    out = benchmark.pedantic(python, args=("-c", script), rounds=1)
    model = mm.DeepseekOCRModel.from_config()
    model.start_prefill(100_000, 1000)
    model.start_decode()
    points, last, peak = map(int, out.split())
    assert (points, last) == (10**8, model.get_forward_cost().cost.flops)
    seconds = benchmark.stats.stats.mean
    benchmark.extra_info.update(values=[peak * 1024 / 1e9] * 2, note=f"{seconds:.0f} s")  # one round has no spread
