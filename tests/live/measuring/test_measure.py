"""A measurement: all that was asked for is in it, what does not fit is skipped, what cannot be is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.schema import validator_of

from modelmeter import DeepseekOCRConfig
from modelmeter.core.errors import ModelMeterError
from modelmeter.live.measuring.measure import config_text
from modelmeter.live.measuring.request import MeasureRequest
from modelmeter.live.running.request import ModelChoice
from modelmeter.live.session import memory
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL
from modelmeter.report.scaling_compare.measured import FILE, read_measured

from .conftest import Measured, stop_at


def test_a_measurement_has_all_it_was_asked_for(run: Measured, tmp_path: Path, session: DeepSeekOCRSession) -> None:
    found = run(24, 8, decode_steps=3, repeats=4, command="modelmeter measure ...")
    assert found == read_measured(tmp_path / FILE)
    validator_of("measured-scaling-1").validate(json.loads((tmp_path / FILE).read_text(encoding="utf-8")))
    assert found.lengths == (8, 24) and found.complete and found.skipped == ()
    assert (found.conventions, found.config, found.model) == (session.conventions, SMALL, SMALL.name)
    assert (found.dtype, found.precision) == ("bfloat16", "all weights bf16; KV cache bf16")
    assert (found.warm_up, found.repeats, found.decode_steps, found.command) == (0, 4, 3, "modelmeter measure ...")
    assert (found.device.torch_device, found.versions.torch, found.versions.cuda) == ("cpu", torch.__version__, None)
    for point in found.points:
        for time, spread in (
            (point.prefill.time_ms, point.prefill.spread),
            (point.decode.time_ms_per_token, point.decode.spread),
        ):
            assert 0 < spread.low_ms <= spread.first_quartile_ms <= time <= spread.third_quartile_ms <= spread.high_ms
            assert spread.repeats == 4
        assert point.decode.flops is not None and point.decode.flops_per_token == point.decode.flops / 3


def test_without_flops_none_are_counted(run: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelmeter.live.measuring.point.count_flops", lambda *_: pytest.fail("counted"))
    (point,) = run(8, flops=False).points
    assert (point.prefill.flops, point.decode.flops, point.decode.flops_per_token) == (None, None, None)


def test_a_run_is_whole_each_time(run: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each repeat is a prefill and all steps; warm-ups come before the first alone; one more run counts FLOPs."""
    starts: list[tuple[int, int]] = []
    before = DeepSeekOCRSession.start

    def start(self: DeepSeekOCRSession, inputs: Any, **options: Any) -> Any:
        starts.append((options["warm_up"], options["repeats"]))
        return before(self, inputs, **options)

    monkeypatch.setattr(DeepSeekOCRSession, "start", start)
    run(8, warm_up=2, repeats=3)
    assert starts == [(2, 1), (0, 1), (0, 1), (0, 1)]


# Going on


def test_what_does_not_fit_is_skipped_and_said(
    run: Measured, asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 MiB are free: 8 tokens fit, 1,000 do not, as their eager scores alone take 4 * 1000 * 1000 * 2 bytes."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: 4 << 20)
    told: list[str] = []
    found = run(8, 1000, 16, warn=told.append)
    assert asked == [8, 16] and found.lengths == (8, 16) and found.complete
    (skipped,) = found.skipped
    assert skipped.seq_len_prefill == 1000 and "too little memory on cpu" in skipped.reason
    assert told == [f"length 1000 is skipped: {skipped.reason}"]
    assert read_measured(tmp_path / FILE) == found
    monkeypatch.undo()
    again = run(8, 1000, flops=True, warn=told.append)  # there is room now
    assert again.lengths == (8, 16, 1000) and again.skipped == ()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore about it"),
        RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
    ids=["CUDA", "CPU"],
)
def test_memory_that_runs_out_skips_the_length(
    run: Measured, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    stop_at(monkeypatch, 16, error)
    found = run(8, 16, 24)
    assert found.lengths == (8, 24) and found.complete
    (skipped,) = found.skipped
    assert skipped.seq_len_prefill == 16 and "memory ran out on cpu" in skipped.reason
    assert "\n" not in skipped.reason


def test_another_error_of_torch_is_an_error(run: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 16, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        run(8, 16)


def test_more_than_the_model_s_positions_are_refused_before_anything_runs(run: Measured, asked: list[int]) -> None:
    most = SMALL.decoder.max_position_embeddings
    with pytest.raises(ModelMeterError, match=f"more than the model's {most} positions"):
        run(8, most - 1, decode_steps=2)
    assert asked == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seq_lens": ()}, "give --seq-lens"),
        ({"seq_lens": (0,)}, "seq_lens"),
        ({"seq_lens": (8,), "decode_steps": 0}, "decode_steps"),
        ({"seq_lens": (8,), "batch_size": 0}, "batch_size"),
        ({"seq_lens": (8,), "warm_up": -1}, "warm_up"),
        ({"seq_lens": (8,), "repeats": 0}, "repeats"),
    ],
)
def test_requests_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelMeterError, match=words):
        MeasureRequest(**options)


# The configuration beside it


def test_the_configuration_is_read_back(session: DeepSeekOCRSession, tmp_path: Path) -> None:
    text = config_text(ModelChoice(random_weights=True), session)
    assert text is not None
    path = tmp_path / "measured_config.json"
    path.write_text(text, encoding="utf-8")
    assert DeepseekOCRConfig.from_hf(path) == SMALL


def test_the_released_model_needs_none() -> None:
    class Released:
        config = DeepseekOCRConfig()

    session: Any = Released()
    assert config_text(ModelChoice(random_weights=True), session) is None
