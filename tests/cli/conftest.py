"""Ways to run the program: inside this process as its entry point does, or as a process of its own."""

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import pytest
from jsonschema import Draft202012Validator
from PIL import Image

import modelmeter
from modelmeter.cli import main

SAMPLE = Path(__file__).parents[2] / "examples" / "sample.pdf"
TOKEN = 2 * 12 * 10 * 128 * 2  # bytes that a token holds: keys and values, layers, heads, width, bf16
UNSET = ("CLICOLOR_FORCE", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "PYTHONIOENCODING", "PYTHONUTF8", "TTY_COMPATIBLE")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in UNSET},
    "PYTHONPATH": str(Path(modelmeter.__file__).parents[1]),  # absolute: processes run elsewhere
}


class Done(NamedTuple):
    """How a run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def complaints(self):
        """The lines on standard error that say what is wrong."""
        return [line for line in self.err.splitlines() if line.startswith("modelmeter: ")]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No variable of the caller's shell changes what is printed."""
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def program(monkeypatch, capsys):
    """program(*arguments): the program as its entry point runs it, in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["modelmeter", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return Done(end.value.code or 0, out, err)

    return run


@pytest.fixture
def refused(program):
    """refused(*arguments): the one line of a run that ends with exit code 2 and prints nothing else."""

    def run(*arguments):
        done = program(*arguments)
        assert (done.code, done.out) == (2, "")
        assert [done.err] == [f"{line}\n" for line in done.complaints]
        return done.err

    return run


@pytest.fixture(scope="session")
def valid():
    """valid(text): the data in a JSON text, which the schema that it names allows."""
    texts = [path.read_text(encoding="utf-8") for path in (files("modelmeter.report") / "schemas").iterdir()]
    schemas = {schema["title"]: schema for schema in map(json.loads, texts)}

    def check(text):
        data = json.loads(text)
        Draft202012Validator(schemas[data["schema"]]).validate(data)
        return data

    return check


def command(*arguments):
    """The program as a process: its command line."""
    return [sys.executable, "-m", "modelmeter", *map(os.fspath, arguments)]


@pytest.fixture
def process(tmp_path):
    """process(*arguments, **environment): the program as a process of its own, in an empty folder."""

    def run(*arguments, **environment):
        env = {**ENVIRONMENT, **environment}
        done = subprocess.run(command(*arguments), check=False, cwd=tmp_path, env=env, capture_output=True, timeout=60)
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def picture(tmp_path):
    """picture(name, size) writes a picture and returns its path."""

    def draw(name="page.png", size=(600, 620)):
        path = tmp_path / name
        Image.new("L", size).save(tmp_path / "drawn.png")
        (tmp_path / "drawn.png").rename(path)
        return path

    return draw
