"""Ctrl-C in each phase of a run, as a signal to a process: exit code 130, one line, what was finished is kept."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ENVIRONMENT

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals, and processes that fork"),
    pytest.mark.slow,
]

SCRIPT = """
import json, os, sys, time
from transformers.models.unlimited_ocr import modeling_unlimited_ocr
from modelmeter.cli import main
from modelmeter.live.running import run

say = run._Running._say

def loud(self, progress):
    say(self, progress)
    if (progress.stage, progress.page) == (stage, page):
        print(os.getpid(), flush=True)
        time.sleep(seconds)

run._Running._say = loud
for line in sys.stdin:
    folder, stage, page, seconds, *arguments = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(folder)
        os.dup2(os.open("error", os.O_CREAT | os.O_WRONLY), 2)
        sys.argv = ["modelmeter", *arguments]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs of the program, each a process of its own that need not import torch again. It says its number when it is in a
phase, and stays there for some seconds; then this process says its exit code."""


@pytest.fixture(scope="module")
def runs() -> Iterator[subprocess.Popen[str]]:
    """The process that begins them. Ctrl-C reaches them: a shell's background job, and all it starts, ignores it."""
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    start = partial(subprocess.Popen, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with start([sys.executable, "-c", SCRIPT], preexec_fn=listens) as process:
        yield process
        process.communicate(timeout=60)


def interrupt(runs: subprocess.Popen[str], folder: Path, *case: object) -> tuple[int, list[str]]:
    """Ctrl-C once the run of `case` in `folder` is there: its exit code, and the lines on standard error."""
    assert runs.stdin is not None and runs.stdout is not None
    runs.stdin.write(json.dumps([str(folder), *case]) + "\n")
    runs.stdin.flush()
    os.kill(int(runs.stdout.readline()), signal.SIGINT)
    return int(runs.stdout.readline()), (folder / "error").read_text().splitlines()


@pytest.mark.parametrize(
    ("stage", "page", "seconds", "finished"),
    [
        ("loading", None, 60, 0),
        ("preparing", "500x400", 60, 1),
        ("prefill", "500x400", 0, 1),  # in the midst of torch's work: many prefills are to come
        ("decode", "500x400", 0, 1),  # and many steps
        ("writing", "500x400", 60, 2),
        ("writing the report", None, 60, 2),
    ],
)
def test_ctrl_c(
    runs: subprocess.Popen[str],
    small: tuple[str, ...],
    tmp_path: Path,
    stage: str,
    page: str | None,
    seconds: float,
    finished: int,
) -> None:
    """The first page is short, and a signal that comes in the second leaves it whole."""
    options = [*small, "--run-id", "one", "--max-new-tokens", "60" if stage == "decode" else "4"]
    if stage == "prefill":
        options += ["--repeats", "12"]
    code, lines = interrupt(runs, tmp_path, stage, page, seconds, "run", "300x400", "500x400", *options)
    assert code == 130
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
        assert 1 <= pages[-1]["generated_tokens"] < 60
        assert pages[-1]["stages"]["prefill"]["seconds"] > 0
