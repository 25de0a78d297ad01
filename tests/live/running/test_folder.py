"""The folder of a run: its own, its state always told, its files whole, on a full disk too."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import modelmeter
from modelmeter import ModelMeterError
from modelmeter.live.running.folder import RunFolder, new_run_id

from .conftest import fill, read

RACE = """
import sys
from modelmeter.live.running.folder import RunFolder
from modelmeter import ModelMeterError
print("ready", flush=True)
sys.stdin.readline()
try:
    RunFolder(sys.argv[1], "same").write("mine.txt", sys.argv[2])
    print("made")
except ModelMeterError as error:
    print(error)
"""


def test_a_new_folder_says_that_it_runs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs", "first")
    status = read(folder.path, "status.json")
    assert folder.path == tmp_path / "runs" / "first"
    assert (status["run_id"], status["state"], status["reason"]) == ("first", "running", None)


def test_it_ends_with_a_state_and_nothing_else_left(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "first")
    folder.close("incomplete", reason="the power went", finished=2, failed=1)
    status = read(folder.path, "status.json")
    assert (status["state"], status["reason"]) == ("incomplete", "the power went")
    assert (status["pages_finished"], status["pages_failed"]) == (2, 1)
    assert os.listdir(folder.path) == ["status.json"]


def test_names_are_made_up_and_differ(tmp_path: Path) -> None:
    assert len({new_run_id() for _ in range(100)}) == 100
    assert RunFolder(tmp_path).path != RunFolder(tmp_path).path


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a b", "x" * 101])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelMeterError, match="is no name"):
        RunFolder(tmp_path / "runs", name)
    assert not (tmp_path / "runs").exists()


def test_two_runs_share_no_folder(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, "same")
    first.write("summary.json", "first")
    with pytest.raises(ModelMeterError, match=r"same is there already.*--run-id"):
        RunFolder(tmp_path, "same")
    assert (first.path / "summary.json").read_text() == "first"


def test_of_two_processes_one_has_the_folder(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(modelmeter.__file__).parents[1])}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path), name],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert sorted(text.partition(":")[0] for text in said)[1] == "made"
    (lost,) = [text for text in said if text != "made"]
    assert "is there already" in lost
    assert (tmp_path / "same" / "mine.txt").read_text() == "ab"[said.index("made")]


def test_where_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ModelMeterError, match=r"cannot make .*runs.*: choose another folder with --output"):
        RunFolder(tmp_path / "runs", "first")


def test_a_full_disk_is_named_and_nothing_is_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path, "first")
    folder.write("summary.json", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ModelMeterError, match=r"summary.json: No space left on device: make room there"):
            folder.write("summary.json", "new")
    assert (folder.path / "summary.json").read_text() == "old"
    assert sorted(os.listdir(folder.path)) == [".room", "status.json", "summary.json"]


def test_a_disk_that_is_full_still_takes_the_last_state(small_disk: Path) -> None:
    folder = RunFolder(small_disk, "first")
    folder.write("summary.json", "old")
    with pytest.raises(ModelMeterError, match="No space left on device"):
        folder.write("report.json", "x" * 2**21)
    fill(folder.path / "filler")
    with pytest.raises(ModelMeterError, match="No space left on device"):
        folder.say("running", finished=1)
    folder.close("incomplete", reason="the disk was full", finished=1)
    assert read(folder.path, "status.json")["reason"] == "the disk was full"
    assert (folder.path / "summary.json").read_text() == "old"
