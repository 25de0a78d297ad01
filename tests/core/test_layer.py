"""Layers: costs add up, equal layers are one, sizes only make them grow, parameters are listed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.harness import tensors, trace_call
from support.layers import Chain, Feed, SelfAttention

from modelmeter import Cost, Layer, ModelMeterError
from modelmeter.core import ops
from modelmeter.core.cost import COST_FIELDS
from modelmeter.core.parameter import Parameter
from modelmeter.core.tensor import BF16, FP32, Tensor
from modelmeter.nn.embedding import Embedding
from modelmeter.nn.linear import Linear
from modelmeter.nn.token import TokenLayer

HIDDEN = 24
sizes = st.integers(1, 300)
kinds = st.sampled_from([lambda: Feed(HIDDEN, 40), lambda: Feed(HIDDEN, 8), lambda: SelfAttention(HIDDEN)])


def at(layer: Layer, seq_len: int, batch: int) -> Layer:
    layer.set_seq_len(seq_len)
    layer.set_batch_size(batch)
    return layer


# Additivity -----------------------------------------------------------------------------------------------------------


@given(st.lists(kinds, min_size=1, max_size=5), sizes, st.integers(1, 4))
def test_a_chain_costs_the_sum_of_its_layers(makers, seq_len, batch):
    parts = [make() for make in makers]
    chain = at(Chain(parts, HIDDEN), seq_len, batch)
    total, back = Cost(), Cost()
    for part in parts:
        total += at(part, seq_len, batch).cost()
        back += part.backward_cost()
    assert chain.cost() == total
    assert chain.backward_cost() == back
    assert chain.parameter_count() == sum(part.parameter_count() for part in parts)
    assert chain.parameter_bytes() == sum(part.parameter_bytes() for part in parts)


@given(kinds, st.integers(1, 12), sizes, st.integers(1, 4))
def test_n_layers_are_n_times_one(make, n, seq_len, batch):
    """As one object listed n times, and as n objects."""
    one = at(make(), seq_len, batch)
    for stack in ([make()] * n, [make() for _ in range(n)]):
        chain = at(Chain(stack, HIDDEN), seq_len, batch)
        assert chain.cost() == one.cost() * n
        assert chain.backward_cost() == one.backward_cost() * n
        assert chain.parameter_count() == n * one.parameter_count()
        assert chain.saved_bytes() == n * one.saved_bytes()
        assert len(chain.trace()) == n * len(one.trace())


@given(kinds, sizes, sizes)
def test_the_work_of_a_batch_is_that_of_its_sequences(make, seq_len, batch):
    """Weights are read once whatever the batch; all else is done for each sequence."""
    one, several = at(make(), seq_len, 1).cost(), at(make(), seq_len, batch).cost()
    for name in set(COST_FIELDS) - {"weight_read_bytes"}:
        assert getattr(several, name) == batch * getattr(one, name)
    assert several.weight_read_bytes == one.weight_read_bytes


# Growth ---------------------------------------------------------------------------------------------------------------

GROWING = ("tensor_flops", "cuda_flops", "counted_flops", "activation_read_bytes", "activation_write_bytes")


@given(sizes, sizes, st.integers(1, 50), st.sampled_from([Feed, SelfAttention]))
def test_more_tokens_or_sequences_cost_more(seq_len, batch, more, kind):
    def cost(tokens: int, sequences: int) -> Cost:
        return at(kind(HIDDEN, 40) if kind is Feed else kind(HIDDEN), tokens, sequences).cost()

    base = cost(seq_len, batch)
    for larger in (cost(seq_len + more, batch), cost(seq_len, batch + more)):
        assert all(getattr(base, name) < getattr(larger, name) for name in GROWING)
        assert base.weight_read_bytes <= larger.weight_read_bytes


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 50), st.integers(1, 20))
def test_wider_layers_cost_more(hidden, wide, more, seq_len):
    base = at(Feed(hidden, wide), seq_len, 1)
    for larger in (Feed(hidden + more, wide), Feed(hidden, wide + more)):
        at(larger, seq_len, 1)
        assert all(getattr(base.cost(), name) < getattr(larger.cost(), name) for name in GROWING)
        assert base.cost().weight_read_bytes < larger.cost().weight_read_bytes
        assert base.parameter_count() < larger.parameter_count()
        assert base.activation_peak_bytes() <= larger.activation_peak_bytes()  # it may be in a part that did not grow


# Memory of earlier calls ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3)), min_size=1, max_size=12), kinds)
def test_what_was_asked_before_does_not_matter(calls, make):
    """A layer remembers recordings by shape: a fresh layer has the same answers."""
    used = make()
    for seq_len, batch in calls:
        fresh = at(make(), seq_len, batch)
        at(used, seq_len, batch)
        assert used.get_forward_cost() == fresh.get_forward_cost()
        assert used.get_backward_cost() == fresh.get_backward_cost()
        assert used.backward_cost(frozen_weights=True) == fresh.backward_cost(frozen_weights=True)
        assert used.backward_cost(input_grad=False) == fresh.backward_cost(input_grad=False)
        assert used.cost(elementwise=False) == fresh.cost(elementwise=False)


def test_more_shapes_than_are_remembered():
    """The memory is bounded: beyond its limit it starts afresh, and answers stay right."""
    layer = Linear(4, 4, bias=False)
    for seq_len in [*range(1, 1500, 3), 1, 2, 3]:
        assert at(layer, seq_len, 1).cost().counted_flops == 2 * 4 * 4 * seq_len
    assert len(layer._memo) <= 1024


def test_a_remembered_call_inside_a_fresh_one():
    """The second and third listing of a layer repeat the first's recording; paths, peaks and saved bytes agree."""
    shared, separate = Chain([Feed(8, 16)] * 3, 8), Chain([Feed(8, 16) for _ in range(3)], 8)
    for chain in (shared, separate):
        at(chain, 10, 2)
    assert shared.trace().by_layer() == separate.trace().by_layer()
    assert shared.trace().by_op() == separate.trace().by_op()
    assert shared.activation_peak_bytes() == separate.activation_peak_bytes()
    assert shared.saved_bytes() == separate.saved_bytes()


