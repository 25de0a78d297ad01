"""The plots of one page: shares that add up, layers that hold each other, words on them."""

import pytest
from support.figures import bars, legend, panels

from modelmeter import DeepseekOCRModel, ModelMeterError
from modelmeter.hardware.roofline import machine_of
from modelmeter.report.plots import page_plots
from modelmeter.report.plots.layers import LEAST, OWN, boxes_of, layer_tree, layers_figure, without_numbers
from modelmeter.report.plots.parts import parts_panels
from modelmeter.report.plots.style import file_bytes

CONTEXT = 1000


@pytest.fixture(scope="module")
def figures():
    from modelmeter import plan_views

    model = DeepseekOCRModel.from_config()
    model.set_views(plan_views(1654, 2339))
    return page_plots(model, CONTEXT, batch_size=2, machine=machine_of("h200"))


@pytest.fixture
def trace(page_model):
    page_model.start_prefill(CONTEXT)
    return page_model.trace()


def test_the_plots_of_a_page(figures):
    assert list(figures) == ["parts-by-stage", "layers-prefill-flops", "layers-decode-bytes"]
    for figure in figures.values():
        assert "1,000 tokens of context, batch size 2" in figure.get_suptitle()
        assert file_bytes(figure, "svg").startswith(b"<?xml")


def test_parts_are_shares_of_the_stage(page_model, figures):
    axes = panels(figures["parts-by-stage"])
    assert list(axes) == ["FLOPs", "bytes moved", "predicted time"]
    page_model.start_vision(2)
    vision = page_model.cost()
    sam = page_model.part_costs()["sam"].cost
    assert bars(axes["FLOPs"], "sam")[0] == pytest.approx(100 * sam.flops / vision.flops, rel=1e-12)
    assert bars(axes["bytes moved"], "sam")[0] == pytest.approx(100 * sam.io_bytes / vision.io_bytes, rel=1e-12)
    for one in axes.values():
        shares = [bars(one, container.get_label()) for container in one.containers]
        assert [sum(stage) for stage in zip(*shares, strict=True)] == pytest.approx([100, 100, 100], rel=1e-9)
        assert one.get_xlabel().endswith("(%)")
    assert {"sam", "clip", "decoder", "lm_head"} <= set(legend(figures["parts-by-stage"]))


def test_a_stage_is_named_with_its_total(figures):
    words = [text.get_text().split("\n") for text in panels(figures["parts-by-stage"])["FLOPs"].get_yticklabels()]
    assert [stage for stage, _ in words] == ["vision", "prefill", "decode"]
    assert all(total.endswith("FLOP") for _, total in words)


def test_parts_without_a_stage_are_refused():
    with pytest.raises(ModelMeterError, match="needs a stage"):
        parts_panels({})


def test_page_plots_need_views():
    with pytest.raises(ModelMeterError, match=r"page_plots\(\) needs views"):
        page_plots(DeepseekOCRModel.from_config(), CONTEXT)


@pytest.mark.parametrize("quantity", ["flops", "io_bytes"])
def test_a_layer_is_the_sum_of_what_it_is_made_of(trace, quantity):
    tree = layer_tree(trace, quantity)
    assert tree.amount == getattr(trace.total, quantity)

    def check(node):
        if node.children:
            assert sum(child.amount for child in node.children) == pytest.approx(node.amount, rel=1e-12)
        for child in node.children:
            check(child)

    check(tree)


def test_equal_layers_are_one_with_their_number(trace):
    layers = {node.name: node for node in layer_tree(trace).children}
    assert (layers["layers"].count, layers["lm_head"].count) == (12, 1)
    # 1000 rows of 1280 numbers to 129280 words, a multiply-add is 2
    assert layers["lm_head"].amount == 2 * CONTEXT * 1280 * 129280
    attention = next(node for node in layers["layers"].children if node.name == "self_attn")
    projection = next(node for node in attention.children if node.name == "q_proj")
    assert (projection.count, projection.amount) == (12, 12 * 2 * CONTEXT * 1280 * 1280)
    assert attention.children[-1].name == OWN  # the scores and what follows from them


def test_boxes_lie_within_their_parents(trace):
    boxes = list(boxes_of(layer_tree(trace)))
    assert (boxes[0].depth, boxes[0].start, boxes[0].share) == (0, 0.0, 1.0)
    spans = {}
    for box in boxes:
        assert box.share >= LEAST
        if box.depth:
            start, end = spans[box.depth - 1]
            assert start - 1e-9 <= box.start and box.start + box.share <= end + 1e-9
        spans[box.depth] = (box.start, box.start + box.share)


def test_boxes_are_drawn_and_named(trace, figures):
    (axes,) = figures["layers-prefill-flops"].axes
    words = [text.get_text() for text in axes.texts]
    assert any(word.startswith("sam_model  ") for word in words)
    assert any(word.startswith("blocks \N{MULTIPLICATION SIGN}12  ") for word in words)
    assert axes.get_ylabel() == "share of the stage's FLOPs (%)"
    assert len(axes.patches) > len(words) > 10
    (whole, *_) = axes.patches
    assert (whole.get_height(), whole.get_width()) == (100, 1)


def test_names_of_equal_layers():
    assert without_numbers("model.layers.11.mlp.experts.3.gate_proj") == "layers.mlp.experts.gate_proj"
    assert (without_numbers("lm_head"), without_numbers("model.net_2")) == ("lm_head", "net_2")


def test_layers_by_something_else_or_of_nothing_are_refused(trace):
    with pytest.raises(ModelMeterError, match="by flops or io_bytes, not by 'seconds'"):
        layer_tree(trace, "seconds")
    from modelmeter.core.recorder import Segment
    from modelmeter.core.trace import Trace

    with pytest.raises(ModelMeterError, match="has no FLOPs to share out"):
        layers_figure(Trace(Segment(None)), "nothing")
