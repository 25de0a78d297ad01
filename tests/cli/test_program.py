"""The program as a whole: how it starts, helps, completes, is interrupted and is cut off."""

import os
import signal
import subprocess
import sys
from functools import partial

import pytest
from typer.testing import CliRunner

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.cli.app import app

from .conftest import ENVIRONMENT, command

COMMANDS = ["analyze", "devices", "fit", "formula", "time"]
MANY = ["analyze", "10x10", "--by-layer", "100"]  # prints more than a pipe holds


def test_python_m_is_the_program(process):
    done = process("--version")
    assert (done.code, done.out, done.err) == (
        0,
        f"modelmeter {__version__} (analytic model {ANALYTIC_MODEL_VERSION})\n",
        "",
    )


def test_version():
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout.split()[1]) == (0, __version__)


@pytest.mark.parametrize("words", [[], *[[name] for name in COMMANDS]], ids=["program", *COMMANDS])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_shows_an_example_and_every_option(words, option):
    done = CliRunner().invoke(app, [*words, option], prog_name="modelmeter")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Examples:" in done.stdout
    example = next(line for line in done.stdout.splitlines() if line.strip().startswith("modelmeter "))
    assert example.split()[1] in (words or COMMANDS)


def test_the_examples_in_the_help_work(program, tmp_path, monkeypatch, picture):
    picture("paper.pdf")  # told by its content, not by its name
    (tmp_path / "scans").mkdir()
    picture("scans/one.png")
    picture("scan.png")
    monkeypatch.chdir(tmp_path)
    for words in [[], *[[name] for name in COMMANDS]]:
        text = CliRunner().invoke(app, [*words, "--help"], prog_name="other").stdout
        examples = [line.split()[1:] for line in text.splitlines() if line.strip().startswith("modelmeter ")]
        assert examples
        for example in examples:
            assert program(*example).code == 0


def test_help_lists_the_commands():
    done = CliRunner().invoke(app, ["--help"])
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


def test_without_arguments_it_helps():
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 2
    assert "Examples:" in done.output and "analyze" in done.output


@pytest.mark.parametrize(
    "words",
    [
        "--bogus",
        "analyse 10x10",
        "analyze",
        "analyze 10x10 --bogus",
        "analyze 10x10 --decode-tokens 1.5",
        "analyze 10x10 --json",
        "analyze 10x10 --max-tiles many",
        "formula",
        "formula deepseek-ocr",
        "formula deepseek-ocr decode --bogus",
    ],
)
def test_a_wrong_command_line_is_exit_code_2(program, words):
    done = program(*words.split())
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_of_the_program_however_it_was_started(process, shell):
    done = process(_MODELMETER_COMPLETE=f"source_{shell}")  # --show-completion without guessing the shell around us
    assert done.code == 0
    assert "_MODELMETER_COMPLETE" in done.out
    assert "python" not in done.out


def test_completion_completes(process):
    done = process(_MODELMETER_COMPLETE="complete_bash", COMP_WORDS="modelmeter cal", COMP_CWORD="1")
    assert (done.code, done.out.split()) == (0, ["calibrate"])


def test_no_escape_codes_where_no_terminal_is(process):
    done = process(*MANY)
    assert done.code == 0
    assert "\x1b" not in done.out + done.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_colours_progress_and_whole_numbers(process):
    import pty

    screen, terminal = pty.openpty()
    sizes = [f"{number}x620" for number in range(300, 420)]
    done = subprocess.Popen(command("analyze", *sizes), env=ENVIRONMENT, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while chunk := read(screen):
        shown += chunk
    os.close(screen)
    assert done.wait(60) == 0
    assert b"\x1b[" in shown and b"All 120 pages" in shown


def read(screen):
    """What a pseudo-terminal has to show; nothing once its program has ended."""
    try:
        return os.read(screen, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize("words", [MANY, [*MANY, "--json", "-"], [*MANY, "--markdown", "-"], ["--help"]])
def test_a_reader_that_leaves_early_is_no_error(words):
    with subprocess.Popen(command(*words), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.readline()
        running.stdout.close()  # | head -1
        complaint = running.stderr.read()
        assert (running.wait(60) in (0, 1), complaint) == (True, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["analyze 10x10", "analyze 10x10 --json -", "formula deepseek-ocr decode"])
def test_a_full_disk_behind_standard_output_is_one_line(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(*words.split()), check=False, env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert "Traceback" not in done.stderr
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_standard_output_may_be_closed(tmp_path):
    script = 'exec "$@" >&-'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command("analyze", "10x10", "--json", "out.json")],
        check=False,
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_ends_it_quietly(tmp_path):
    # Hundreds of grids, each of its own cost: a minute of work. The import log tells when the work begins.
    sizes = [f"{width}x{height}" for width in range(700, 9000, 170) for height in range(700, 9000, 190)]
    words = ["analyze", *sizes, "--max-tiles", "1024", "--by-layer", "100", "--json", "out.json"]
    python, *rest = command(*words)
    line, pipe = [python, "-X", "importtime", *rest], subprocess.PIPE
    start = partial(subprocess.Popen, cwd=tmp_path, env=ENVIRONMENT, stdout=pipe, stderr=pipe)
    # A shell's background job, and all it starts, ignores Ctrl-C: these tests may run as one.
    with start(line, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL)) as running:
        for line in running.stderr:
            if line.rstrip().endswith(b"modelmeter.report.analysis"):
                break
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert b"Traceback" not in err
    assert (running.returncode, out, os.listdir(tmp_path)) == (130, b"", [])


@pytest.mark.parametrize(
    "start", [["-m", "modelmeter"], ["-c", "from modelmeter.cli import main; main()"]], ids=["module", "script"]
)
def test_an_interrupt_while_it_is_imported_ends_it_quietly(tmp_path, start):
    # The first package that it loads is one that has Ctrl-C come: at the same place each time, a few ms from the start.
    comes = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nsignal.raise_signal(signal.SIGINT)\n"
    )
    (tmp_path / "typer.py").write_text(comes)
    env = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])}
    done = subprocess.run([sys.executable, *start, "--version"], check=False, env=env, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_an_interrupt_is_exit_code_130_wherever_it_comes(program, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("modelmeter.report.analysis.analyze", interrupt)
    done = program("analyze", "10x10")
    assert (done.code, done.out) == (130, "")
    assert "Traceback" not in done.err


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("modelmeter.report.analysis.analyze", fail)
    done = CliRunner().invoke(app, ["analyze", "10x10"])
    assert isinstance(done.exception, ZeroDivisionError)
