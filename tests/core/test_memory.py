"""Peak activation memory and bytes saved for backward: what is alive at once, by hand, and the real autograd's own."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.layers import Chain, Feed, SelfAttention
from support.reference import bf16_on_meta, really_saved
from torch import nn

from modelmeter.core import ops
from modelmeter.core.pricing import fused
from modelmeter.core.tensor import BF16, FP32, Tensor
from modelmeter.nn.linear import Linear
from modelmeter.nn.token import TokenLayer

WIDTH = 8
ONE = 2 * WIDTH  # bytes of a row in bf16


def peak_of(forward: Any) -> int:
    """Peak of a layer with this forward on [1 1 8] bf16: the input is `ONE` bytes, held by whoever called."""
    kind = type("Case", (TokenLayer,), {"forward": lambda self, x: forward(x)})
    return kind(WIDTH).activation_peak_bytes()


def test_a_call_holds_its_input_and_its_output():
    assert peak_of(lambda x: ops.unary("neg", x)) == 2 * ONE


def test_a_chain_of_new_names_holds_all_of_them():
    def forward(x: Tensor) -> Tensor:
        a = ops.unary("neg", x)
        b = ops.unary("neg", a)
        c = ops.unary("neg", b)
        return ops.unary("neg", c)

    assert peak_of(forward) == (1 + 4) * ONE


def test_a_name_given_again_lets_go_of_the_last_one():
    """Input, the value being read and the one being written; never more, however long the loop."""

    def forward(x: Tensor) -> Tensor:
        for _ in range(9):
            x = ops.unary("neg", x)
        return x

    assert peak_of(forward) == 3 * ONE


def test_del_lets_go():
    def forward(x: Tensor) -> Tensor:
        wide = ops.cast(x, FP32)
        small = ops.cast(wide, BF16)
        del wide
        other = ops.unary("neg", small)
        return ops.binary("add", other, small)

    # with `wide` (2): x 1, wide 2, small 1; without it: x 1, small 1, other 1, sum 1
    assert peak_of(forward) == 4 * ONE


def test_a_view_keeps_the_whole_alive_and_takes_nothing():
    def forward(x: Tensor) -> Tensor:
        wide = ops.cast(x, FP32)  # 2
        half = wide.narrow(1, 1, WIDTH // 2)
        del wide
        return ops.unary("neg", half)  # 1: half as many elements of twice the size

    assert peak_of(forward) == (1 + 2 + 1) * ONE


def test_reshaping_is_free():
    assert peak_of(lambda x: ops.unary("neg", x.view(2, 4)).view(1, 1, WIDTH)) == 2 * ONE


def test_weights_are_resident_not_temporary():
    layer = Linear(WIDTH, WIDTH, bias=False)
    assert layer.activation_peak_bytes() == 2 * ONE


def test_temporaries_of_an_expression_live_until_it_is_done():
    """neg(x) and its square are both there while they are added."""
    assert peak_of(lambda x: ops.binary("add", ops.unary("neg", x), ops.unary("pow", x))) == 4 * ONE


def test_inside_a_kernel_memory_is_not_taken():
    def product(x: Tensor) -> Tensor:
        a = ops.cast(x, FP32)
        return ops.cast(ops.unary("neg", ops.unary("neg", a)), BF16)

    assert peak_of(fused(product, "kernel")) == 2 * ONE


def test_writing_in_place_takes_nothing():
    assert peak_of(lambda x: ops.binary("mul", x, x, into=x)) == ONE


def test_a_copy_that_is_not_needed_takes_nothing():
    assert peak_of(lambda x: ops.clone(x, when=0)) == ONE
    assert peak_of(lambda x: ops.clone(x, when=1)) == 2 * ONE


@given(st.lists(st.sampled_from(["feed", "attention"]), min_size=1, max_size=4), st.integers(1, 40), st.integers(1, 3))
def test_the_peak_is_at_least_every_operators_output_and_input(kinds, seq_len, batch):
    """And at least any part's own peak; at most everything ever written, with the input."""
    parts = [Feed(12, 30) if kind == "feed" else SelfAttention(12) for kind in kinds]
    chain = Chain(parts, 12, seq_len=seq_len, batch_size=batch)
    trace, peak = chain.trace(), chain.activation_peak_bytes()
    input_bytes = 2 * 12 * seq_len * batch
    largest = max(op.cost.activation_write_bytes for _, op in trace.operators())
    assert peak >= input_bytes + largest
    for part in parts:
        part.set_seq_len(seq_len)
        part.set_batch_size(batch)
        assert peak >= part.activation_peak_bytes()
    assert peak <= input_bytes + trace.total.activation_write_bytes
    assert trace.peak_bytes == peak


@given(st.integers(1, 20))
def test_depth_does_not_raise_the_peak(depth):
    """Layers one after the other: each lets go of its own. From the second on the chain's input is held beside them."""
    two = Chain([Feed(12, 30)] * 2, 12, seq_len=10).activation_peak_bytes()
    deep = Chain([Feed(12, 30)] * (depth + 1), 12, seq_len=10).activation_peak_bytes()
    assert deep == two


# Saved for backward ---------------------------------------------------------------------------------------------------


class TorchFeed(nn.Module):
    """`Feed` in torch."""

    def __init__(self, hidden: int, wide: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, wide)
        self.act = nn.GELU()
        self.down = nn.Linear(wide, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(self.act(self.up(self.norm(x))))


class TorchSwiGLU(nn.Module):
    def __init__(self, hidden: int, wide: int) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, wide, bias=False)
        self.up = nn.Linear(hidden, wide, bias=False)
        self.down = nn.Linear(wide, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


class SwiGLU(TokenLayer):
    def __init__(self, hidden: int, wide: int) -> None:
        super().__init__(hidden)
        self.gate = Linear(hidden, wide, bias=False)
        self.up = Linear(hidden, wide, bias=False)
        self.down = Linear(wide, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(ops.binary("mul", ops.unary("silu", self.gate(x)), self.up(x)))


@pytest.mark.parametrize(("frozen", "input_grad"), [(False, True), (False, False), (True, True)])
@pytest.mark.parametrize(
    ("ours", "real"),
    [
        (lambda: Feed(24, 56), lambda: TorchFeed(24, 56)),
        (lambda: SwiGLU(24, 56), lambda: TorchSwiGLU(24, 56)),
        (lambda: Linear(24, 56), lambda: nn.Linear(24, 56)),
    ],
    ids=["feed", "swiglu", "linear"],
)
def test_saved_bytes_are_autograds(ours, real, frozen, input_grad):
    with bf16_on_meta():
        module = real().requires_grad_(not frozen)
        x = torch.empty(2, 10, 24, requires_grad=input_grad)
    layer = ours()
    layer.set_seq_len(10)
    layer.set_batch_size(2)
    assert layer.saved_bytes(frozen_weights=frozen, input_grad=input_grad) == really_saved(module, x)


def test_nothing_is_saved_without_a_gradient():
    assert Feed(24, 56, seq_len=10).saved_bytes(frozen_weights=True, input_grad=False) == 0


def test_a_frozen_linear_saves_nothing():
    """d(input) needs the weight, which is resident; only d(weight) needs the input."""
    layer = Linear(24, 56, bias=False)
    layer.set_seq_len(10)
    assert layer.saved_bytes(frozen_weights=True) == 0
    assert layer.saved_bytes() == 2 * 24 * 10
