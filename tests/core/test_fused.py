"""`fused`: one kernel of several operators does their FLOPs and moves only what crosses its border."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter import Cost, fused
from modelmeter.core import ops
from modelmeter.core.tensor import FP32, Tensor
from modelmeter.nn.token import TokenLayer

WIDTH = 8


def swish_product(x: Tensor, y: Tensor) -> Tensor:
    return ops.binary("mul", ops.unary("silu", ops.cast(x, FP32)), y)


def square(x: Tensor) -> Tensor:
    """[b s h] -> [b s s]: two products and a softmax, as attention without values."""
    batch, tokens, width = x.shape
    scores = ops.softmax(ops.bmm(x, x.view(batch, width, tokens)))
    return ops.bmm(scores, ops.bmm(x, x.view(batch, width, tokens)))


class Runs(TokenLayer):
    """A layer that calls one function on its input, `times` times over as other arguments."""

    def __init__(self, function: Any, arguments: int = 1, **size: Any) -> None:
        super().__init__(WIDTH, **size)
        self.function, self.arguments = function, arguments

    def forward(self, x: Tensor) -> Tensor:
        return self.function(*[x if i == 0 else ops.unary("neg", x) for i in range(self.arguments)])


@given(st.integers(1, 50), st.integers(1, 4))
@pytest.mark.parametrize(("function", "arguments"), [(swish_product, 2), (square, 1)], ids=["pointwise", "products"])
def test_the_same_flops_and_fewer_bytes(function, arguments, seq_len, batch):
    size = {"seq_len": seq_len, "batch_size": batch}
    apart, together = (Runs(each, arguments, **size) for each in (function, fused(function, "kernel")))
    for name in ("tensor_flops", "cuda_flops", "counted_flops"):
        assert getattr(together.cost(), name) == getattr(apart.cost(), name)
        assert getattr(together.backward_cost(), name) == getattr(apart.backward_cost(), name)
    assert together.cost().io_bytes < apart.cost().io_bytes
    assert together.activation_peak_bytes() <= apart.activation_peak_bytes()


@given(st.integers(1, 50))
def test_only_inputs_and_output_reach_memory(seq_len):
    (kernel,) = [op for _, op in Runs(fused(square, "kernel"), seq_len=seq_len).trace().operators()]
    assert (kernel.name, kernel.kind) == ("kernel", "fused")
    assert kernel.cost.activation_read_bytes == 2 * seq_len * WIDTH
    assert kernel.cost.activation_write_bytes == 2 * seq_len * seq_len


def test_weights_and_caches_among_the_inputs_keep_their_role():
    def product(x: Tensor, w: Tensor) -> Tensor:
        return ops.unary("neg", ops.linear(x, w))

    class Weighted(Runs):
        def forward(self, x: Tensor) -> Tensor:
            return self.function(x, Tensor((5, WIDTH), x.dtype, "weight"))

    cost = Weighted(fused(product, "kernel"), seq_len=3).cost()
    assert cost == Cost(
        tensor_flops=2 * 3 * 5 * WIDTH,
        counted_flops=2 * 3 * 5 * WIDTH,
        cuda_flops=3 * 5,
        weight_read_bytes=2 * 5 * WIDTH,
        activation_read_bytes=2 * 3 * WIDTH,
        activation_write_bytes=2 * 3 * 5,
    )


def test_keyword_tensors_are_inputs_too():
    class Named(Runs):
        def forward(self, x: Tensor) -> Tensor:
            return self.function(x, y=ops.unary("neg", x))

    cost = Named(fused(swish_product, "kernel"), seq_len=3).trace().by_op()["kernel"].cost
    assert cost.activation_read_bytes == 2 * (2 * 3 * WIDTH)


def test_a_kernel_inside_a_kernel():
    inner = fused(square, "inner")
    outer = fused(lambda x: ops.unary("neg", inner(x)), "outer")
    apart = Runs(lambda x: ops.unary("neg", square(x)), seq_len=5)
    together = Runs(outer, seq_len=5)
    assert [op.name for _, op in together.trace().operators()] == ["outer"]
    assert together.cost().flops == apart.cost().flops
    assert together.cost().activation_write_bytes == 2 * 25
    assert together.activation_peak_bytes() == 2 * 5 * WIDTH + 2 * 25


@pytest.mark.parametrize("recomputes", [0, 1, 2])
def test_a_backward_computes_its_first_products_again(recomputes):
    """As a flash kernel does with the scores it did not keep."""
    plain = Runs(square, seq_len=5).backward_cost()
    again = Runs(fused(square, "kernel", recomputes=recomputes), seq_len=5).backward_cost()
    product = 2 * 5 * 5 * WIDTH
    assert again.counted_flops == plain.counted_flops + recomputes * product
    assert again.tensor_flops == plain.tensor_flops + recomputes * product


def test_what_a_kernel_keeps_for_backward_is_its_inputs_and_output():
    layer = Runs(fused(square, "kernel"), seq_len=5)
    assert layer.saved_bytes() == 2 * 5 * WIDTH + 2 * 25
    assert layer.saved_bytes(input_grad=False) == 0


def test_a_kernels_backward_reads_the_gradient_what_it_kept_and_writes_gradients():
    cost = Runs(fused(square, "kernel"), seq_len=5).backward_cost()
    x, out = 2 * 5 * WIDTH, 2 * 25
    assert cost.activation_read_bytes == out + out + x  # d(out), out, x
    assert cost.activation_write_bytes == x


def test_without_gradients_there_is_no_backward():
    assert Runs(fused(square, "kernel"), seq_len=5).backward_cost(input_grad=False) == Cost()
