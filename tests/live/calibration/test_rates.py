"""Which device it is, and the best rates seen on it."""

import types

import pytest
import torch

from modelmeter import ModelMeterError
from modelmeter.core import ops
from modelmeter.core.tensor import BF16
from modelmeter.live.calibration import rates
from modelmeter.live.calibration.cases import Sample, priced
from modelmeter.live.calibration.clock import Timing
from modelmeter.live.calibration.products import gate, linear

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)


def sample(op, seconds):
    return Sample(name="", op=op, timing=Timing.of([seconds]))


def copied(numbers):
    """A copy of so many 16-bit numbers: twice the bytes of them move."""
    return priced(lambda r: ops.clone(r.take((numbers,), BF16)))


def test_the_best_rates_seen_are_the_devices(monkeypatch):
    monkeypatch.setattr(rates, "cache_bytes", lambda device: 2**20)
    product, in_fp32 = linear(64, 512, 512).op, gate(64, 64, 512).op
    samples = [
        sample(product, 2e-4),
        sample(product, 1e-4),  # the best: 2 * 64 * 512 * 512 FLOPs in 0.1 ms
        sample(in_fp32, 1e-4),
        sample(copied(2**20), 1e-3),  # 2 * 2 bytes each: 4 MiB move, four times the cache
        sample(copied(2**17), 1e-5),  # 512 KiB, inside it
        sample(copied(2**8), 1e-9),  # too few bytes to say anything of a bandwidth
    ]
    found = rates.measured_device(CPU, samples)
    assert found.peaks == {"bf16": 2 * 64 * 512 * 512 / 1e-4, "fp32": 2 * 64 * 64 * 512 / 1e-4}
    assert found.bandwidth == 4 * 2**20 / 1e-3
    assert (found.l2_bytes, found.l2_bandwidth) == (2**20, 4 * 2**17 / 1e-5)
    assert found.kind == "cpu"


def test_this_cpu():
    assert rates.find_device("cpu") == CPU
    assert rates.title_of(CPU)
    assert rates.memory_bytes(CPU) > 2**28
    cache = rates.cache_bytes(CPU)
    assert cache is None or cache >= 2**15
    assert rates.catalogued(CPU) is None


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "h200", ""])
def test_an_unknown_device(name):
    with pytest.raises(ModelMeterError, match="is unknown: choose cpu or cuda:0"):
        rates.find_device(name)


def test_no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelMeterError, match="sees no CUDA device: choose cpu"):
        rates.find_device("cuda")


def test_a_cuda_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert rates.find_device("cuda:0") == rates.find_device("cuda") == CUDA
    with pytest.raises(ModelMeterError, match="cuda:3: there are 1"):
        rates.find_device("cuda:3")


@pytest.mark.parametrize(
    ("name", "gigabytes", "base"),
    [("NVIDIA H200", 150.1, "h200"), ("NVIDIA A100-SXM4-40GB", 42.4, None), ("NVIDIA H200", 30, None)],
)
def test_a_gpu_is_looked_up_by_its_name_and_memory(monkeypatch, name, gigabytes, base):
    properties = types.SimpleNamespace(name=name, total_memory=int(gigabytes * 1e9), L2_cache_size=50 * 2**20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    found = rates.catalogued(CUDA)
    assert (None if found is None else found.name) == base
    assert rates.cache_bytes(CUDA) == 50 * 2**20
    samples = [sample(linear(64, 512, 512).op, 1e-4)]
    device, of = rates.device_for(CUDA, samples)
    assert (device.kind, of) == ("gpu", base)
    if base is None:
        assert dict(device.tensor) == {"bf16": 2 * 64 * 512 * 512 / 1e-4}
