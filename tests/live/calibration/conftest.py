"""Shared by the tests of calibration: a made-up device, and samples whose times are known."""

import numpy as np
import pytest
import torch

from modelmeter.hardware import catalogue
from modelmeter.hardware.device import Device
from modelmeter.hardware.efficiency import CLASSES, Calibration
from modelmeter.hardware.machine import Machine
from modelmeter.live.calibration.cases import Sample
from modelmeter.live.calibration.clock import Timing


@pytest.fixture(autouse=True)
def own_devices(monkeypatch, tmp_path):
    """The user's device file, which does not exist."""
    monkeypatch.setattr(catalogue, "user_file", lambda: tmp_path / "none.toml")


@pytest.fixture(autouse=True)
def threads():
    """The number of torch's threads stays what it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def device():
    """1 TFLOP/s, 100 GFLOP/s of vectors, 10 GB/s, a cache of 1 MB at 40 GB/s."""
    return Device(
        name="made-up",
        title="Made up",
        kind="cpu",
        vector={"bf16": 1e12, "fp32": 1e11},
        memory_bytes=10**10,
        bandwidth=1e10,
        l2_bytes=10**6,
        l2_bandwidth=4e10,
        calibration={},
    )


def timing(seconds):
    """Measured without spread."""
    return Timing(seconds=seconds, low=seconds, first_quartile=seconds, third_quartile=seconds, high=seconds, repeats=1)


@pytest.fixture
def samples_of():
    """samples_of(cases, efficiency, device, noise): the cases as a device of this efficiency would run them."""

    def make(cases, efficiency, device, noise=0.0):
        calibration = Calibration(classes=dict.fromkeys(CLASSES, efficiency), host_seconds=0.0)
        machine = Machine(device=device, execution="graph", calibration=calibration)
        factors = np.exp(noise * np.random.default_rng(0).standard_normal(len(cases)))
        return [
            Sample(name=case.name, op=case.op, timing=timing(float(machine.terms(case.op).seconds) * float(factor)))
            for case, factor in zip(cases, factors, strict=True)
        ]

    return make
