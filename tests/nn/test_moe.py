"""Which experts are reached: the expectation by counting every routing, and the other conventions."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from support.harness import trace_call

from modelmeter import ModelMeterError
from modelmeter.core.tensor import BF16
from modelmeter.nn.moe import ExpertLinear, check_coverage, experts_hit, rows_of_one_expert


@pytest.mark.parametrize(
    ("experts", "top_k", "tokens"), [(4, 2, 1), (4, 2, 2), (4, 1, 3), (5, 3, 2), (3, 3, 2), (6, 2, 3)]
)
def test_the_expectation_is_the_mean_over_all_routings(experts, top_k, tokens):
    """Every token picks any `top_k` of the experts, each choice as likely as any other."""
    choices = list(itertools.combinations(range(experts), top_k))
    reached = [len(set().union(*routing)) for routing in itertools.product(choices, repeat=tokens)]
    mean = Fraction(sum(reached), len(reached))
    assert experts_hit(tokens, experts, top_k, "expected") == pytest.approx(float(mean), rel=1e-14)
    symbol = sympy.Symbol("T", positive=True, integer=True)
    assert experts_hit(symbol, experts, top_k, "expected").subs(symbol, tokens) == sympy.Rational(mean)


@given(st.integers(1, 3000))
def test_the_conventions_are_in_order(tokens):
    """min <= expected <= max <= all of them; one token reaches its six under any."""
    least, mean, most = (experts_hit(tokens, 64, 6, coverage) for coverage in ("min", "expected", "max"))
    assert 6 == least <= round(mean, 9) <= most == min(64, 6 * tokens)
    assert experts_hit(1, 64, 6, "expected") == pytest.approx(6, rel=1e-14)
    assert experts_hit(tokens, 64, 6, 12.5) == min(12.5, most)  # a measured number, as far as it is possible


@given(tokens=st.lists(st.integers(1, 5000), min_size=1, max_size=5))
@pytest.mark.parametrize("coverage", ["expected", "max", "min", 7.5])
def test_a_sweep_of_tokens(tokens, coverage):
    swept = np.broadcast_to(experts_hit(np.array(tokens), 64, 6, coverage), (len(tokens),))
    for i, number in enumerate(tokens):
        assert swept[i] == pytest.approx(experts_hit(number, 64, 6, coverage), rel=1e-12)


def test_more_tokens_reach_more_experts():
    hits = [experts_hit(tokens, 64, 6, "expected") for tokens in range(1, 200)]
    assert all(few < many <= 64 for few, many in itertools.pairwise(hits))


@pytest.mark.parametrize("coverage", ["expected", "max", "min", 0, 1, 63.5, 64])
def test_known_coverages(coverage):
    assert check_coverage(coverage, 64) == coverage


@pytest.mark.parametrize("coverage", ["mean", "", -1, 64.5, 65, float("nan"), float("inf")])
def test_unknown_coverages(coverage):
    with pytest.raises(ModelMeterError, match="choose expected, max, min or a number up to 64"):
        check_coverage(coverage, 64)


@given(st.integers(1, 5000), st.integers(1, 64))
def test_balanced_rows_of_one_expert(rows, hit):
    share = rows_of_one_expert(rows, hit)
    assert (share - 1) * hit < rows <= share * hit  # the ceiling


def test_each_row_goes_through_one_expert():
    """FLOPs are those of the rows; only the experts that are hit are read."""
    layer = ExpertLinear(64, 1280, 896)
    assert layer.parameter_count() == 64 * 1280 * 896
    for hit in (0, 6, 11.4375, 64):
        cost = trace_call(layer, lambda recorder, hit=hit: (recorder.take((12, 1280), BF16), hit)).total
        assert cost.counted_flops == cost.tensor_flops == 2 * 12 * 1280 * 896
        assert cost.weight_read_bytes == 2 * 1280 * 896 * hit
        assert cost.activation_read_bytes == 2 * 12 * 1280


@pytest.mark.parametrize(("hit", "read"), [(1.5, 2), (2.5, 2), (0.25, 0), (0.75, 1)])
def test_what_is_read_is_rounded_once_half_to_even(hit, read):
    """An expert of a single byte-sized value stands for the fraction: 1 x 1 weights of 2 bytes, hit / 2 of them."""
    layer = ExpertLinear(4, 1, 1)
    cost = trace_call(layer, lambda recorder: (recorder.take((1, 1), BF16), hit / 2)).total
    assert cost.weight_read_bytes == read and type(cost.weight_read_bytes) is int
