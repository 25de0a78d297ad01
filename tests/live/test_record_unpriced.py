"""What has no declared price is listed, with its path, count and bytes."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from modelmeter.core.conventions import FLOPS_PER_ELEMENT, OF_ANY_MODEL
from modelmeter.core.trace import Unpriced
from modelmeter.live import record
from modelmeter.live.recording.operators import MOVES, NOTHING_MOVES


@pytest.fixture(scope="module", autouse=True)
def operators() -> Iterator[None]:
    """Operators of another package: one of its own, one with aten's name, one that writes what it is given."""
    with torch.library._scoped_library("modelmeter_test", "FRAGMENT"):

        @torch.library.custom_op("modelmeter_test::twist", mutates_args=())
        def twist(x: torch.Tensor) -> torch.Tensor:
            return torch.mm(x, x.t()) @ x

        @twist.register_fake
        def _(x: torch.Tensor) -> torch.Tensor:
            return torch.empty_like(x)

        @torch.library.custom_op("modelmeter_test::add", mutates_args=())
        def add(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

        @torch.library.custom_op("modelmeter_test::fill", mutates_args=("x",))
        def fill(x: torch.Tensor, y: torch.Tensor) -> None:
            x.copy_(y)

        yield


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        twist = torch.ops.modelmeter_test.twist
        return twist(x) + twist(self.weight)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_custom_operator(device):
    model = nn.Sequential(nn.Identity(), Twice()).to(device)
    trace = record(model, torch.zeros(3, 4, device=device))
    size = 4 * 3 * 4
    assert trace.unpriced == (Unpriced("modelmeter_test::twist", "1", 2),)
    assert [op.name for _, op in trace.operators()] == ["modelmeter_test::twist"] * 2 + ["add"]
    assert trace.total.counted_flops == 0 and trace.total.flops == 3 * 4  # the addition
    assert trace.total.weight_read_bytes == size
    assert trace.total.activation_read_bytes == size + 2 * size
    assert trace.total.activation_write_bytes == 3 * size


class Namesake(nn.Module):
    def forward(self, x, y):
        torch.ops.modelmeter_test.fill(x, y)
        return torch.ops.modelmeter_test.add(x, y)


def test_an_operator_with_the_name_of_one_of_atens():
    trace = record(Namesake(), torch.zeros(3, 4), torch.ones(3, 4))
    assert trace.unpriced == (Unpriced("modelmeter_test::fill", "", 1), Unpriced("modelmeter_test::add", "", 1))
    size = 4 * 3 * 4
    assert trace.total.flops == 0
    assert trace.total.activation_write_bytes == 2 * size
    assert trace.total.activation_read_bytes == 2 * size + 2 * size


def test_an_aten_operator_without_a_price():
    trace = record(nn.Bilinear(3, 4, 5), torch.zeros(2, 3), torch.zeros(2, 4), backward=True)
    (unpriced,) = trace.unpriced
    assert (unpriced.name, unpriced.path) == ("_trilinear", "")
    assert trace.total.activation_write_bytes  # its bytes count


def test_the_tables_do_not_overlap():
    assert not MOVES & NOTHING_MOVES
    assert not any(FLOPS_PER_ELEMENT[name] for name in (MOVES | NOTHING_MOVES) & FLOPS_PER_ELEMENT.keys())


def test_each_operator_is_priced_once():
    names = [name for _, reason, names in OF_ANY_MODEL for name in names.split() if reason]
    assert list(FLOPS_PER_ELEMENT)[-len(names) :] == names  # none twice, none that was there before
    assert all(names.split() == sorted(names.split()) for _, _, names in OF_ANY_MODEL)


ELEMENTWISE = ["ELU", "GELU", "GLU", "Hardsigmoid", "Hardswish", "LeakyReLU", "Mish", "PReLU", "ReLU6", "SELU", "SiLU",
               "Softplus", "Softsign", "Tanh", "Tanhshrink"]  # fmt: skip
POOLS = [nn.AvgPool2d(3, 2), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2), nn.LPPool2d(2, 2)]
NORMS = [
    nn.LogSoftmax(-1),
    nn.Softmax(-1),
    nn.BatchNorm2d(4),
    nn.GroupNorm(2, 4),
    nn.InstanceNorm2d(4),
    nn.LocalResponseNorm(2),
    nn.RMSNorm(6),
]
SIZES = [nn.Upsample(scale_factor=2, mode=mode) for mode in ("nearest", "bilinear", "bicubic")]
SHAPES = [
    nn.PixelShuffle(2),
    nn.ZeroPad2d(1),
    nn.ReflectionPad2d(1),
    nn.ReplicationPad2d(1),
    nn.Unfold(2),
    nn.Dropout(),
]
LOSSES = [
    nn.L1Loss(),
    nn.MSELoss(),
    nn.HuberLoss(),
    nn.SmoothL1Loss(),
    nn.KLDivLoss(reduction="sum"),
    nn.BCEWithLogitsLoss(),
]


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("backward", [False, True])
def test_what_models_are_made_of_is_priced(device, backward):
    layers = [getattr(nn, name)() for name in ELEMENTWISE] + POOLS + NORMS + SIZES + SHAPES
    for layer in [*layers, *LOSSES]:
        x = torch.rand(2, 4, 6, 6, device=device, requires_grad=backward)
        inputs = (x, torch.rand(2, 4, 6, 6, device=device)) if layer in LOSSES else (x,)
        trace = record(copy.deepcopy(layer).to(device), *inputs, backward=backward)
        assert not trace.unpriced, layer
        if layer not in SHAPES + SIZES[:1]:
            assert trace.total.flops > 0, layer
            assert trace.backward.flops > 0 or not backward, layer


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_flops_of_elements_by_hand(device):
    x = torch.zeros(2, 4, 6, 6, device=device)
    elements = 2 * 4 * 6 * 6

    def flops(module, x=x):
        return record(module.to(device), x).total.flops

    assert flops(nn.Tanh()) == elements
    assert flops(nn.GLU()) == 4 * elements // 2  # for each output
    assert flops(nn.AvgPool2d(3, stride=1)) == 9 * 2 * 4 * 4 * 4  # every window's elements
    assert flops(nn.MaxPool2d(2)) == elements
    assert flops(nn.Upsample(scale_factor=2, mode="bilinear")) == 8 * 4 * elements  # four times as many outputs
    assert flops(nn.GroupNorm(2, 4)) == 8 * elements
    assert flops(nn.LogSoftmax(-1)) == 5 * elements
    ids = torch.zeros(3, 5, dtype=torch.long, device=device)
    assert flops(nn.EmbeddingBag(10, 4), ids) == 3 * 5 * 4  # an addition for each element gathered
