"""`modelmeter measure`, and `modelmeter compare` of what it writes with what `sweep seq-len` writes."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.scaling import analytic, measured, write_pair
from support.small import small_config

from .conftest import ENVIRONMENT, Done, command

pytest.importorskip("torch")

Program = Callable[..., Done]
QUICK = ("--decode-steps", "2", "--warm-up", "0", "--repeats", "1")
SCALING = ["--decode-steps", "2", "--implementation", "transformers", "--logits", "last", "--no-plots", "-q"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A small model's configuration."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(small_config()), encoding="utf-8")
    return path


@pytest.fixture
def small(program: Program, config: Path) -> Program:
    """small(lengths, options...): a measurement of random weights."""

    def run(lengths: list[str], *more: Any) -> Done:
        return program("measure", "--seq-lens", *lengths, *QUICK, "--random-weights", "--config", config, *more)

    return run


def test_a_measurement_is_written_and_shown(small: Program, valid: Callable[[str], Any], tmp_path: Path) -> None:
    done = small(["8", "16"], "-o", tmp_path / "out")
    assert (done.code, done.complaints) == (0, [])
    assert "Measured: batch size 1, 2 decode steps, medians of 1" in done.out
    data = valid((tmp_path / "out" / "measured_scaling.json").read_text(encoding="utf-8"))
    assert [point["seq_len_prefill"] for point in data["points"]] == [8, 16] and data["complete"]
    assert data["command"].startswith("modelmeter measure --seq-lens 8 16 --decode-steps 2")


@pytest.mark.parametrize(
    "words", [["--seq-lens", "8", "16"], ["--seq-lens", "8,16"], ["--seq-lens", "8", "--seq-lens", "16"], ["8", "16"]]
)
def test_lengths_in_every_spelling(program: Program, config: Path, tmp_path: Path, words: list[str]) -> None:
    more = [*QUICK, "--random-weights", "--config", config, "--no-flops", "-o", tmp_path, "-q"]
    assert program("measure", *words, *more).code == 0
    data = json.loads((tmp_path / "measured_scaling.json").read_text(encoding="utf-8"))
    assert [point["seq_len_prefill"] for point in data["points"]] == [8, 16]
    assert not data["counted"]


def test_counted_flops_are_those_of_the_sweep(small: Program, program: Program, tmp_path: Path) -> None:
    """By the configuration that measure writes: differences of 0, and the exit code says so at a threshold of 0."""
    assert small(["8", "16"], "-o", tmp_path / "m", "-q").code == 0
    sweep = ["sweep", "seq-len", "--seq-lens", "8", "16", *SCALING, "--config", tmp_path / "m" / "measured_config.json"]
    assert program(*sweep, "-o", tmp_path / "s").code == 0
    done = program("compare", tmp_path / "s", tmp_path / "m", "--threshold", "0", "--json", "-")
    assert done.code == 0
    data = json.loads(done.out)
    assert data["settings"] == []
    differences = [point[stage]["flops_difference"] for point in data["points"] for stage in ("prefill", "decode")]
    assert differences == [0, 0, 0, 0]


def test_the_advised_command_makes_the_files_match(
    small: Program, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study in other conventions, of another model, is above the threshold; the command that is advised mends it."""
    monkeypatch.chdir(tmp_path)
    assert small(["8", "16"], "-o", "m", "-q").code == 0
    assert program("sweep", "seq-len", "--seq-lens", "8", "16", "-o", "s", "--no-plots", "-q").code == 0
    done = program("compare", "s", "m", "--json", "-")
    data = json.loads(done.out)
    assert done.code == 1 and data["exceeding"] == 4
    assert {each["name"] for each in data["settings"]} == {
        "conventions.implementation",
        "conventions.logits",
        "decode_steps",
    }
    advised = data["commands"][0].split()
    assert data["recommendation"][1].endswith(data["commands"][0])
    assert program(*advised[1:], "--no-plots", "-q").code == 0
    again = program("compare", "s", "m", "--threshold", "0", "--json", "-")
    assert again.code == 0 and json.loads(again.out)["settings"] == []


def test_a_finished_measurement_is_gone_on_with(small: Program, tmp_path: Path) -> None:
    assert small(["8"], "-o", tmp_path).code == 0
    (first,) = json.loads((tmp_path / "measured_scaling.json").read_text(encoding="utf-8"))["points"]
    assert small(["8", "16"], "-o", tmp_path).code == 0
    points = json.loads((tmp_path / "measured_scaling.json").read_text(encoding="utf-8"))["points"]
    assert points[0] == first and len(points) == 2
    done = small(["8"], "-o", tmp_path, "--batch-size", "2")
    assert done.code == 2 and "batch_size 1, now 2" in done.complaints[0]
    assert small(["8"], "-o", tmp_path, "--batch-size", "2", "--replace").code == 0


