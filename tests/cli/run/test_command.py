"""The command: its table, its files, its exit codes, what it refuses."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from modelmeter.cli.app import app

ROWS = ("vision", "  sam", "  clip", "  projector", "prefill (vision in it)", "decode step", "decode, 3 steps", "page")


def rows_of(text: str, title: str) -> dict[str, list[str]]:
    """The cells of a table of the output by the name of their row."""
    lines = text[text.index(title) :].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    start = next(i for i, line in enumerate(cells) if line[0] == "stage") + 1
    found: dict[str, list[str]] = {}
    for name, *rest in cells[start:]:
        if name in found:  # the next table
            break
        found[name] = rest
    return found


def test_the_table_has_measured_beside_predicted(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run("300x400", "--predict-device", "h200")
    assert (done.code, done.err) == (0, f"wrote {tmp_path / 'runs' / 'one'}\n")
    rows = rows_of(done.out, "300x400: 83 tokens in, 4 out")
    assert list(rows) == [name.strip() for name in ROWS]
    data = json.loads((tmp_path / "runs/one/summary.json").read_text())["pages"][0]["stages"]
    *_, mfu, _, mbu, predicted, ratio = rows["prefill (vision in it)"]
    assert float(mfu.rstrip("%")) == pytest.approx(100 * data["prefill"]["mfu"], rel=6e-3)  # three digits
    assert float(mbu.rstrip("%")) == pytest.approx(100 * data["prefill"]["mbu"], rel=6e-3)
    assert float(ratio) == pytest.approx(data["prefill"]["ratio"], rel=6e-3)
    assert predicted.endswith("ms")
    assert "agree to the integer" in done.out and "DIFFERS" not in done.out
    assert "predicted for NVIDIA H200" in done.out


def test_without_a_known_device_nothing_is_predicted(run: Callable[..., Any]) -> None:
    done = run("300x400")
    rows = rows_of(done.out, "300x400:")
    for name in ("vision", "prefill (vision in it)", "decode step", "page"):
        _, _, tokens, flops, mfu, moved, mbu, predicted, ratio = rows[name]
        assert (mfu, mbu, predicted, ratio) == ("-", "-", "-", "-")
        assert all(re.fullmatch(r"[\d.e-]+", cell) for cell in (tokens, flops, moved))
    assert "no prediction: name the device with --predict-device" in done.out


def test_several_pages_have_a_table_of_all(run: Callable[..., Any]) -> None:
    done = run("300x400", "500x400")
    assert done.code == 0
    assert "500x400: 83 tokens in" in done.out
    assert "decode, 6 steps" in rows_of(done.out, "All 2 pages, one after the other")


def test_quiet_prints_nothing_and_writes_all_the_command_too(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run("300x400", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (tmp_path / "runs/one/report.json").exists()
    command = json.loads((tmp_path / "runs/one/environment.json").read_text())["command"]
    assert command.startswith("modelmeter run --random-weights") and command.endswith("300x400 -q")


def test_the_page_for_the_browser(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run("300x400", "--html", "-q").code == 0
    assert "</html>" in (tmp_path / "runs/one/report.html").read_text()


def test_a_terminal_sees_a_bar(run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the page's name as it is: square brackets in it are no markup."""
    Image.new("RGB", (300, 400)).save(tmp_path / "[x].png")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    drawn = [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text) for text in run(tmp_path / "[x].png").err.split("\r")]
    for stage, of in (("prefill", "1/1"), ("decode", "3/4")):
        assert [text for text in drawn if text.startswith(f"{stage} of [x].png ") and of in text]


def test_a_bad_file_among_several_is_one_line_and_exit_code_1(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    done = run(tmp_path / "text.png", "300x400")
    assert done.code == 1
    assert len(done.complaints) == 1 and "text.png: not a PDF, PNG" in done.complaints[0]
    assert "300x400: 83 tokens in" in done.out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("300x400", "a model is needed, one of the two: --model-path DIR, or --random-weights"),
        ("300x400 --random-weights --model-path somewhere", "a model is needed, one of the two"),
        ("300x400 --model-path somewhere --layers 2", "--layers goes with --random-weights"),
        ("300x400 --model-path somewhere --seed 0", "--seed goes with --random-weights"),
        ("300x400 --random-weights --trust-remote-code", "--trust-remote-code goes with --model-path"),
        ("300x400 --model-path somewhere --trust-remote-code", "somewhere"),
        ("300x400 --random-weights --layers 0", "layers"),
        ("300x400 --random-weights --max-new-tokens 0", "--max-new-tokens 0: give 1 or more"),
        ("300x400 --random-weights --repeats 0", "--repeats 0: give 1 or more"),
        ("300x400 --random-weights --warm-up -1", "--warm-up -1: give 0 or more"),
        ("300x400 --random-weights --batch-size 0", "batch_size"),
        ("300x400 --random-weights --mode tidy", "unknown mode 'tidy'"),
        ("300x400 --random-weights --max-tiles 1", "max_tiles"),
        ("300x400 --random-weights --dtype fp8", "dtype 'fp8' is unknown"),
        ("300x400 --random-weights --attention fast", "attention 'fast' is unknown"),
        ("300x400 --random-weights --experts some", "experts 'some' is unknown"),
        ("300x400 --random-weights --device tpu", "device 'tpu'"),
        ("300x400 --random-weights --predict-device h2000", "unknown device 'h2000'"),
        ("300x400 --random-weights --observe-experts --no-hooks", "--observe-experts counts by a hook"),
        ("300x400 --random-weights --run-id a/b", "--run-id 'a/b' is no name"),
        ("300x400 --random-weights --config none.json", "none.json"),
        ("300x400 --random-weights --config {config} --prompt hello", "--prompt needs a tokenizer"),
        ("nowhere.png --random-weights", "no page could be read: nowhere.png: no such file"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_folder(
    refused: Callable[..., str], config_file: Path, tmp_path: Path, arguments: str, reason: str
) -> None:
    runs = tmp_path / "runs"
    assert reason in refused("run", *arguments.format(config=config_file).split(), "-o", runs)
    assert not runs.exists() or list(runs.iterdir()) == []


def test_the_examples_in_the_help_can_be_called() -> None:
    text = CliRunner().invoke(app, ["run", "--help"], prog_name="modelmeter").stdout
    examples = [line.split()[2:] for line in text.splitlines() if line.strip().startswith("modelmeter run ")]
    assert len(examples) == 3
    command: Any = typer.main.get_command(app)
    for example in examples:
        command.commands["run"].make_context("run", example)


def test_two_runs_into_one_folder_are_refused(
    refused: Callable[..., str], small: tuple[str, ...], tmp_path: Path
) -> None:
    before = b"another run's"
    (tmp_path / "runs/one").mkdir(parents=True)
    (tmp_path / "runs/one/summary.json").write_bytes(before)
    line = refused("run", *small, "-o", tmp_path / "runs", "--run-id", "one", "300x400")
    assert f"{tmp_path / 'runs' / 'one'} is there already" in line
    assert (tmp_path / "runs/one/summary.json").read_bytes() == before
