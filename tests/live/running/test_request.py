"""Which device a run is predicted on."""

import pytest
import torch

from modelmeter.hardware.catalogue import get_device
from modelmeter.live.running import request
from modelmeter.live.running.request import machine_for

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def test_a_named_device_is_predicted_on_wherever_it_runs() -> None:
    machine = machine_for("a100-40g", CPU)
    assert machine is not None
    assert (machine.device.name, machine.execution) == ("a100-40g", "eager")


def test_a_cuda_device_is_known_by_what_it_calls_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "catalogued", lambda device: get_device("h200") if device == CUDA else None)
    machine = machine_for(None, CUDA)
    assert machine is not None and machine.device.name == "h200"


def test_a_cpu_is_not_known() -> None:
    assert machine_for(None, CPU) is None
