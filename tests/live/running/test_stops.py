"""Runs that are stopped: by Ctrl-C, a full disk, a bug. What was finished stays, and the folder says why it ends."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmeter import ModelMeterError
from modelmeter.live.running import export, one_page
from modelmeter.live.running.progress import Progress
from modelmeter.live.running.run import Interrupted, run_documents
from modelmeter.live.session.run import Run

from .conftest import Make, fill, left, read


def stop_at(stage: str, page: str | None, done: int = 0) -> Callable[[Progress], None]:
    """Somebody who presses Ctrl-C when the run gets there."""

    def watch(progress: Progress) -> None:
        if (progress.stage, progress.page) == (stage, page) and progress.done >= done:
            raise KeyboardInterrupt

    return watch


@pytest.mark.parametrize(
    ("stage", "page", "done", "finished", "cut"),
    [
        ("loading", None, 0, 0, None),
        ("preparing", "500x400", 0, 1, None),
        ("prefill", "500x400", 0, 1, (0, 0)),
        ("prefill", "500x400", 1, 1, (1, 0)),
        ("decode", "500x400", 3, 1, (3, 2)),
        ("writing", "500x400", 0, 2, None),
        ("writing the report", None, 0, 2, None),
    ],
)
def test_an_interrupt_keeps_what_was_finished(
    ask: Make, stage: str, page: str | None, done: int, finished: int, cut: tuple[int, int] | None
) -> None:
    request = ask("300x400", "500x400", max_new_tokens=5, repeats=2)
    with pytest.raises(Interrupted, match=f"interrupted during {stage}.*marked incomplete"):
        run_documents(request, watch=stop_at(stage, page, done))
    status, summary = left(request.output / "one")
    assert (status["state"], status["pages_finished"]) == ("incomplete", finished)
    assert status["reason"].startswith(f"interrupted during {stage}")
    if stage == "loading":
        assert summary is None
        return
    assert (summary["complete"], summary["reason"]) == (False, status["reason"])
    pages = summary["pages"]
    assert [one["complete"] for one in pages] == [True] * finished + ([] if cut is None else [False])
    if cut is not None:
        tokens, steps = cut
        assert (pages[-1]["generated_tokens"], len(pages[-1]["decode_step_seconds"])) == (tokens, steps)
        assert (pages[-1]["reason"], pages[-1]["stop_reason"]) == ("interrupted", "interrupted")
    steps_seen = read(request.output / "one", "analytic_hooks/decoder_steps.json")["steps"]
    assert {step["document"] for step in steps_seen} >= {"300x400"}


@pytest.mark.usefixtures("heard")
def test_whoever_presses_twice_loses_nothing(ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second Ctrl-C comes while the first one's files are written. After the run Ctrl-C is what it was."""
    write = export.to_json

    def pressed_again(summary: Any) -> str:
        signal.raise_signal(signal.SIGINT)
        return write(summary)

    def watch(progress: Progress) -> None:
        if (progress.stage, progress.done) == ("decode", 3):
            monkeypatch.setattr(export, "to_json", pressed_again)
            signal.raise_signal(signal.SIGINT)

    request = ask("300x400")
    with pytest.raises(Interrupted, match="interrupted during decode"):
        run_documents(request, watch=watch)
    status, summary = left(request.output / "one")
    assert status["state"] == "incomplete"
    assert [page["generated_tokens"] for page in summary["pages"]] == [3]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_after_the_last_token_keeps_the_page(ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is compared with the static model, which takes its time."""

    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(one_page, "page_checks", pressed)
    request = ask("300x400")
    with pytest.raises(Interrupted):
        run_documents(request)
    (page,) = left(request.output / "one")[1]["pages"]
    assert (page["generated_tokens"], page["complete"]) == (4, False)


@pytest.mark.parametrize("name", ["environment.json", "summary.json", "decoder_steps.json", "report.yaml"])
def test_a_full_disk(ask: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One line; nothing torn; what was written before stays."""
    replace = os.replace

    def full(source: str, target: Any) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    request = ask("300x400")
    with pytest.raises(ModelMeterError, match=rf"{name}: No space left on device: make room"):
        run_documents(request)
    folder = request.output / "one"
    status, _ = left(folder)
    assert status["state"] == "incomplete" and "No space left on device" in status["reason"]
    assert not (folder / name).exists() and not list(folder.rglob("*.part"))


def test_a_disk_that_fills_up_has_room_for_the_pages_that_were_finished(ask: Make, small_disk: Path) -> None:
    """Twice: before there is a summary, and while there is one of the first page."""
    for number, page in enumerate(("300x400", "500x400"), 1):
        folder = small_disk / f"full-{number}"

        def watch(progress: Progress, folder: Path = folder, page: str = page) -> None:
            if (progress.stage, progress.page) == ("writing", page):
                fill(folder / "filler")

        with pytest.raises(ModelMeterError, match=r"summary.json: No space left on device: make room"):
            run_documents(ask("300x400", "500x400", output=small_disk, run_id=folder.name), watch=watch)
        status, summary = left(folder)
        assert (status["state"], status["pages_finished"]) == ("incomplete", number)
        assert [one["complete"] for one in summary["pages"]] == [True] * number
        steps = read(folder, "analytic_hooks/decoder_steps.json")["steps"]
        assert len(steps) == number * 4 * 4  # layers; a prefill and three decode steps
        (folder / "filler").unlink()


def test_a_bug_keeps_its_traceback_and_the_pages(ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: Run) -> tuple[int, ...]:
        raise ZeroDivisionError("ours")

    request = ask("300x400")
    monkeypatch.setattr(Run, "decode_step", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        run_documents(request)
    status, summary = left(request.output / "one")
    assert status["reason"] == "ZeroDivisionError during decode of 300x400 (1 of 4): ours"
    assert summary["pages"][0]["stages"]["prefill"]["seconds"] > 0
