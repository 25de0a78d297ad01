"""Tiles and waves: the products inside operators, and what quantisation makes of them, worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter.core.tensor import BF16
from modelmeter.hardware.products import Product, products_of, quantisation
from modelmeter.models.deepseek_ocr.config import Conventions, DecoderConfig
from modelmeter.models.deepseek_ocr.deepseek_v2 import DeepseekV2DecoderLayer
from modelmeter.nn.conv import Conv2d
from modelmeter.nn.linear import Linear


def only(layer):
    """The one operator of a layer's trace."""
    ((_, op),) = layer.trace().operators()
    return op


def linear(m, k, n):
    return only(Linear(k, n, bias=False, seq_len=m))


def test_the_product_of_a_linear_layer():
    assert products_of(linear(913, 1280, 6848)) == (Product(1, 913, 6848, 1280),)


def test_the_product_of_a_convolution():
    class Image(Conv2d):
        def example_inputs(self, recorder, *sizes):
            return (recorder.take((2, 256, 32, 32), BF16),)

    (product,) = products_of(only(Image(256, 512, 3, stride=2, padding=1, bias=False)))
    assert product == (1, 2 * 16 * 16, 512, 256 * 3 * 3)  # an implicit product over the patches


def test_the_products_of_attention():
    conventions = Conventions(attention="flash", implementation="transformers")
    layer = DeepseekV2DecoderLayer(DecoderConfig(), conventions=conventions, seq_len=300)
    (op,) = [op for _, op in layer.trace().operators() if op.kind == "fused"]
    assert products_of(op) == (Product(10, 300, 300, 128), Product(10, 300, 128, 300))


def test_experts_share_the_rows():
    layer = DeepseekV2DecoderLayer(DecoderConfig(), conventions=Conventions(coverage=32.0), seq_len=64)
    ops = [op for path, op in layer.trace().operators() if path.endswith("experts.gate_proj")]
    (product,) = products_of(ops[0])
    assert product == (32.0, 64 * 6 / 32, 896, 1280)  # 64 tokens of 6 experts each, on 32 experts
    assert ops[0].launches == 32.0


@pytest.mark.parametrize(
    ("m", "k", "n", "multiprocessors", "expected"),
    [
        # 2 x 2 tiles of 128 in 2 steps of 64: 8 steps on 8 multiprocessors, one round, no padding
        (256, 128, 256, 8, 1.0),
        # the same on 7: two rounds, the second nearly idle
        (256, 128, 256, 7, 2 * 7 / 8),
        # 129 rows take 3 tiles of 64 x 128, not 2 of 128: one step each, in two rounds on 2
        (129, 64, 128, 2, 2 * 2 * 64 / 129),
        # 200 rows are 4 tiles of 64 or 2 of 128, all the same: of 128
        (200, 64, 128, 2, 256 / 200),
        # one row in a tile of 16, 10 x 20 steps on 100: two full rounds
        (1, 1280, 1280, 100, 16.0),
        # split-K: one tile, but its 100 steps go to 10 multiprocessors
        (128, 6400, 128, 10, 1.0),
    ],
)
def test_quantisation(m, k, n, multiprocessors, expected):
    assert quantisation(linear(m, k, n), multiprocessors) == pytest.approx(expected, rel=1e-12)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 200))
def test_quantisation_never_gains(m, k, n, multiprocessors):
    assert quantisation(linear(m, k, n), multiprocessors) >= 1.0
