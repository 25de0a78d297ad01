"""The generic twins against torch's modules: weights, counted FLOPs, and the operators of what is written out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.harness import tensors, trace_call
from support.reference import bf16_on_meta, count, parameters
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from modelmeter import Cost, Layer
from modelmeter.core.tensor import FP32, INT64
from modelmeter.nn.activation import GELU, QuickGELU, SiLU
from modelmeter.nn.conv import Conv2d
from modelmeter.nn.embedding import Embedding
from modelmeter.nn.linear import Linear
from modelmeter.nn.norm import LayerNorm, RMSNorm

sizes = st.integers(1, 30)


def assert_twin(layer: Layer, module: nn.Module, *shape: int) -> None:
    """The same weights, and the same counted FLOPs on [*shape] bf16."""
    counted = count(module, torch.empty(*shape, dtype=torch.bfloat16, device="meta"))
    assert layer.parameter_count() == parameters(module)
    assert trace_call(layer, tensors(shape)).total.counted_flops == counted.total


@given(sizes, sizes, sizes, st.booleans())
def test_linear(tokens, k, n, bias):
    with bf16_on_meta():
        module = nn.Linear(k, n, bias)
    assert_twin(Linear(k, n, bias), module, 2, tokens, k)


@given(sizes, sizes, st.integers(1, 3), st.integers(1, 2), st.integers(4, 30), st.booleans())
def test_conv2d(channels, out, kernel, stride, side, bias):
    if kernel == stride:
        side = side // stride * stride
    padding = kernel // 2 if kernel != stride else 0
    with bf16_on_meta():
        module = nn.Conv2d(channels, out, kernel, stride, padding, bias=bias)
    assert_twin(
        Conv2d(channels, out, kernel, stride=stride, padding=padding, bias=bias), module, 2, channels, side, side
    )


@given(sizes, sizes)
def test_layer_norm(tokens, width):
    with bf16_on_meta():
        module = nn.LayerNorm(width)
    assert_twin(LayerNorm(width), module, 2, tokens, width)


@pytest.mark.parametrize(("layer", "module"), [(GELU(), nn.GELU()), (SiLU(), nn.SiLU())])
def test_activations(layer, module):
    assert_twin(layer, module, 2, 5, 8)


def test_embedding():
    with bf16_on_meta():
        module = nn.Embedding(1000, 8)
    layer = Embedding(1000, 8, seq_len=5, batch_size=2)
    assert layer.parameter_count() == parameters(module) == 8000
    cost = layer.cost()
    assert cost == Cost(weight_read_bytes=2 * 10 * 8, activation_read_bytes=8 * 10, activation_write_bytes=2 * 10 * 8)
    assert count(module, torch.empty(2, 5, dtype=torch.long, device="meta")).total == 0


class Names(TorchDispatchMode):
    """The aten operators that ran, without views."""

    views = frozenset({"view", "_unsafe_view", "expand", "transpose", "t", "unsqueeze", "slice", "detach", "alias"})

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.partition("::")[2]
        if name not in self.views:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def names_of(layer: Layer, *shape: int) -> list[str]:
    return [op.name for _, op in trace_call(layer, tensors(shape)).operators()]


def test_rms_norm_is_the_eager_codes_operators(real):
    """Cast, square, mean, eps, rsqrt, product, cast back, product with the weight: in this order."""
    module = real.real.model.language_model.norm
    x = torch.empty(2, 5, 1280, dtype=torch.bfloat16, device="meta")
    with Names() as ran, torch.no_grad():
        module(x)
    layer = RMSNorm(1280)
    assert names_of(layer, 2, 5, 1280) == ran.names
    elements, rows = 2 * 5 * 1280, 10
    cost = trace_call(layer, tensors((2, 5, 1280))).total
    assert cost.cuda_flops == elements * (1 + 1 + 1 + 1) + rows * 2  # square, mean, two products; eps and rsqrt a row
    assert cost.weight_read_bytes == 2 * 1280
    # casts: bf16 in and fp32 out, fp32 in and bf16 out; square and mean read fp32, the product it and a row's rsqrt
    assert cost.activation_read_bytes == elements * (2 + 4 + 4 + 4 + 4 + 2) + rows * 4 * 3
    assert cost.activation_write_bytes == elements * (4 + 4 + 4 + 2 + 2) + rows * 4 * 3


def test_quick_gelu_is_three_kernels(real):
    module = real.real.model.vision_tower.vision_encoder.encoder.layers[0].mlp.activation_fn
    x = torch.empty(2, 5, 8, dtype=torch.bfloat16, device="meta")
    with Names() as ran, torch.no_grad():
        module(x)
    assert names_of(QuickGELU(), 2, 5, 8) == ran.names
    assert trace_call(QuickGELU(), tensors((2, 5, 8))).total.cuda_flops == 80 * (1 + 3 + 1)


def test_a_linear_in_fp32_runs_on_cuda_cores():
    cost = trace_call(Linear(8, 4, bias=False, dtype=FP32), tensors((3, 8), dtype=FP32)).total
    assert (cost.tensor_flops, cost.cuda_flops) == (0, 2 * 3 * 8 * 4)
    assert cost.weight_read_bytes == 4 * 32


def test_token_ids_are_eight_bytes():
    cost = trace_call(Embedding(10, 4), tensors((1, 3), dtype=INT64)).total
    assert cost.activation_read_bytes == 8 * 3
