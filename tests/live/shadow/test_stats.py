"""`AnalyticRunStats`: records, their units, the stats of the process, the file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelmeter import ModelMeterError
from modelmeter.core.cost import Cost, StageCost
from modelmeter.live.shadow.process import get_analytic_run_stats, reset_analytic_run_stats, write_analytic_run_stats
from modelmeter.live.shadow.records import EXACT
from modelmeter.live.shadow.stats import AnalyticRunStats

COST = StageCost(
    cost=Cost(
        tensor_flops=3 * 10**12,
        cuda_flops=10**12,
        counted_flops=3 * 10**12,
        weight_read_bytes=2**20,
        activation_read_bytes=300,
        activation_write_bytes=200,
        kv_read_bytes=64,
        kv_write_bytes=32,
    ),
    weights_bytes=2**30,
    activations_bytes=2**29,
    kv_cache_bytes=2**28,
)
DECODER: dict[str, Any] = {
    "layer_idx": 3,
    "stage": "decode",
    "step": 7,
    "token_count": 1,
    "kv_len": 20,
    "batch_size": 2,
    "cost": COST,
}
VISION: dict[str, Any] = {
    "module": "sam_model",
    "shape": (6, 3, 640, 640),
    "view": "tiles",
    "stage": "prefill",
    "cost": COST,
    "document": "a.pdf",
    "page": 2,
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[AnalyticRunStats]:
    """The process's stats are new in each test, and nobody's afterwards."""
    yield reset_analytic_run_stats()
    reset_analytic_run_stats()


def test_a_decoder_step_in_whole_numbers_and_in_units() -> None:
    step = AnalyticRunStats().add_decoder_step(**DECODER)
    io = 2**20 + 300 + 200 + 64 + 32
    exact = (4 * 10**12, 3 * 10**12, 10**12, 3 * 10**12, io, 2**20, 500, 64, 32)
    assert tuple(getattr(step, name) for name in EXACT) == exact
    assert (step.kv_cache_bytes, step.kv_gb) == (2**28, 0.25)  # GiB
    assert step.flops_tflops == 4.0
    assert step.io_tb == io * 8 / 10**12  # terabits


def test_a_vision_step_in_units() -> None:
    step = AnalyticRunStats().add_vision_step(**VISION)
    assert (step.w_gb, step.act_gb) == (1.0, 0.5)
    assert (step.weights_held_bytes, step.activations_peak_bytes) == (2**30, 2**29)


def test_fields_have_names_only() -> None:
    with pytest.raises(TypeError):
        AnalyticRunStats([], [])  # type: ignore[misc]
    with pytest.raises(TypeError):
        AnalyticRunStats().add_decoder_step(**{**DECODER, "colour": "red"})


def test_the_stats_of_the_process(fresh: AnalyticRunStats) -> None:
    assert get_analytic_run_stats() is fresh
    step = get_analytic_run_stats().add_decoder_step(**DECODER)
    new = reset_analytic_run_stats()
    assert get_analytic_run_stats() is new
    assert (new.decoder_steps, fresh.decoder_steps) == ([], [step])


def test_the_file_has_every_field_of_every_record(tmp_path: Path, fresh: AnalyticRunStats) -> None:
    fresh.add_decoder_step(**DECODER)
    fresh.add_vision_step(**VISION)
    file = tmp_path / "new" / "run.json"
    write_analytic_run_stats(file)
    data = json.loads(file.read_text(encoding="utf-8"))
    assert data["schema"] == "modelmeter.analytic-run/1"
    (decoder,), (vision,) = data["decoder_steps"], data["vision_steps"]
    places = {"document": None, "page": None}
    named = {"layer_idx": 3, "stage": "decode", "step": 7, "token_count": 1, "kv_len": 20, "batch_size": 2}
    unwatched = {"experts_hit": None, "experts_expected": None, "weight_bytes_observed": None}
    units = {"flops_tflops": 4.0, "kv_gb": 0.25, "kv_cache_bytes": 2**28}
    wanted = {**named, **places, **unwatched, **units}
    assert {name: decoder[name] for name in wanted} == wanted
    assert set(decoder) == {*wanted, *EXACT, "io_tb"}
    assert vision["shape"] == [6, 3, 640, 640]
    assert (vision["module"], vision["view"], vision["page"], vision["w_gb"]) == ("sam_model", "tiles", 2, 1.0)
    assert data["aggregates"]["hooked"]["flops"] == 2 * 4 * 10**12


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ModelMeterError, match=r"cannot write .*run\.json"):
        write_analytic_run_stats(tmp_path / "file" / "run.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
