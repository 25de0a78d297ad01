"""Operators: FLOPs and bytes of each as arithmetic, the FLOPs a counter sees from torch itself, and refused shapes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.harness import trace_call
from torch.utils.flop_counter import FlopCounterMode

from modelmeter import Cost, Layer, ModelMeterError
from modelmeter.core import ops
from modelmeter.core.conventions import FLOPS_PER_ELEMENT
from modelmeter.core.tensor import BF16, BOOL, FP8, FP16, FP32, INT8, INT64, DType, Tensor

side = st.integers(1, 40)


class Calls(Layer):
    """A layer that is one function of tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


def cost_of(function: Callable[..., Any], *shapes: tuple[int, ...], dtype: DType = BF16, **kwargs: Any) -> Cost:
    """The cost of a function of activations of these shapes."""
    trace = trace_call(
        Calls(function), lambda recorder: tuple(recorder.take(shape, dtype) for shape in shapes), **kwargs
    )
    return trace.total


def weight(*shape: int, dtype: DType = BF16) -> Tensor:
    return Tensor(shape, dtype, "weight")


def torch_flops(function: Callable[..., Any], *shapes: tuple[int, ...]) -> int:
    """What FlopCounterMode sees in torch's operator."""
    counter = FlopCounterMode(display=False)
    with counter:
        function(*[torch.empty(shape, device="meta") for shape in shapes])
    return counter.get_total_flops()


@given(side, side, side, side, st.booleans())
def test_linear(batch, rows, n, k, bias):
    added = weight(n) if bias else None
    cost = cost_of(lambda x: ops.linear(x, weight(n, k), added), (batch, rows, k))
    assert cost == Cost(
        tensor_flops=2 * batch * rows * n * k,
        counted_flops=2 * batch * rows * n * k,
        weight_read_bytes=2 * (n * k + n * bias),
        activation_read_bytes=2 * batch * rows * k,
        activation_write_bytes=2 * batch * rows * n,
    )
    assert cost.counted_flops == torch_flops(torch.nn.functional.linear, (batch, rows, k), (n, k))


@given(side, side, side, side)
def test_bmm(batch, m, k, n):
    cost = cost_of(ops.bmm, (batch, m, k), (batch, k, n))
    assert cost == Cost(
        tensor_flops=2 * batch * m * k * n,
        counted_flops=2 * batch * m * k * n,
        activation_read_bytes=2 * batch * (m * k + k * n),
        activation_write_bytes=2 * batch * m * n,
    )
    assert cost.counted_flops == torch_flops(torch.bmm, (batch, m, k), (batch, k, n))


@given(
    st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(3, 30), st.integers(1, 3), st.integers(1, 3)
)
def test_conv2d(batch, channels, out, pixels, kernel, stride):
    for padding in (0, 1):
        if kernel == stride and not padding and pixels % stride:
            continue
        cost = cost_of(
            lambda x, padding=padding: ops.conv2d(
                x, weight(out, channels, kernel, kernel), stride=stride, padding=padding
            ),
            (batch, channels, pixels, pixels),
        )
        grid = (pixels + 2 * padding - kernel) // stride + 1
        assert cost == Cost(
            tensor_flops=2 * batch * out * grid**2 * channels * kernel**2,
            counted_flops=2 * batch * out * grid**2 * channels * kernel**2,
            weight_read_bytes=2 * out * channels * kernel**2,
            activation_read_bytes=2 * batch * channels * pixels**2,
            activation_write_bytes=2 * batch * out * grid**2,
        )
        assert cost.counted_flops == torch_flops(
            lambda x, w, padding=padding: torch.nn.functional.conv2d(x, w, stride=stride, padding=padding),
            (batch, channels, pixels, pixels),
            (out, channels, kernel, kernel),
        )


def test_a_grouped_linear_reads_the_experts_that_are_hit():
    cost = cost_of(lambda x: ops.grouped_linear(x, weight(64, 7, 5), 3 * 7 * 5 * 2), (10, 5))
    assert cost == Cost(
        tensor_flops=2 * 10 * 7 * 5,
        counted_flops=2 * 10 * 7 * 5,
        weight_read_bytes=3 * 7 * 5 * 2,
        activation_read_bytes=2 * 10 * 5,
        activation_write_bytes=2 * 10 * 7,
    )


