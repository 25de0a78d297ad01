"""A measurement on disk: finished lengths are kept, never measured twice, and mixed with nothing else."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import attrs
import pytest
import torch
from support.schema import validator_of

from modelmeter import DeepseekOCRConfig
from modelmeter.core.errors import ModelMeterError
from modelmeter.live.measuring import measure, store
from modelmeter.live.measuring.measure import config_text, measure_scaling
from modelmeter.live.measuring.request import MeasureRequest
from modelmeter.live.measuring.store import Store
from modelmeter.live.running.request import ModelChoice
from modelmeter.live.running.run import Interrupted
from modelmeter.live.session import memory
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL
from modelmeter.report.scaling_compare.measured import FILE, MeasuredScaling, read_measured

from .conftest import Measured


def stop_at(monkeypatch: pytest.MonkeyPatch, length: int, error: BaseException) -> Callable[[], None]:
    """Measuring this length raises an error; the function takes that back."""
    before = measure.measure_point

    def stopping(session: DeepSeekOCRSession, inputs: Any, **options: Any) -> Any:
        if inputs.context_len == length:
            raise error
        return before(session, inputs, **options)

    monkeypatch.setattr(measure, "measure_point", stopping)
    return lambda: monkeypatch.setattr(measure, "measure_point", before)


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


def test_a_finished_length_is_not_measured_again(run: Measured, asked: list[int]) -> None:
    first = run(8, 16)
    second = run(8, 16, 24)
    assert asked == [8, 16, 24]
    assert second.points[:2] == first.points and second.lengths == (8, 16, 24)
    assert run(16) == attrs.evolve(second, command=None)  # what else is there stays
    assert asked == [8, 16, 24]


def test_a_length_that_is_named_twice_is_one(run: Measured, asked: list[int]) -> None:
    run(8, 16, 8)
    assert asked == [8, 16]


def test_ctrl_c_keeps_what_is_finished_and_goes_on_there(
    run: Measured, asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = stop_at(monkeypatch, 16, KeyboardInterrupt())
    with pytest.raises(Interrupted, match=r"at length 16 \(2 of 3\): 1 finished of .* are kept"):
        run(8, 16, 24)
    held = read_measured(tmp_path / FILE)
    assert (held.lengths, held.complete) == ((8,), False)
    go_on()
    found = run(8, 16, 24)
    assert asked == [8, 16, 24] and found.complete
    assert found.points[0] == held.points[0]


def test_ctrl_c_before_the_first_length_leaves_no_file(
    run: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 8, KeyboardInterrupt())
    with pytest.raises(Interrupted, match="none was finished"):
        run(8, 16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("phase", ["prefill", "decode_step", "result"])
def test_ctrl_c_in_each_phase_of_a_run(
    run: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """The second length is stopped there; the first is whole."""
    from modelmeter.live.session.run import Run

    before = getattr(Run, phase)

    def stopping(self: Run, *given: Any, **options: Any) -> Any:
        if self.inputs.context_len == 16:
            raise KeyboardInterrupt
        return before(self, *given, **options)

    monkeypatch.setattr(Run, phase, stopping)
    with pytest.raises(Interrupted):
        run(8, 16)
    assert read_measured(tmp_path / FILE).lengths == (8,)


def test_ctrl_c_while_loading_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: ModelChoice) -> DeepSeekOCRSession:
        raise KeyboardInterrupt

    monkeypatch.setattr(ModelChoice, "open", stopped)
    with pytest.raises(Interrupted, match="while loading the model: nothing was measured"):
        measure_scaling(ModelChoice(random_weights=True), MeasureRequest(seq_lens=(8,)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_error_keeps_what_is_finished(run: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 16, ModelMeterError("the logits are no numbers"))
    with pytest.raises(ModelMeterError, match="no numbers"):
        run(8, 16)
    assert read_measured(tmp_path / FILE).lengths == (8,)


# Other circumstances


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"batch_size": 2}, "batch_size 1, now 2"),
        ({"decode_steps": 3}, "decode_steps 2, now 3"),
        ({"repeats": 2}, "repeats 1, now 2"),
        ({"flops": False}, "counted True, now False"),
    ],
)
def test_a_file_holds_one_kind_of_measurement(
    run: Measured, asked: list[int], tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    first = run(8)
    with pytest.raises(ModelMeterError) as error:
        run(8, 16, **changed)
    assert str(error.value).startswith(f"{tmp_path / FILE} holds another measurement ({words}): --replace")
    assert read_measured(tmp_path / FILE) == first and asked == [8]


def test_another_model_and_other_versions_are_other_measurements(run: Measured, tmp_path: Path) -> None:
    first = run(8)
    with pytest.raises(ModelMeterError, match=r"conventions\.attention eager, now flash"):
        run(8, session=DeepSeekOCRSession.from_config(SMALL, attention="flash"))
    with pytest.raises(ModelMeterError, match=r"config\.decoder\.num_hidden_layers 4, now 2"):
        run(8, session=DeepSeekOCRSession.from_config(SMALL, layers=2))
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    (tmp_path / FILE).write_text(text.replace(torch.__version__, "1.0"), encoding="utf-8")
    with pytest.raises(ModelMeterError, match=r"versions\.torch 1\.0, now "):
        run(8)
    assert run(8, 16, replace=True).lengths == (8, 16) and first.lengths == (8,)


def test_replace_forgets_what_was_there_but_not_before_there_is_more(
    run: Measured, asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(8, 16)
    go_on = stop_at(monkeypatch, 24, KeyboardInterrupt())
    with pytest.raises(Interrupted):
        run(24, replace=True)
    assert read_measured(tmp_path / FILE) == first
    go_on()
    assert run(24, batch_size=2, replace=True).lengths == (24,)
    assert asked == [8, 16, 24]


def test_a_broken_file_is_told_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_text('{"schema": "modelm', encoding="utf-8")
    monkeypatch.setattr(ModelChoice, "open", lambda self: pytest.fail("loaded"))
    with pytest.raises(ModelMeterError, match=r"is not JSON.*--replace measures anew"):
        measure_scaling(ModelChoice(random_weights=True), MeasureRequest(seq_lens=(8,)), tmp_path)


def test_a_folder_that_cannot_be_written_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr(ModelChoice, "open", lambda self: pytest.fail("loaded"))
    for place in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(ModelMeterError, match=r"is a file|cannot write"):
            measure_scaling(ModelChoice(random_weights=True), MeasureRequest(seq_lens=(8,)), place)


def test_two_runs_into_one_folder_lose_nothing(run: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While length 8 is measured another run finishes 16."""
    before = measure.measure_point
    others: list[MeasuredScaling] = []

    def meanwhile(session: DeepSeekOCRSession, inputs: Any, **options: Any) -> Any:
        if inputs.context_len == 8:
            others.append(run(16))
        return before(session, inputs, **options)

    monkeypatch.setattr(measure, "measure_point", meanwhile)
    found = run(8)
    assert found.lengths == read_measured(tmp_path / FILE).lengths == (8, 16)
    assert found.points[1] == others[0].points[0]


@pytest.mark.skipif(sys.platform == "win32", reason="has no such locks")
def test_nobody_writes_between_reading_and_writing(
    run: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one store has read the file and is about to write it, another one begins to write length 16."""
    first = run(8)
    other = run(16, folder=tmp_path / "other")
    writing = Thread(target=Store(tmp_path).write, args=(other,))

    def reading(file: Path) -> MeasuredScaling:
        found = read_measured(file)
        if not writing.ident:
            writing.start()
            writing.join(0.2)  # without a lock it is done by then
        return found

    mine = Store(tmp_path)
    monkeypatch.setattr(store, "read_measured", reading)
    mine.write(first)
    writing.join()
    assert read_measured(tmp_path / FILE).lengths == (8, 16)


def test_a_full_disk_is_one_line_and_loses_nothing(
    run: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(8)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modelmeter.report.files.os.replace", full)
    with pytest.raises(ModelMeterError, match=r"cannot write .*No space left on device"):
        run(8, 16)
    assert read_measured(tmp_path / FILE) == first
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


# Memory


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
