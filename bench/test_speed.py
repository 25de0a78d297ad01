"""Speed, against the goals of the README. Results may be cached in the product, so every round asks something new.

`pytest bench --benchmark-only --benchmark-json=build/bench.json`, then `python bench/summarise.py build/bench.json`.
Ratios and memory are no times of the benchmark's own: they go into its `extra_info` as `values`.
"""

import itertools
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import modelmeter as mm
from modelmeter.documents import read_pages

from .conftest import python

SAMPLE = Path(__file__).parents[1] / "examples" / "sample.pdf"
POINTS = 1_000_000
IMPORT_ROUNDS, PROCESS_ROUNDS, VERIFY_ROUNDS, ROUNDS, SWEEP_ROUNDS = 25, 25, 5, 200, 9

IMPORTS = {  # what is imported: (a goal in times of numpy's import, statements)
    "import modelmeter": (1.5, "import modelmeter"),
    "import of all that an analysis needs": (
        None,
        "import modelmeter.documents.pdf, modelmeter.documents.images, modelmeter.report.analysis, "
        "modelmeter.report.export, modelmeter.report.render",
    ),
}


def import_time(statements):
    """Seconds that statements take in a fresh process, without its start."""
    clock = "import time; begin = time.perf_counter(); {}; print(time.perf_counter() - begin)"
    return float(python("-c", clock.format(statements)))


@pytest.mark.parametrize("name", IMPORTS, ids=["package", "analysis"])
def test_import(benchmark, goal, name):
    most, statements = IMPORTS[name]
    goal(f"{name}, in times of `import numpy`", most, "x")
    ratios, times = [], []

    def pair():  # in turn, so that a change of the machine's speed meets both
        numpy, ours = import_time("import numpy"), import_time(statements)
        ratios.append(ours / numpy)
        times.append((numpy * 1e3, ours * 1e3))

    benchmark.pedantic(pair, rounds=IMPORT_ROUNDS, warmup_rounds=1)
    numpy, ours = np.median(times, axis=0)
    benchmark.extra_info.update(values=ratios[1:], note=f"{ours:.0f} ms against {numpy:.0f} ms")


ANALYSES = {
    "`modelmeter analyze` of one page, whole process": (300, ["1654x2339"]),
    "`modelmeter analyze` of one page to JSON, whole process": (300, ["1654x2339", "--json", "-"]),
    "`modelmeter analyze` of the sample PDF, whole process": (None, [str(SAMPLE)]),
}


@pytest.mark.parametrize("name", ANALYSES, ids=["page", "json", "sample"])
def test_analyze(benchmark, goal, name):
    most, words = ANALYSES[name]
    goal(name, most)
    out = benchmark.pedantic(
        python, args=("-m", "modelmeter", "analyze", *words), rounds=PROCESS_ROUNDS, warmup_rounds=1
    )
    assert "lm_head" in out


VERIFICATIONS = {
    "`modelmeter verify`, all stages at full size, whole process": (30, []),
    "`modelmeter verify --attention flash`, whole process": (None, ["--attention", "flash"]),
}


@pytest.mark.parametrize("name", VERIFICATIONS, ids=["eager", "flash"])
def test_verify(benchmark, goal, name):
    most, words = VERIFICATIONS[name]
    goal(name, most, "s")
    out = benchmark.pedantic(python, args=("-m", "modelmeter", "verify", *words), rounds=VERIFY_ROUNDS, warmup_rounds=1)
    assert "verified: 4 stages" in out


ON_A_DEVICE = {
    "`modelmeter time` of one page, whole process": ["time", "1654x2339", "--device", "h200"],
    "`modelmeter fit` of one page, whole process": ["fit", "--device", "h200"],
    "`modelmeter plan` for one device, simulated, whole process": [
        *["plan", "--pages-per-day", "200000", "--device", "h200", "--ttft", "1", "--tpot", "0.05"],
    ],
}


@pytest.mark.parametrize("name", ON_A_DEVICE, ids=["time", "fit", "plan"])
def test_on_a_device(benchmark, goal, name):
    goal(name)
    out = benchmark.pedantic(
        python, args=("-m", "modelmeter", *ON_A_DEVICE[name]), rounds=VERIFY_ROUNDS, warmup_rounds=1
    )
    assert "h200" in out


def three_stages(model, views, context):
    """Vision, prefill and decode of a page, each with all that is known of it."""
    model.set_views(views)
    model.start_vision()
    vision = model.get_forward_cost()
    model.start_prefill(context)
    prefill = model.get_forward_cost()
    model.start_decode()
    return vision, prefill, model.get_forward_cost()


def pages(*, new_tiles, new_sides):
    """(views, context length) of pages without end; what is new in each: its context, tiles, sides of all views."""
    for number in itertools.count(2):
        side = 64 * (5 + number) if new_sides else 640
        whole = 64 * (500 + number) if new_sides else 1024
        grid = (1, number) if new_tiles else (2, 3)
        views = mm.ViewPlan.from_grid(grid, base_size=whole, tile_size=side)
        yield views, views.image_tokens + 10 + 7 * number


