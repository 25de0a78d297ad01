"""Runs of a small model with random weights, in folders of their own."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from support.schema import validator_of

from modelmeter.live.reference.transformers5 import config_like
from modelmeter.live.running.request import ModelChoice, RunRequest, workload_of
from modelmeter.live.verification.real_run import SMALL
from modelmeter.report.model_report import build, kinds

Make = Callable[..., RunRequest]


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration file of a small model."""
    path = tmp_path_factory.mktemp("small") / "config.json"
    path.write_text(json.dumps(config_like(SMALL).to_dict(), default=str))
    return path


@pytest.fixture(autouse=True)
def no_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without closed formulas, which are most of their time: those of the command's tests have them."""
    for module in (build, kinds):
        monkeypatch.setattr(module, "has_sympy", lambda: False)


@pytest.fixture
def ask(config_file: Path, tmp_path: Path) -> Make:
    """ask(*files, **options): a request of a small model, one prefill, no HTML, in `runs`."""

    def make(*files: str | Path, **options: Any) -> RunRequest:
        sizes = {"mode": "tiny", "max_tiles": 9, "prompt_tokens": 10, "max_new_tokens": 4, "batch_size": 1}
        sizes |= {name: options.pop(name) for name in [*sizes] if name in options}
        chosen = {"random_weights": True, "config": config_file}
        chosen |= {name: options.pop(name) for name in ("attention", "experts", "dtype", "layers") if name in options}
        defaults = {"warm_up": 0, "repeats": 1, "html": False, "output": tmp_path / "runs", "run_id": "one"}
        return RunRequest(
            files=tuple(map(str, files)),
            model=ModelChoice(**chosen),
            workload=workload_of(**sizes),
            **{**defaults, **options},
        )

    return make


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A picture of a page that mode gundam cuts into tiles: lines of text, so to say."""
    picture = Image.new("RGB", (700, 900), "white")
    draw = ImageDraw.Draw(picture)
    for line in range(40, 860, 20):
        draw.rectangle((50, line, 300 + 8 * line % 350, line + 8), fill="black")
    path = tmp_path / "page.png"
    picture.save(path)
    return path


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard as by the program: whoever runs these tests may have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(call, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only the superuser of a Linux may mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(path: Path) -> None:
    """Write until the disk takes no more."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def read(folder: Path, name: str) -> Any:
    """A file of a run, which the schema that it names allows."""
    data = json.loads((folder / name).read_text(encoding="utf-8"))
    validator_of(data["schema"].removeprefix("modelmeter.").replace("/", "-")).validate(data)
    return data


def left(folder: Path) -> tuple[Any, Any]:
    """The status, and the summary, of what was left."""
    status = read(folder, "status.json")
    summary = read(folder, "summary.json") if (folder / "summary.json").exists() else None
    return status, summary