class Branches(TokenLayer):
    """Returns its input, a view of a part of it, and something new: outputs that share and do not share memory."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x, x.narrow(*x.shape[:-1], 2), ops.unary("neg", x)


class TwoBranches(TokenLayer):
    def __init__(self, shared: bool) -> None:
        super().__init__(8)
        first = Branches(8)
        self.parts = [first, first if shared else Branches(8)]

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            same, view, new = part(x)
            x = ops.binary("add", new, same)
            del same, view, new
        return x


def test_a_remembered_call_gives_outputs_that_share_memory_alike():
    shared, separate = at(TwoBranches(shared=True), 10, 1), at(TwoBranches(shared=False), 10, 1)
    assert shared.get_forward_cost() == separate.get_forward_cost()
    assert shared.activation_peak_bytes() == separate.activation_peak_bytes()
    assert shared.trace(grad=True).saved_bytes == separate.trace(grad=True).saved_bytes


# Parameters -----------------------------------------------------------------------------------------------------------


class Weights(Layer):
    """Own parameters, a child, a list of the same child twice, and a tied table."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Parameter(7)
        self.wide = Parameter(3, 5, dtype=FP32)
        self.tied = Parameter(100, 100, tied=True)
        self.child = Linear(4, 6)
        self.several = [Linear(4, 4, bias=False)] * 2


def test_parameters_are_listed_as_often_as_they_stand():
    layer = Weights()
    listed = [(path, parameter.shape) for path, parameter in layer.named_parameters()]
    assert listed == [
        ("scale", (7,)),
        ("wide", (3, 5)),
        ("tied", (100, 100)),
        ("child.weight", (6, 4)),
        ("child.bias", (6,)),
        ("several.0.weight", (4, 4)),
        ("several.1.weight", (4, 4)),
    ]
    assert layer.parameter_count() == 7 + 15 + (24 + 6) + 2 * 16
    assert layer.parameter_bytes() == 2 * 7 + 4 * 15 + 2 * (24 + 6) + 2 * 2 * 16


def test_parameter_bytes_follow_the_dtype():
    assert Linear(4, 6).parameter_bytes() == 2 * 30
    assert Linear(4, 6, dtype=FP32).parameter_bytes() == 4 * 30


# Errors ---------------------------------------------------------------------------------------------------------------


class NoForward(Layer):
    pass


class NoInputs(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_layer_needs_a_forward_and_an_input():
    with pytest.raises(ModelMeterError, match="NoForward has no default input"):
        NoForward().cost()
    with pytest.raises(NotImplementedError, match=r"NoForward needs a forward\(\)"):
        trace_call(NoForward(), tensors((1,)))
    with pytest.raises(ModelMeterError, match="NoInputs has no default input: call it inside another layer's forward"):
        NoInputs().cost()


def test_a_layer_is_called_inside_a_recording_only():
    with pytest.raises(ModelMeterError, match=r"Linear\(\) runs inside a recording only: ask layer.trace\(\)"):
        Linear(4, 4)(Tensor((1, 4), BF16))
    with pytest.raises(ModelMeterError, match="inside a recording only"):
        Linear(4, 4).weight.read()


class Fails(TokenLayer):
    """Fails in the middle of its first `times` calls, after its child has run."""

    def __init__(self, times: int) -> None:
        super().__init__(4)
        self.child = Linear(4, 4, bias=False)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        x = self.child(x)
        if self.times:
            self.times -= 1
            raise RuntimeError("half way")
        return self.child(x)


def test_a_failed_recording_leaves_nothing_behind():
    layer = Chain([Fails(2)], 4)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="half way"):
            layer.cost()
    assert layer.cost().counted_flops == 2 * 2 * 4 * 4
    assert [path for path, _ in layer.trace().operators()] == ["layers.0.child", "layers.0.child"]


@pytest.mark.parametrize("call", ["cost", "trace", "backward_cost", "get_forward_cost", "activation_peak_bytes"])
def test_a_forward_must_not_ask_for_costs(call):
    class Asks(TokenLayer):
        def forward(self, x: Tensor) -> Tensor:
            getattr(Linear(4, 4), call)()
            return x

    with pytest.raises(ModelMeterError, match=r"a recording is running: forward\(\) must not ask for costs"):
        Asks(4).cost()
    assert Linear(4, 4).cost().counted_flops == 2 * 4 * 4


def test_wrong_shapes_are_named():
    with pytest.raises(ModelMeterError, match=r"linear takes \[\.\.\. 4\], not \[2 3 5\]"):
        trace_call(Linear(4, 4), tensors((2, 3, 5)))


def test_sizes_are_keyword_only():
    def positional() -> Any:
        return Feed(8, 16, 5)

    with pytest.raises(TypeError):
        positional()


def test_token_ids_have_no_gradient():
    """Integers are inputs too; only the table's gradient is written, and an embedding multiplies nothing."""
    table = Embedding(100, 8, seq_len=5)
    assert table.backward_cost().counted_flops == 0
    assert table.backward_cost().activation_write_bytes > 0
    assert table.backward_cost(frozen_weights=True) == Cost()
