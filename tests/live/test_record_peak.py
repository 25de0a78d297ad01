"""The peak is MemTracker's, and what autograd keeps is what its own hooks see."""

import pytest
import torch
from support.recorded import MODELS, NEEDS_DATA, built, quiet, tracked_peak
from support.reference import really_saved
from torch import nn
from transformers import DynamicCache

from modelmeter.live import record

RUNS = [
    (name, device)
    for name in MODELS
    for device in ("meta", "cpu")
    if not (device == "meta" and name in NEEDS_DATA)
    and name != "whisper"  # MemTracker hooks its frozen weight: an error
]


@pytest.mark.parametrize(("name", "device"), RUNS)
def test_forward_peak(name, device):
    module, args, kwargs = built(name, device)
    with quiet():
        torch.manual_seed(0)
        trace = record(module, *args, **kwargs)
        assert trace.peak_with_cache_bytes == tracked_peak(module, *args, **kwargs)


@pytest.mark.parametrize(("name", "device"), RUNS)
def test_peak_with_backward(name, device):
    """The whole run's: what is kept, gradients of weights and of activations.

    MemTracker holds the gradient of a leaf among the inputs, so that torch copies it: here no input needs one.
    """
    module, args, kwargs = built(name, device)
    with quiet():
        torch.manual_seed(0)
        trace = record(module, *args, backward=True, **kwargs)
        assert trace.peak_with_cache_bytes == tracked_peak(module, *args, backward=True, **kwargs)


def test_a_chain_by_hand():
    size = 4 * 3 * 5  # one [3 5] fp32 tensor
    model = nn.Sequential(nn.Tanh(), nn.Tanh(), nn.Tanh())
    # The input, which the caller holds, and a tanh's input and output. Sequential drops each before the next but one.
    assert record(model, torch.randn(3, 5)).peak_bytes == 3 * size


def test_what_a_local_variable_holds():
    class Held(nn.Module):
        def forward(self, x):
            first = x + 1
            second = first + 1
            return second + 1

    class Rebound(nn.Module):
        def forward(self, x):
            x = x + 1
            x = x + 1
            return x + 1

    size = 4 * 3 * 5
    assert record(Held(), torch.randn(3, 5)).peak_bytes == 4 * size
    assert record(Rebound(), torch.randn(3, 5)).peak_bytes == 3 * size


def test_a_view_keeps_its_whole_storage():
    class Row(nn.Module):
        def forward(self, x):
            row = (x + 1)[0]
            return torch.zeros(2, 5) + row

    size = 4 * 3 * 5
    assert record(Row(), torch.randn(3, 5)).peak_bytes == size + size + 2 * (4 * 2 * 5)  # x, x + 1, zeros, the sum


def test_an_input_a_weight_and_the_same_tensor_twice_count_once():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5))

        def forward(self, x, again, weight):
            return x

    module, x = Both(), torch.randn(3, 5)
    assert record(module, x, x[1:], module.weight).peak_bytes == 4 * 3 * 5


SAVED = ["linear", "conv1d", "conv2d", "encoder_layer", "attention", "attention_fused", "bert", "vit", "resnet"]


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("name", SAVED)
def test_saved_bytes_are_autograds(name, device):
    module, args, kwargs = built(name, device)
    with quiet():
        torch.manual_seed(0)
        trace = record(module, *args, backward=True, **kwargs)
        torch.manual_seed(0)
        assert trace.saved_bytes == really_saved(module, *args, **kwargs)
    assert record(module, *args, **kwargs).saved_bytes == 0


def test_saved_bytes_by_hand():
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    trace = record(model, torch.randn(3, 4), backward=True)
    # The first layer keeps its input for its weight's gradient, tanh its output, the last layer that same storage.
    assert trace.saved_bytes == 4 * 3 * (4 + 5)
    kept = {path: segment.saved_bytes for path, segment in trace.segments()}
    assert kept == {"": 4 * 3 * (4 + 5), "0": 4 * 3 * 4, "1": 4 * 3 * 5, "2": 0}


def test_the_caches_tensors_are_not_saved_but_cached():
    """On the CPU sdpa keeps keys and values for backward: here they are the cache's, which is there anyway."""
    module, args, _ = built("llama", "cpu")
    cache = 2 * 2 * (4 * 2 * 2 * 6 * 4)  # layers, keys and values, fp32 [batch 2, kv heads 2, tokens 6, width 4]
    with quiet():
        kept = record(module, *args, backward=True, past_key_values=DynamicCache()).saved_bytes
        torch.manual_seed(0)
        assert really_saved(module, *args) == kept + cache
