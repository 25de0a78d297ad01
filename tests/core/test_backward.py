"""Backward as a fold of the trace: what each operand that needs a gradient costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.layers import Chain, Feed, SelfAttention

from modelmeter import Cost
from modelmeter.core import ops
from modelmeter.core.tensor import Tensor
from modelmeter.nn.linear import Linear
from modelmeter.nn.token import TokenLayer

sides = st.integers(1, 60)


@given(sides, sides, sides, st.integers(1, 4))
def test_a_linear(n, k, rows, batch):
    """d(x) = d(out) w and d(w) = d(out)^T x: each a product as large as the forward's, reading d(out) and the other."""
    layer = Linear(k, n, bias=False)
    layer.set_seq_len(rows)
    layer.set_batch_size(batch)
    product, x, w, out = 2 * n * k * rows * batch, 2 * k * rows * batch, 2 * n * k, 2 * n * rows * batch
    of_input = Cost(
        tensor_flops=product,
        counted_flops=product,
        weight_read_bytes=w,
        activation_read_bytes=out,
        activation_write_bytes=x,
    )
    of_weight = Cost(
        tensor_flops=product, counted_flops=product, activation_read_bytes=out + x, activation_write_bytes=w
    )
    assert layer.backward_cost(frozen_weights=True) == of_input
    assert layer.backward_cost(input_grad=False) == of_weight
    assert layer.backward_cost() == of_input + of_weight
    assert layer.backward_cost(frozen_weights=True, input_grad=False) == Cost()


@given(sides, st.integers(1, 30), st.integers(1, 5))
def test_n_layers_are_n_times_one_in_backward_too(hidden, seq_len, n):
    one = Feed(hidden, 20)
    one.set_seq_len(seq_len)
    for kwargs in ({}, {"frozen_weights": True}):
        deep = Chain([Feed(hidden, 20)] * n, hidden, seq_len=seq_len)
        assert deep.backward_cost(**kwargs) == one.backward_cost(**kwargs) * n
        assert deep.saved_bytes(**kwargs) == one.saved_bytes(**kwargs) * n


@given(sides, st.integers(1, 30))
def test_frozen_costs_less_and_an_input_without_gradient_too(hidden, seq_len):
    for layer in (Feed(hidden, 20), SelfAttention(hidden)):
        layer.set_seq_len(seq_len)
        every = layer.backward_cost()
        for part in (layer.backward_cost(frozen_weights=True), layer.backward_cost(input_grad=False)):
            assert all(0 <= some <= whole for some, whole in zip(part.values(), every.values(), strict=True))
        assert layer.backward_cost(frozen_weights=True).tensor_flops < every.tensor_flops


def test_the_first_linear_of_a_frozen_input_needs_no_input_gradient():
    """Only its own: what comes after needs both, since its input hangs on a weight."""

    class Two(TokenLayer):
        def __init__(self) -> None:
            super().__init__(8)
            self.first, self.second = Linear(8, 8, bias=False), Linear(8, 8, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    product = 2 * 8 * 8
    assert Two().backward_cost().counted_flops == 4 * product
    assert Two().backward_cost(input_grad=False).counted_flops == 3 * product
    assert Two().backward_cost(frozen_weights=True).counted_flops == 2 * product


@pytest.mark.parametrize("input_grad", [True, False])
def test_get_backward_cost_collects_it(input_grad):
    layer = Feed(8, 16, seq_len=5)
    stage = layer.get_backward_cost(input_grad=input_grad)
    assert stage.cost == layer.backward_cost(input_grad=input_grad)
    assert stage.weights_bytes == layer.parameter_bytes()  # a gradient for each weight
    assert stage.activations_bytes == layer.saved_bytes(input_grad=input_grad)
    frozen = layer.get_backward_cost(frozen_weights=True)
    assert frozen.weights_bytes == 0


def test_a_product_of_a_tensor_with_itself_has_two_gradients():
    class Square(TokenLayer):
        def forward(self, x: Tensor) -> Tensor:
            batch, tokens, width = x.shape
            return ops.bmm(x, x.view(batch, width, tokens))

    layer = Square(8, seq_len=5)
    assert layer.backward_cost().counted_flops == 2 * layer.cost().counted_flops
    assert layer.saved_bytes() == 2 * 8 * 5  # one storage, kept once
