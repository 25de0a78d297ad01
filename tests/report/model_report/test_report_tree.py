"""The module tree of a report: what is in it adds up, exactly, and is what the model says of each module."""

import pytest

from modelmeter.core.cost import Cost
from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import Page
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import plan_views
from modelmeter.report.model_report.metrics import STAGE_NAMES, OperatorCategory

REPORTS = ["timed", "plain"]
OPTIONS = [
    {"implementation": "transformers"},
    {"experts": "grouped", "logits": "last"},
    {"coverage": 17.5, "elementwise": False, "decode_tokens": 0},
]


def nodes(report):
    return [pair for kind in report.kinds for pair in kind.tree.walk()]


@pytest.fixture(params=REPORTS)
def report(request):
    return request.getfixturevalue(request.param)


def check_sums(report):
    """Every node is the sum of its own operators and its children; every root is its stage."""
    for kind in report.kinds:
        for stage in STAGE_NAMES:
            assert kind.tree.snapshots[stage].cost == kind.stages[stage].cost
    for _, node in nodes(report):
        for stage, snapshot in node.snapshots.items():
            below = [(child.repeats, child.snapshots[stage]) for child in node.children if stage in child.snapshots]
            total = sum((one.cost.cost * times for times, one in below), snapshot.own)
            assert (node.path, stage, snapshot.cost.cost) == (node.path, stage, total)
            assert sum(snapshot.by_category.values(), Cost()) == snapshot.own
            assert snapshot.cost.weights_bytes == node.weights_bytes


def test_sums_of_the_tree_are_the_totals(report):
    check_sums(report)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_sums_are_the_totals_under_other_conventions(reported, options):
    check_sums(reported(Page("a.png", 1, 600, 620, "a.png"), **{"decode_tokens": 1, **options}))


def test_all_operators_of_the_tree_add_up_to_the_stage(report):
    for kind in report.kinds:
        for stage in STAGE_NAMES:
            own = [node.snapshots[stage].own * n for n, node in kind.tree.walk() if stage in node.snapshots]
            assert sum(own, Cost()) == kind.stages[stage].cost.cost


def test_weights_of_the_tree_add_up_to_the_model(report):
    for kind in report.kinds:
        own = sum(n * weight.num_bytes for n, node in kind.tree.walk() for weight in node.weights.values())
        assert own == report.model.weights_resident_bytes == kind.tree.weights_bytes
        assert kind.tree.parameters == report.model.parameters == 3_336_106_240  # the released checkpoint's


def test_every_module_costs_what_the_model_says_of_its_path(timed):
    model = DeepseekOCRModel.from_config()
    kind = timed.kinds[0]
    model.set_views(plan_views(1191, 1684))
    model.start_prefill(kind.context_len)
    model.start_decode()
    for path, cost in model.trace().by_layer().items():
        assert (path, kind.tree.find(path).snapshots["decode"].cost.cost) == (path, cost)
    model.start_vision(1)
    found = model.trace().by_layer()
    assert len(found) > 300  # blocks of SAM and CLIP, each listed
    for path, cost in found.items():
        assert (path, kind.tree.find(path).snapshots["vision"].cost.cost) == (path, cost)


def test_equal_layers_are_one_node_with_a_count(timed):
    tree = timed.kinds[0].tree
    by_path = {node.path: (times, node.repeats) for times, node in tree.walk()}
    assert by_path["model.sam_model.blocks.0"] == (8, 8)  # in windows: all 12 but 2, 5, 8, 11
    assert by_path["model.sam_model.blocks.2"] == (4, 4)
    assert by_path["model.vision_model.transformer.layers.0.mlp.fc1"] == (24, 1)  # once in each of 24
    assert by_path["model.layers.0"] == (1, 1)  # the dense one
    assert by_path["model.layers.1"] == (11, 11)
    assert tree.find("model.layers.1").paths == tuple(f"model.layers.{i}" for i in range(1, 12))
    assert tree.find("model.sam_model.blocks.2").paths == tuple(f"model.sam_model.blocks.{i}" for i in (2, 5, 8, 11))
    assert tree.find("model.layers.7.mlp.gate").path == "model.layers.1.mlp.gate"
    with pytest.raises(ModelMeterError, match=r"no module 'model\.layers\.12'"):
        tree.find("model.layers.12")


