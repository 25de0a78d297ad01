"""A real trace of the torch profiler: a small model on the CPU, a prefill and decode steps under record_function."""

import gzip
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from modelmeter.hardware.roofline import machine_of
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.profiles.kinds import Kind
from modelmeter.profiles.prediction import predict
from modelmeter.profiles.profile import Profile, Stage
from modelmeter.profiles.read import read_profile

torch = pytest.importorskip("torch")
STEPS = 3


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a page of image and text tokens: a prefill and three decode steps each."""
    from torch.profiler import ProfilerActivity, profile, record_function

    from modelmeter.live.reference.transformers5 import build, config_like
    from modelmeter.live.verification.real_run import SMALL, VIEWS

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = build(config_like(SMALL), attention="eager")
        inputs = _inputs(model, SMALL.decoder.vocab_size - 1, VIEWS)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(2):
            with record_function("prefill"):
                found = model(**inputs, use_cache=True)
            for step in range(STEPS):
                token = found.logits[:, -1:].argmax(-1)
                with record_function(f"decode {step}"):
                    found = model(input_ids=token, past_key_values=found.past_key_values, use_cache=True)
    place = tmp_path_factory.mktemp("traces") / "trace.json"
    profiler.export_chrome_trace(str(place))
    return place


def _inputs(model: Any, token: int, views: Any) -> dict[str, Any]:
    model.config.image_token_id = token
    ids = torch.randint(0, token, (1, views.image_tokens + 10))
    ids[:, : views.image_tokens] = token
    return {
        "input_ids": ids,
        "pixel_values": torch.randn(1, 3, views.base_size, views.base_size, dtype=torch.bfloat16),
        "pixel_values_local": torch.randn(views.num_tiles, 3, views.tile_size, views.tile_size, dtype=torch.bfloat16),
        "num_local_patches": [views.num_tiles],
        "patches_grid": [list(views.grid)],
    }


@pytest.fixture(scope="module")
def profile(path: Path) -> Profile:
    """That trace, read."""
    return read_profile(path)


@pytest.fixture(scope="module")
def events(path: Path) -> list[dict[str, Any]]:
    """Its complete events, by the json module."""
    return [event for event in json.loads(path.read_text())["traceEvents"] if event["ph"] == "X"]


def test_the_ranges_are_the_stages(profile: Profile) -> None:
    assert (profile.tool, profile.runs_on) == ("torch", "cpu")
    assert profile.ranges == {"prefill": 2, "decode": 2 * STEPS}
    assert list(profile.by_stage()) == ["prefill", "decode", "unknown"]  # unknown: argmax, between the steps
    named = {kernel.name for kernel in profile.kernels if kernel.stage == "unknown"}
    assert "aten::argmax" in named and "aten::mm" not in named


def test_every_nanosecond_of_an_operator_counts_once(profile: Profile, events: list[dict[str, Any]]) -> None:
    """The time with any operator is the union of all operators' intervals, one thread here."""
    spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["cat"] == "cpu_op")
    union, done = 0.0, 0.0
    for start, end in spans:
        union += max(end - max(start, done), 0)
        done = max(done, end)
    assert profile.total.nanoseconds == pytest.approx(union * 1000, abs=2 * len(spans))  # each end is rounded
    assert sum(total.nanoseconds for total in profile.by_kind().values()) == profile.total.nanoseconds
    assert sum(total.nanoseconds for total in profile.by_stage().values()) == profile.total.nanoseconds


def test_the_products_are_those_of_the_trace(profile: Profile, events: list[dict[str, Any]]) -> None:
    """Calls of kernels that nothing below does for them; `linear` and `matmul` hand on to them."""
    calls = Counter(event["name"] for event in events if event["cat"] == "cpu_op")
    launches: Counter[str] = Counter()
    for kernel in profile.kernels:
        launches[kernel.name] += kernel.launches
    for name in ("aten::mm", "aten::addmm", "aten::bmm", "aten::_softmax", "aten::native_layer_norm", "aten::silu"):
        assert launches[name] == calls[name] > 0
    for name in ("aten::linear", "aten::matmul", "aten::softmax", "aten::layer_norm", "aten::to", "aten::view"):
        assert calls[name] > 0
        assert launches[name] == 0


def test_a_stage_takes_its_ranges_and_they_hold_their_operators(profile: Profile, events: list[dict[str, Any]]) -> None:
    assert profile.elapsed is not None
    stages = profile.by_stage()
    for stage in ("prefill", "decode"):
        ranges = [e["dur"] for e in events if e["cat"] == "user_annotation" and e["name"].startswith(stage)]
        assert profile.elapsed[stage] == pytest.approx(sum(ranges) * 1000, abs=2 * len(ranges))
        assert 0 < stages[stage].nanoseconds <= profile.elapsed[stage]


def test_vision_runs_in_the_prefill_alone(profile: Profile) -> None:
    assert "convolution" in profile.by_kind(["prefill"])
    assert "convolution" not in profile.by_kind(["decode"])


def test_no_operator_is_of_an_unknown_kind(profile: Profile) -> None:
    assert [kernel.name for kernel in profile.kernels if kernel.kind == "unknown"] == []


def test_the_twin_launches_what_the_real_model_did(profile: Profile) -> None:
    """Products and norms of each decode step, convolutions and norms of each prefill.

    How many experts a prefill reaches is the router's: its products are not compared.
    """
    from modelmeter.live.verification.real_run import SMALL, VIEWS

    twin = DeepseekOCRModel.from_config(SMALL, implementation="transformers", attention="eager", position_ids="batch")
    sizes = {"prompt_tokens": 10, "decode_tokens": STEPS, "runs": 2}
    predicted = predict(twin, VIEWS, machine_of("cpu"), stages=list(profile.by_stage()), **sizes)
    compared: list[tuple[Stage, Kind]] = [
        ("decode", "gemm"),
        ("decode", "normalisation"),
        ("prefill", "convolution"),
        ("prefill", "normalisation"),
    ]
    for stage, kind in compared:
        assert profile.by_kind([stage])[kind].launches == predicted.of([stage], kind).launches > 0


def test_packed_it_is_the_same(path: Path, profile: Profile, tmp_path: Path) -> None:
    packed = tmp_path / "trace.json.gz"
    with path.open("rb") as plain, gzip.open(packed, "wb") as file:
        shutil.copyfileobj(plain, file)
    assert read_profile(packed).kernels == profile.kernels


def test_cut_off_it_is_refused(path: Path, tmp_path: Path) -> None:
    from modelmeter.core.errors import ModelMeterError

    short = tmp_path / "short.json"
    short.write_bytes(path.read_bytes()[:-200_000])
    with pytest.raises(ModelMeterError, match=r"cut off|not the JSON of a trace"):
        read_profile(short)
