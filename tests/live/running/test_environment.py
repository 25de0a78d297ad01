"""What a run says of where it took place, and what it does not say."""

import getpass
import json
import os
import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.schema import validator_of

from modelmeter import Conventions
from modelmeter.live.running.environment import environment_data, to_json

CPU = torch.device("cpu")


def data(*command: str, device: torch.device = CPU) -> dict[str, Any]:
    return environment_data(
        device=device,
        dtype=torch.bfloat16,
        conventions=Conventions(),
        seed=7,
        keeps_memory=True,
        command=command,
    )


def test_it_is_data_that_its_schema_allows() -> None:
    found = json.loads(to_json(data("modelmeter", "run", "a b.png")))
    validator_of("run-environment-1").validate(found)
    assert found["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert (found["dtype"], found["seed"], found["cuda"]) == ("bfloat16", 7, None)
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert found["command"] == "modelmeter run 'a b.png'"


def test_it_names_no_person_no_host_and_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("A_SECRET", "hunter2-of-the-environment")
    text = to_json(data("modelmeter", "run", str(Path.home() / "page.png")))
    assert "~/page.png" in text and "somebody" not in text
    assert "hunter2" not in text
    assert f'"{platform.node()}"' not in text and f'"{getpass.getuser()}"' not in text
    assert os.getcwd() not in text


def test_a_cuda_device_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the answers that torch gives there."""
    properties = SimpleNamespace(name="NVIDIA H200", total_memory=150 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.version, "cuda", "12.9")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    found = data("modelmeter", "run", device=torch.device("cuda", 0))
    validator_of("run-environment-1").validate(found)
    assert found["device"] == {"name": "cuda:0", "title": "NVIDIA H200", "memory_bytes": 150 * 10**9}
    assert found["cuda"] == {"version": "12.9", "cudnn": 91002, "capability": "9.0"}