def test_a_module_is_what_the_real_one_is(timed):
    node = timed.kinds[0].tree.find("model.layers.3.self_attn.q_proj")
    assert (node.class_name, node.parameters, node.weights_bytes) == ("Linear", 1280 * 1280, 2 * 1280 * 1280)
    assert {name: weight.shape for name, weight in node.weights.items()} == {"weight": (1280, 1280)}
    decode = node.snapshots["decode"]
    assert decode.cost.cost.tensor_flops == 2 * 1280 * 1280  # a multiply-add for each weight
    assert [(op.name, op.category, op.dtype, op.calls) for op in decode.operators] == [
        ("mm", OperatorCategory.MATMUL, "bf16", 1)
    ]
    assert "prefill" in node.snapshots and "vision" not in node.snapshots


def test_the_cache_is_shared_by_the_attention_layers(timed):
    kind = timed.kinds[0]
    layer = 2 * 10 * 128 * 2 * kind.context_len  # keys and values, heads, width, bf16
    for path in ("model.layers.5.self_attn", "model.layers.5"):
        assert kind.tree.find(path).snapshots["prefill"].cost.kv_cache_bytes == layer
    assert kind.tree.snapshots["prefill"].cost.kv_cache_bytes == 12 * layer
    assert kind.tree.find("model.sam_model").snapshots["prefill"].cost.kv_cache_bytes == 0


def test_a_module_that_never_runs_holds_its_weights(timed):
    node = timed.kinds[0].tree.find("model.vision_model.embeddings.patch_embedding")  # CLIP's own: SAM's features come
    assert (node.snapshots, node.weights_bytes) == ({}, 2 * 1024 * 3 * 14 * 14)


def test_categories_are_those_of_the_work(timed, plain):
    def categories(report, path, stage):
        return set(report.kinds[0].tree.find(path).snapshots[stage].by_category)

    assert categories(timed, "model.sam_model.net_2", "vision") == {OperatorCategory.CONVOLUTION}
    assert OperatorCategory.ATTENTION in categories(timed, "model.sam_model.blocks.0.attn", "vision")
    assert OperatorCategory.ATTENTION not in categories(timed, "model.layers.0.self_attn", "prefill")  # eager
    assert OperatorCategory.ATTENTION in categories(plain, "model.layers.0.self_attn", "prefill")  # flash
    assert categories(timed, "model.embed_tokens", "decode") == {OperatorCategory.MOVE}


def test_times_of_the_tree_add_up_to_the_stage(timed, plain):
    for kind in timed.kinds:
        for stage in STAGE_NAMES:
            whole = kind.stages[stage].time.levels.predicted
            assert kind.tree.snapshots[stage].time.predicted.seconds == pytest.approx(whole, rel=1e-9)
            own = [
                times * operator.time.predicted.seconds
                for times, node in kind.tree.walk()
                if stage in node.snapshots
                for operator in node.snapshots[stage].operators
            ]
            assert sum(own) == pytest.approx(whole, rel=1e-9)
    assert all(snapshot.time is None for _, node in nodes(plain) for snapshot in node.snapshots.values())


def test_modules_stand_in_the_order_of_their_calls(timed):
    model = next(node for _, node in timed.kinds[0].tree.walk() if node.path == "model")
    names = [child.path.removeprefix("model.") for child in model.children]
    order = ["embed_tokens", "sam_model", "vision_model", "projector", "layers.0", "layers.1", "norm"]
    assert names == order