@pytest.mark.parametrize("dtype", [BF16, FP16, FP8, INT8, FP32])
def test_the_engine_follows_from_the_dtype(dtype):
    cost = cost_of(ops.bmm, (1, 4, 5), (1, 5, 6), dtype=dtype)
    flops = 2 * 4 * 5 * 6
    on_cuda_cores = dtype is FP32
    assert (cost.tensor_flops, cost.cuda_flops) == ((0, flops) if on_cuda_cores else (flops, 0))
    assert cost.counted_flops == flops
    assert cost.activation_read_bytes == dtype.itemsize * (4 * 5 + 5 * 6)


@given(side, side)
@pytest.mark.parametrize("name", ["neg", "mul", "add", "silu", "gelu", "sigmoid", "_softmax", "cos", "rsqrt", "where"])
def test_unary(name, rows, columns):
    cost = cost_of(lambda x: ops.unary(name, x), (rows, columns))
    elements = rows * columns
    assert cost == Cost(
        cuda_flops=FLOPS_PER_ELEMENT[name] * elements,
        activation_read_bytes=2 * elements,
        activation_write_bytes=2 * elements,
    )
    assert cost_of(lambda x: ops.unary(name, x), (rows, columns), elementwise=False) == Cost(
        activation_read_bytes=2 * elements, activation_write_bytes=2 * elements
    )


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        ((3, 4), (3, 4), (3, 4)),
        ((3, 4), (4,), (3, 4)),
        ((4,), (3, 4), (3, 4)),
        ((3, 1), (1, 4), (3, 4)),
        ((5, 3, 1, 1), (1, 4, 6), (5, 3, 4, 6)),
        ((1,), (1,), (1,)),
    ],
)
def test_binary_broadcasts_as_torch_does(a, b, out):
    assert tuple(torch.broadcast_shapes(a, b)) == out
    cost = cost_of(lambda x, y: ops.binary("add", x, y), a, b)
    elements = {shape: torch.Size(shape).numel() for shape in (a, b, out)}
    assert cost.cuda_flops == elements[out]
    assert cost.activation_read_bytes == 2 * (elements[a] + elements[b])  # each once, at its own size
    assert cost.activation_write_bytes == 2 * elements[out]


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ModelMeterError, match=r"shapes \(3, 4\) and \(3, 5\) do not broadcast"):
        cost_of(lambda x, y: ops.binary("add", x, y), (3, 4), (3, 5))


def test_layer_norm_also_writes_mean_and_deviation_in_fp32():
    cost = cost_of(lambda x: ops.layer_norm(x, weight(8), weight(8)), (3, 5, 8))
    assert cost == Cost(
        cuda_flops=8 * 120,
        weight_read_bytes=2 * 16,
        activation_read_bytes=2 * 120,
        activation_write_bytes=2 * 120 + 2 * 4 * 15,
    )


def test_a_reduction_counts_what_it_reads():
    cost = cost_of(lambda x: ops.reduce("mean", x, (3, 1)), (3, 8))
    assert cost == Cost(cuda_flops=24, activation_read_bytes=2 * 24, activation_write_bytes=2 * 3)


def test_topk_writes_values_and_int64_indices():
    cost = cost_of(lambda x: ops.topk(x, 6), (10, 64), dtype=FP32)
    assert cost == Cost(cuda_flops=640, activation_read_bytes=4 * 640, activation_write_bytes=(4 + 8) * 60)


def test_casts_and_copies_move_bytes_and_do_nothing():
    assert cost_of(lambda x: ops.cast(x, FP32), (3, 4)) == Cost(activation_read_bytes=24, activation_write_bytes=48)
    assert cost_of(lambda x: ops.cast(x, BF16), (3, 4)) == Cost()  # of that dtype already
    assert cost_of(ops.clone, (3, 4)) == Cost(activation_read_bytes=24, activation_write_bytes=24)
    assert cost_of(lambda x: ops.clone(x, when=0), (3, 4)) == Cost()
    assert cost_of(lambda x: ops.cast(x, BOOL), (3, 4)) == Cost(activation_read_bytes=24, activation_write_bytes=12)


