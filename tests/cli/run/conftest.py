"""`modelmeter run` of a small real model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmeter.live.reference.transformers5 import config_like
from modelmeter.live.verification.real_run import SMALL


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration file of a small model."""
    path = tmp_path_factory.mktemp("small") / "config.json"
    path.write_text(json.dumps(config_like(SMALL).to_dict(), default=str))
    return path


@pytest.fixture
def small(config_file: Path) -> tuple[str, ...]:
    """Options of a small model and small pages, one prefill."""
    return (
        *("--random-weights", "--config", str(config_file), "--mode", "tiny", "--no-html"),
        *("--warm-up", "0", "--repeats", "1"),
    )


@pytest.fixture
def run(program: Any, small: tuple[str, ...], tmp_path: Path) -> Callable[..., Any]:
    """run(*arguments): the command on the small model, into `runs/one`."""
    where = ("-o", tmp_path / "runs", "--run-id", "one", "--max-new-tokens", 4)
    return lambda *arguments: program("run", *small, *where, *arguments)
