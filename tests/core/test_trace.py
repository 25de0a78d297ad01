"""The trace: operators under their paths, and sums that agree whichever way they are taken."""

import functools
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.layers import Chain, Feed, Inline, SelfAttention

from modelmeter import Cost, DeepseekOCRModel, Trace, ViewPlan, plan_views
from modelmeter.core.cost import COST_FIELDS


def total_of(costs) -> Cost:
    return functools.reduce(operator.add, costs, Cost())


def stage(name: str, **conventions) -> Trace:
    model = DeepseekOCRModel.from_config(**conventions)
    if name == "text":
        model.start_prefill(100, 2)
        return model.trace()
    model.set_views(ViewPlan.from_grid((2, 1)) if name == "tiles" else plan_views(640, 640, mode="small"))
    if name in ("vision", "tiles"):
        model.start_vision(2)
        return model.trace()
    model.start_prefill(500)
    if name == "decode":
        model.start_decode()
    return model.trace()


@pytest.fixture(
    scope="module",
    params=[
        (name, implementation)
        for name in ("vision", "tiles", "text", "prefill", "decode")
        for implementation in ("vendor", "transformers")
    ],
    ids=lambda param: "-".join(param),
)
def trace(request) -> Trace:
    name, implementation = request.param
    return stage(name, implementation=implementation)


def test_the_total_is_the_sum_of_the_operators(trace):
    assert total_of(op.cost for _, op in trace.operators()) == trace.total
    assert len(trace) == len(list(trace.operators()))


def test_by_op_sums_to_the_total(trace):
    by_op = trace.by_op()
    assert total_of(found.cost for found in by_op.values()) == trace.total
    assert sum(found.calls for found in by_op.values()) == len(trace)
    assert list(by_op) == list(dict.fromkeys(op.name for _, op in trace.operators()))


def test_rows_of_every_depth_sum_to_the_total(trace):
    deepest = max(path.count(".") + 1 for path in trace.by_layer())
    for depth in range(deepest + 2):
        rows = trace.by_layer(depth)
        assert total_of(rows.values()) == trace.total
        assert all(path.count(".") < max(depth, 1) for path in rows)
    assert set(trace.by_layer(0)) == {""}


def test_a_module_is_its_operators_and_those_below_it(trace):
    """Without a depth each path holds all that ran under it, once."""
    inclusive = trace.by_layer()
    own: dict[str, Cost] = {}
    for path, op in trace.operators():
        own[path] = own.get(path, Cost()) + op.cost
    for path, cost in inclusive.items():
        below = [own[name] for name in own if name == path or not path or name.startswith(f"{path}.")]
        assert (path, cost) == (path, total_of(below))
    assert inclusive[""] == trace.total
    assert set(own) <= set(inclusive)


def test_a_deep_table_has_a_row_for_each_module_with_operators(trace):
    own = {path for path, _ in trace.operators()}
    assert set(trace.by_layer(99)) == own


def test_every_layer_is_listed():
    """Equal layers are recorded once and stand under each of their paths."""
    rows = stage("prefill").by_layer()
    assert [rows[f"model.layers.{i}"] for i in range(1, 12)] == [rows["model.layers.1"]] * 11
    assert rows["model.layers.0"] != rows["model.layers.1"]
    blocks = [rows[f"model.sam_model.blocks.{i}"] for i in range(12)]
    assert [i for i in range(12) if blocks[i] == blocks[2]] == [2, 5, 8, 11]
    assert len({rows[f"model.vision_model.transformer.layers.{i}"] for i in range(24)}) == 1


def test_two_calls_of_one_module_add_up_under_its_path():
    """Tiles and global view run through the same tower: one row for both."""
    tiles = stage("tiles").by_layer()["model.sam_model.patch_embed.proj"].counted_flops
    patches = 2 * (2 * 40 * 40 + 64 * 64)  # two pages of two tiles of 640 px and a global view of 1024 px
    assert tiles == 2 * 3 * 16 * 16 * 768 * patches


@given(st.lists(st.sampled_from(["feed", "attention", "inline", "nested"]), min_size=1, max_size=4), st.integers(1, 9))
def test_any_nesting_adds_up(kinds, seq_len):
    make = {
        "feed": lambda: Feed(8, 16),
        "attention": lambda: SelfAttention(8),
        "inline": lambda: Inline(Feed(8, 16), 8),
        "nested": lambda: Chain([Inline(Chain([Feed(8, 16)] * 2, 8), 8)] * 2, 8),
    }
    chain = Chain([make[kind]() for kind in kinds], 8, seq_len=seq_len)
    trace = chain.trace()
    test_a_module_is_its_operators_and_those_below_it(trace)
    test_rows_of_every_depth_sum_to_the_total(trace)
    test_by_op_sums_to_the_total(trace)
    for i, kind in enumerate(kinds):
        alone = make[kind]()
        alone.set_seq_len(seq_len)
        assert trace.by_layer()[f"layers.{i}"] == alone.cost()


def test_a_child_without_a_name_counts_once():
    """What a real forward does inline stands under its parent's path."""
    layer = Inline(Feed(8, 16), 8, seq_len=3)
    assert layer.trace().by_layer()[""] == layer.cost()
    assert set(layer.trace().by_layer()) == {"", "norm", "up", "act", "down"}


def test_operators_know_what_they_are():
    ops = [(path, op.name, op.kind, op.dtype.name, op.shape) for path, op in Feed(8, 16, seq_len=3).trace().operators()]
    assert ops == [
        ("norm", "native_layer_norm", "elementwise", "bf16", (1, 3, 8)),
        ("up", "addmm", "matmul", "bf16", (1, 3, 16)),
        ("act", "gelu", "elementwise", "bf16", (1, 3, 16)),
        ("down", "mm", "matmul", "bf16", (1, 3, 8)),
        ("", "add", "elementwise", "bf16", (1, 3, 8)),
    ]


def test_backward_is_zero_unless_recorded():
    layer = Feed(8, 16, seq_len=3)
    assert layer.trace().backward == Cost() and layer.trace().saved_bytes == 0
    with_gradients = layer.trace(grad=True)
    assert with_gradients.backward == layer.backward_cost()
    assert with_gradients.saved_bytes == layer.saved_bytes()
    assert total_of(op.backward for _, op in with_gradients.operators()) == with_gradients.backward
    assert len(COST_FIELDS) == len(with_gradients.backward.values())


def test_a_trace_is_a_value():
    layer = Feed(8, 16, seq_len=3)
    trace = layer.trace()
    before = trace.total
    layer.set_seq_len(100)
    layer.cost()
    assert trace.total == before
    assert "Op(addmm, matmul, bf16" in repr(next(op for path, op in trace.operators() if path == "up"))