def test_views_and_slices_are_free_and_charged_at_their_own_size():
    assert cost_of(lambda x: x.view(12).view(2, 6).narrow(2, 3), (3, 4)) == Cost()
    cost = cost_of(lambda x: ops.unary("neg", x.narrow(3, 2)), (3, 4))
    assert (cost.activation_read_bytes, cost.activation_write_bytes) == (12, 12)


def test_a_view_has_as_many_elements():
    with pytest.raises(ModelMeterError, match=r"cannot view \[3 4\] as \[5 2\]: 12 != 10"):
        cost_of(lambda x: x.view(5, 2), (3, 4))


def test_cat_reads_all_and_writes_all():
    cost = cost_of(lambda x, y: ops.cat((x, y), (3, 9)), (3, 4), (3, 5))
    assert cost == Cost(activation_read_bytes=2 * 27, activation_write_bytes=2 * 27)


def test_a_gather_reads_the_rows_it_needs_and_their_numbers():
    def rows(x: Tensor) -> Tensor:
        return ops.gather(weight(1000, 8), ops.cast(x, INT64), (5, 8))

    cost = cost_of(rows, (5,))
    indices = 5 * 8
    assert cost.weight_read_bytes == 2 * 5 * 8
    assert cost.activation_read_bytes == 2 * 5 + indices
    assert cost.activation_write_bytes == indices + 2 * 5 * 8


def test_what_is_filled_is_written_and_what_is_empty_is_not():
    assert cost_of(lambda: ops.fill("zeros", (3, 4), FP32)) == Cost(activation_write_bytes=48)
    assert cost_of(lambda: ops.empty((3, 4), FP32)) == Cost()


def test_index_add_adds_rows_in_place():
    cost = cost_of(ops.index_add, (10, 8), (30, 8))
    assert cost.cuda_flops == 30 * 8
    assert cost.activation_read_bytes == 2 * (240 + 240)  # 30 rows to add, and the 30 they are added to
    assert cost.activation_write_bytes == 2 * 240


def test_a_resize_counts_what_it_writes():
    cost = cost_of(lambda x: ops.resize("_upsample_bicubic2d_aa", x, (1, 3, 8, 8)), (1, 3, 4, 4), dtype=FP32)
    # 16 neighbours, a multiplication and an addition each
    assert cost == Cost(cuda_flops=32 * 192, activation_read_bytes=4 * 48, activation_write_bytes=4 * 192)


def test_keys_and_values_are_bytes_of_their_own():
    def read_cache(x: Tensor) -> Tensor:
        return ops.bmm(x, Tensor((1, 8, 100), BF16, "kv"))

    cost = cost_of(read_cache, (1, 1, 8))
    assert (cost.kv_read_bytes, cost.activation_read_bytes) == (2 * 800, 2 * 8)
    written = cost_of(lambda x: ops.cat((x,), (1, 1, 8), role="kv"), (1, 1, 8))
    assert (written.kv_write_bytes, written.activation_write_bytes) == (2 * 8, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.linear(x, weight(3, 5)), r"linear takes \[\.\.\. 5\], not \[2 4\]"),
        (lambda x: ops.bmm(x, weight(5, 3)), "bmm: inner sizes differ"),
        (lambda x: ops.conv2d(x.view(1, 2, 2, 2), weight(3, 5, 1, 1)), "conv2d takes 5 channels, not 2"),
        (
            lambda x: ops.conv2d(x.view(1, 1, 8, 1), weight(3, 1, 16, 16), stride=16),
            "image side: 8 does not divide by 16",
        ),
        (lambda x: ops.unary("no_such", x), "operator 'no_such' has no declared FLOPs"),
        (lambda x: ops.binary("no_such", x, x), "operator 'no_such' has no declared FLOPs"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ModelMeterError, match=message):
        cost_of(call, (2, 4))


def test_every_declared_price_is_a_small_whole_number():
    assert all(type(flops) is int and 0 <= flops <= 32 for flops in FLOPS_PER_ELEMENT.values())