@pytest.mark.parametrize(
    ("what", "most", "new"),
    [
        ("three stages of a page of a context not seen before", 2, {"new_tiles": False, "new_sides": False}),
        ("three stages of a page of a context and tiles not seen before", 2, {"new_tiles": True, "new_sides": False}),
        ("three stages of a page of which nothing was seen before", 2, {"new_tiles": True, "new_sides": True}),
    ],
    ids=["context", "tiles", "all"],
)
def test_three_stages(benchmark, goal, what, most, new):
    goal(what, most)
    model, unseen = mm.DeepseekOCRModel.from_config(), pages(**new)

    def next_page():
        return (model, *next(unseen)), {}

    _, prefill, decode = benchmark.pedantic(three_stages, setup=next_page, rounds=ROUNDS, warmup_rounds=3)
    assert prefill.cost.flops > decode.cost.flops > 0


def test_the_first_page(benchmark, goal):
    goal("a new model and the three stages of its first page")

    def first(views, context):
        return three_stages(mm.DeepseekOCRModel.from_config(), views, context)

    views = mm.plan_views(1654, 2339)
    contexts = itertools.count(views.image_tokens)
    benchmark.pedantic(first, setup=lambda: ((views, next(contexts)), {}), rounds=ROUNDS // 2, warmup_rounds=2)


def test_time_page(benchmark, goal):
    goal("the times of a page not seen before: three stages, three levels, 512 decode steps")
    model, machine = mm.DeepseekOCRModel.from_config(), mm.machine_of("h200")
    heights = itertools.count(1800, 7)

    def run(height):
        return mm.time_page(model, mm.plan_views(1654, height), machine, prompt_tokens=height)

    result = benchmark.pedantic(run, setup=lambda: ((next(heights),), {}), rounds=ROUNDS // 4, warmup_rounds=3)
    assert result.ttft.bound < result.ttft.roofline


def test_run(benchmark, goal):
    goal("a run of 8,192 decode tokens, its prefill included", 5)
    model, contexts = mm.DeepseekOCRModel.from_config(), itertools.count(900, 13)

    def run(context):
        model.start_prefill(context)
        return model.simulate_run(decode_tokens=8192)

    result = benchmark.pedantic(run, setup=lambda: ((next(contexts),), {}), rounds=ROUNDS, warmup_rounds=3)
    assert result.total.cost.flops > result.prefill.cost.flops


def sweep(model, contexts, batches):
    """The next token's whole cost at every point."""
    model.start_prefill(contexts, batches)
    model.start_decode()
    return model.get_forward_cost()


def test_a_million_decode_points(benchmark, goal, one_core):
    goal("1,000,000 decode points (context, batch) in one call, one core", 1, "s")
    model, rng = mm.DeepseekOCRModel.from_config(), np.random.default_rng(random.SystemRandom().getrandbits(32))

    def points():
        return (model, rng.integers(1, 100_000, POINTS), rng.integers(1, 512, POINTS)), {}

    found = benchmark.pedantic(sweep, setup=points, rounds=SWEEP_ROUNDS, warmup_rounds=1)
    assert found.cost.flops.shape == (POINTS,) and found.cost.flops.min() > 0


def test_the_first_million_decode_points(benchmark, goal, one_core):
    goal("the same, of a model that has answered nothing yet", 1, "s")
    rng = np.random.default_rng(random.SystemRandom().getrandbits(32))

    def points():
        fresh = mm.DeepseekOCRModel.from_config()
        return (fresh, rng.integers(1, 100_000, POINTS), rng.integers(1, 512, POINTS)), {}

    benchmark.pedantic(sweep, setup=points, rounds=SWEEP_ROUNDS)


def test_memory_of_a_million_decode_points(benchmark, goal):
    goal("peak memory of that call, its result included, its inputs not", None, "MiB")
    model, rng, peaks = mm.DeepseekOCRModel.from_config(), np.random.default_rng(1), []

    def traced():
        contexts, batches = rng.integers(1, 100_000, POINTS), rng.integers(1, 512, POINTS)
        tracemalloc.start()  # NumPy reports its arrays to it
        found = sweep(model, contexts, batches)
        peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
        return found

    benchmark.pedantic(traced, rounds=3, warmup_rounds=1)
    benchmark.extra_info.update(values=peaks[1:])


def test_plan_views(benchmark, goal):
    goal("`plan_views` of 1,000 page sizes")
    rng = random.Random(1)

    def sizes():
        return ([(rng.randint(1, 6000), rng.randint(1, 6000)) for _ in range(1000)],), {}

    def plan(pairs):
        return [mm.plan_views(width, height) for width, height in pairs]

    benchmark.pedantic(plan, setup=sizes, rounds=ROUNDS, warmup_rounds=2)


def test_reading_the_sample(benchmark, goal):
    goal("page sizes of the sample PDF")
    assert len(benchmark.pedantic(lambda: list(read_pages(SAMPLE)), rounds=ROUNDS, warmup_rounds=2)) == 4