def test_a_skipped_length_is_said_on_standard_error(
    small: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelmeter.live.session import memory

    monkeypatch.setattr(memory, "free_bytes", lambda device: 512 << 20)
    done = small(["8", "8000"], "-o", tmp_path)
    assert done.code == 0 and len(done.complaints) == 1
    assert done.complaints[0].startswith("modelmeter: length 8000 is skipped: too little memory on cpu")
    data = json.loads((tmp_path / "measured_scaling.json").read_text(encoding="utf-8"))
    assert [each["seq_len_prefill"] for each in data["skipped"]] == [8000]
    assert small(["8000"], "-o", tmp_path / "nothing").code == 1


def test_ctrl_c_ends_with_130_and_one_line(small: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelmeter.live.measuring import measure

    before = measure.measure_point

    def stopping(session: Any, inputs: Any, **options: Any) -> Any:
        if inputs.context_len == 16:
            raise KeyboardInterrupt
        return before(session, inputs, **options)

    monkeypatch.setattr(measure, "measure_point", stopping)
    done = small(["8", "16"], "-o", tmp_path)
    assert (done.code, done.out) == (130, "")
    (line,) = done.err.splitlines()
    assert line.startswith("modelmeter: interrupted at length 16 (2 of 2): 1 finished of ")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_real_ctrl_c_keeps_finished_lengths(config: Path, tmp_path: Path) -> None:
    """A process with thousands of lengths to go is sent SIGINT when the first is written."""
    file = tmp_path / "out" / "measured_scaling.json"
    call = command("measure", "8:4000", *QUICK, "--random-weights", "--config", config, "-o", file.parent)
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also where a shell started us in the background
    start = partial(subprocess.Popen, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with start(call, preexec_fn=listens) as process:
        try:
            deadline = time.monotonic() + 120
            while not file.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    (line,) = err.splitlines()
    assert line.startswith("modelmeter: interrupted at length ")
    data = json.loads(file.read_text(encoding="utf-8"))
    assert data["points"][0]["seq_len_prefill"] == 8 and not data["complete"]
    assert f"{len(data['points'])} finished of {file} are kept" in line
    assert sorted(path.name for path in file.parent.iterdir()) == ["measured_config.json", "measured_scaling.json"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--seq-lens", "8"], "--random-weights"),
        (["--seq-lens", "8", "--random-weights", "--model-path", "nowhere"], "--random-weights"),
        (["--seq-lens", "8", "--model-path", "nowhere", "--layers", "2"], "--layers goes with --random-weights"),
        (["--random-weights"], "give --seq-lens"),
        (["--random-weights", "--seq-lens", "8,x"], "no whole number"),
        (["--random-weights", "--seq-lens", "0"], "seq_lens"),
        (["--random-weights", "--seq-lens", "8", "--decode-steps", "0"], "decode_steps"),
        (["--random-weights", "--seq-lens", "8", "--device", "tpu"], "tpu"),
        (["--random-weights", "--seq-lens", "8", "--attention", "sparse"], "sparse"),
        (["--random-weights", "--seq-lens", "8", "--config", "nowhere.json"], "nowhere.json"),
    ],
)
def test_what_cannot_be_is_one_line(refused: Callable[..., str], tmp_path: Path, words: list[str], line: str) -> None:
    assert line in refused("measure", *words, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# compare


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The two files, prefill a tenth apart."""
    return write_pair(tmp_path, analytic({16: (100, 40)}), measured({16: (110, 40)}))


def test_all_outputs_of_a_comparison(
    program: Program, valid: Callable[[str], Any], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["--json", out / "a.json", "--markdown", out / "a.md", "--csv", out / "a.csv", "--plot", out / "a.svg"]
    done = program("compare", *pair, "--device", "h200", *words)
    assert done.code == 1 and "predicted: h200, execution eager, level roofline" in done.out
    data = valid((out / "a.json").read_text(encoding="utf-8"))
    assert (data["device"], data["exceeding"]) == ("h200", 1)
    assert data["commands"][2].startswith("modelmeter compare ") and "--device h200" in data["commands"][2]
    assert (out / "a.md").read_text(encoding="utf-8").startswith("# Predicted and measured scaling")
    assert (out / "a.csv").read_text(encoding="utf-8").startswith("seq_len_prefill,stage,analytic_flops,")
    assert b"<svg" in (out / "a.svg").read_bytes()


@pytest.mark.parametrize(("threshold", "code"), [("10%", 0), ("9%", 1), ("0.2", 0)])
def test_a_threshold_is_for_flops(program: Program, pair: tuple[Path, Path], threshold: str, code: int) -> None:
    assert program("compare", *pair, "--threshold", threshold).code == code


def test_the_order_is_free(program: Program, pair: tuple[Path, Path]) -> None:
    one, other = (json.loads(program("compare", *files, "--json", "-").out) for files in (pair, pair[::-1]))
    assert one.pop("commands")[:2] == other.pop("commands")[:2] and one == other


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--allow-different", "conventions"], "--allow-different is for two results of one kind"),
        (["--top", "3"], "--top is for two results of one kind"),
        (["--execution", "graph"], "--execution is for times: name a --device"),
        (["--launch-overhead", "1e-6"], "--launch-overhead is for times: name a --device"),
        (["--device", "h2000"], "h2000"),
        (["--device", "h200", "--execution", "quick"], "quick"),
        (["--threshold", "many"], "many"),
        (["--plot", "plot.gif"], "cannot draw a .gif"),
    ],
)
def test_options_that_cannot_be_are_one_line(
    refused: Callable[..., str], pair: tuple[Path, Path], words: list[str], line: str
) -> None:
    assert line in refused("compare", *pair, *words)


@pytest.mark.parametrize(
    "words", [["--device", "h200"], ["--plot", "a.svg"], ["--execution", "graph"], ["--launch-overhead", "1e-6"]]
)
def test_options_of_the_pair_are_refused_elsewhere(
    refused: Callable[..., str], pair: tuple[Path, Path], words: list[str]
) -> None:
    assert f"{words[0]} is for analytic_scaling.json" in refused("compare", pair[0], pair[0], *words)


def test_broken_files_are_one_line(refused: Callable[..., str], pair: tuple[Path, Path]) -> None:
    pair[1].write_text(pair[1].read_text(encoding="utf-8")[:100], encoding="utf-8")
    assert "is not JSON" in refused("compare", *pair)
