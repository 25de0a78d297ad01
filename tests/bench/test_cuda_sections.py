"""What bench/gpu.py does on CUDA alone, run on a CPU with the device's part replaced: memory, graphs, clocks."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
import torch

from modelmeter import DeepseekOCRModel, ViewPlan, fit
from modelmeter.live.calibration import stages
from modelmeter.live.verification.real_run import SMALL

Part = Callable[[str], ModuleType]
VIEWS = ViewPlan.from_grid((2, 1), base_size=256, tile_size=128)
CONTEXT = VIEWS.image_tokens + 10
MIB = 2**20


@pytest.fixture(scope="module")
def bench(part: Part, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of the small model on the CPU."""
    return part("bench").Bench(
        device=torch.device("cpu"),
        config=SMALL,
        budget=part("budget").Budget(1000.0),
        predictions=part("predict").Predictions(SMALL, None),
        device_file=tmp_path_factory.mktemp("run") / "device.toml",
        quick=True,
        say=lambda line: None,
    )


def analytic_peak(bench: Any, batch: int, steps: int) -> int:
    """Activations and cache at their fullest by `fit`, and what lies on the device beside them."""
    model = DeepseekOCRModel.from_config(SMALL, **attrs.asdict(bench.session.conventions))
    found = fit(model, "h200", views=VIEWS, prompt_tokens=10, decode_tokens=steps, batch_size=batch)
    pixels = 3 * (256 * 256 + 2 * 128 * 128) * 2  # channels, a global view and two tiles, bf16
    return found.caches[0].run_bytes + batch * (pixels + CONTEXT * 8)  # ids are int64


@pytest.mark.parametrize(("off", "ok"), [(0.0, True), (0.04, True), (0.06, False), (-0.06, False)])
def test_peak_memory_is_beside_what_was_there_before(
    part: Part, bench: Any, monkeypatch: pytest.MonkeyPatch, off: float, ok: bool
) -> None:
    pages, steps = part("pages"), 4
    measured = round(analytic_peak(bench, 1, steps) * (1 + off))
    real = type(bench.session).run

    def run(*arguments: Any, **more: Any) -> Any:
        return attrs.evolve(real(*arguments, **more), peak_memory_bytes=100 * MIB + measured)

    monkeypatch.setattr(type(bench.session), "run", run)
    monkeypatch.setattr(pages, "allocated", lambda _device: 100 * MIB)
    row = pages.page(bench, "a page", VIEWS, 1)
    assert row["peak_memory"] == {"measured": measured, "analytic": analytic_peak(bench, 1, steps), "bound": 0.05}
    check = bench.checks[-1]
    assert check["what"] == "peak memory of a page, within 5%"
    assert check["ok"] is ok


def test_a_graph_stands_beside_the_step_that_python_launches(
    part: Part, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def capture(step: Callable[[], Any], _warm_up: Callable[[], Any], _device: Any) -> Any:
        return lambda: None, step()

    monkeypatch.setattr(stages, "captured", capture)
    monkeypatch.setattr(part("graphs"), "POINTS", ((2, 20), (1, 30)))
    bench.predictions.measured.clear()
    (row,) = part("graphs").graphs(bench)  # a quick run takes the first point
    assert (row["name"], row["batch"], row["context_len"]) == ("decode after 20, batch 2", 2, 20)
    assert row["speed_up"] == row["eager"]["seconds"] / row["graph"]["seconds"]
    eager, graph = bench.predictions.measured
    assert (eager.point.execution, graph.point.execution) == ("eager", "graph")
    assert (graph.point.context_len, graph.point.batch, graph.point.stage) == (20, 2, "decode")
    assert eager.point.context_len == 20 + 2 + 25 // 2  # the middle of 25 steps after two of warm-up
    assert graph.timing.repeats == eager.timing.repeats == 25


def test_a_step_that_cannot_be_captured_keeps_its_eager_time(
    part: Part, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part("graphs"), "POINTS", ((1, 20),))
    bench.predictions.measured.clear()
    (row,) = part("graphs").graphs(bench)
    assert row["failed"] == "a CUDA graph needs a CUDA device"
    assert [one.point.execution for one in bench.predictions.measured] == ["eager"]


def test_clocks_under_load_are_kept_and_stand_in_no_table(
    part: Part, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = part("pages")
    monkeypatch.setattr(pages, "page_points", lambda *, quick: [])
    monkeypatch.setattr(pages, "driver_facts", lambda _device, fields: dict.fromkeys(fields, "1980 MHz"))
    (row,) = pages.pages(bench)
    assert row["name"] == "clocks after it" and row["clocks.sm"] == "1980 MHz"
    assert part("tables").section_table({"name": "pages", "title": "Pages", "rows": [row]}) is None


def test_batches_come_small_first(part: Part) -> None:
    points = part("pages").page_points(quick=False)
    batches = [batch for _, _, batch in points]
    assert batches == sorted(batches) and max(batches) == 64
    assert {views.image_tokens for _, views, _ in points} == {73, 273, 903}  # Tiny, Base, Gundam with 2 x 3 tiles


def test_large_batches_come_after_all_else(part: Part, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pages, real = part("pages"), part("pages").page_points
    monkeypatch.setattr(pages, "page_points", lambda *, quick: real(quick=False))
    monkeypatch.setattr(pages, "page", lambda _bench, _name, _views, batch: {"batch": batch})
    first, last = (list(run(bench)) for run in (pages.pages, pages.large))
    assert {row["batch"] for row in first} == {1, 4, 16}
    assert [row["name"] for row in last] == ["tiny, batch 64", "base, batch 64", "gundam, batch 64"]
    assert part("sections").SECTIONS[-1].run is pages.large  # what a broken device would take with it is done by then


def test_a_device_without_room_skips_a_batch(
    part: Part, bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from modelmeter.live.session import memory

    monkeypatch.setattr(memory, "free_bytes", lambda _device: MIB)
    rows = list(part("pages").pages(bench))
    assert [row["name"] for row in rows] == ["small page, batch 1", "small page, batch 2"]
    for row in rows:
        assert "MiB" in row["skipped"] or "GiB" in row["skipped"]
    assert json.dumps(rows)
