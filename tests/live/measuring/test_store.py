"""A measurement on disk: finished lengths are kept, never measured twice, and mixed with nothing else."""

import sys
from pathlib import Path
from threading import Thread
from typing import Any

import attrs
import pytest
import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.measuring import measure, store
from modelmeter.live.measuring.measure import measure_scaling
from modelmeter.live.measuring.request import MeasureRequest
from modelmeter.live.measuring.store import Store
from modelmeter.live.running.request import ModelChoice
from modelmeter.live.running.run import Interrupted
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL
from modelmeter.report.scaling_compare.measured import FILE, MeasuredScaling, read_measured

from .conftest import Measured, stop_at


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
