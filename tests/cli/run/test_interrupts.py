"""Ctrl-C in each phase of a run, as a signal to a process: exit code 130, one line, what was finished is kept."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ENVIRONMENT

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
    pytest.mark.slow,  # each run is a process that imports torch
]

SCRIPT = """
import sys, time
from modelmeter.cli import main
from modelmeter.live.running import run

stage, page, seconds = sys.argv.pop(1), sys.argv.pop(1) or None, float(sys.argv.pop(1))
say = run._Running._say

def loud(self, progress):
    say(self, progress)
    if (progress.stage, progress.page) == (stage, page):
        print("here", flush=True)
        time.sleep(seconds)

run._Running._say = loud
main()
"""
"""The program, which says when it is in a phase, and stays there for some seconds."""


@contextmanager
def running(*arguments: object, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """The program as a process that Ctrl-C reaches: a shell's background job, and all it starts, ignores it."""
    call = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    start = partial(subprocess.Popen, cwd=cwd, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True)
    with start(call, preexec_fn=listens) as process:
        yield process


def interrupt(process: subprocess.Popen[str]) -> list[str]:
    """Ctrl-C once the program is there; the lines on standard error."""
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return err.splitlines()


@pytest.mark.parametrize(
    ("stage", "page", "seconds", "finished"),
    [
        ("loading", "", 60, 0),
        ("preparing", "500x400", 60, 1),
        ("prefill", "500x400", 0, 1),  # in the midst of torch's work: many prefills are to come
        ("decode", "500x400", 0, 1),  # and many steps
        ("writing", "500x400", 60, 2),
        ("writing the report", "", 60, 2),
    ],
)
def test_ctrl_c(small: tuple[str, ...], tmp_path: Path, stage: str, page: str, seconds: float, finished: int) -> None:
    """The first page is short, and a signal that comes in the second leaves it whole."""
    options = [*small, "--run-id", "one", "--max-new-tokens", 100 if stage == "decode" else 4]
    if stage == "prefill":
        options += ["--repeats", 30]
    with running(stage, page, seconds, "run", "300x400", "500x400", *options, cwd=tmp_path) as process:
        lines = interrupt(process)
    assert process.returncode == 130
    assert len(lines) == 1 and "Traceback" not in lines[0]
    assert lines[0].startswith(f"modelmeter: interrupted during {stage}")
    assert "runs/one has what was finished, marked incomplete" in lines[0]
    folder = tmp_path / "runs" / "one"
    status: Any = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["pages_finished"]) == ("incomplete", finished)
    assert not list(folder.rglob("*.part")) and not (folder / ".room").exists()
    if stage == "loading":
        return
    pages = json.loads((folder / "summary.json").read_text())["pages"]
    assert [one["source"] for one in pages if one["complete"]] == ["300x400", "500x400"][:finished]
    if stage == "decode":
        assert pages[-1]["reason"] == "interrupted"
        assert 1 <= pages[-1]["generated_tokens"] < 100
        assert pages[-1]["stages"]["prefill"]["seconds"] > 0
