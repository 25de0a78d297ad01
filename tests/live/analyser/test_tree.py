"""The module tree: every parameter in it, equal siblings folded, shapes and costs at each; and classes of layers."""

import math

import pytest

from modelmeter.live.analyser.analyser import DeepseekOCRStaticAnalyzer
from modelmeter.live.analyser.data import ModuleNode, StaticAnalysis
from modelmeter.live.analyser.layers import layer_classes, snake_case


def nodes(found: StaticAnalysis) -> dict[str, ModuleNode]:
    """Every node by its first path."""
    return {node.path: node for _, node in found.tree.walk()}


def test_every_parameter_is_in_the_tree(page: StaticAnalysis) -> None:
    assert page.tree.parameters == 3_335_504_128
    for _, node in page.tree.walk():
        own = sum(math.prod(info.shape) * info.copies for info in node.weights.values())
        assert node.parameters == own + sum(child.repeats * child.parameters for child in node.children)


def test_equal_members_of_a_list_are_one_node(page: StaticAnalysis) -> None:
    found = nodes(page)
    assert found["model.layers.0"].repeats == 1  # the dense one
    assert found["model.layers.1"].paths == tuple(f"model.layers.{i}" for i in range(1, 12))
    assert found["model.sam_model.blocks.2"].paths == tuple(f"model.sam_model.blocks.{i}" for i in (2, 5, 8, 11))
    assert found["model.sam_model.blocks.0"].repeats == 12 - 4
    assert found["model.vision_model.transformer.layers.0"].repeats == 24


def test_every_module_is_in_the_tree(page: StaticAnalysis, released: DeepseekOCRStaticAnalyzer) -> None:
    listed = {released.adapter.rename(name) for name, _ in released.adapter.model.named_modules()}
    listed.discard("model.sam_model.layers")  # whose members are listed as model.sam_model.blocks
    assert sum(times for times, _ in page.tree.walk()) == len(listed)


def test_shapes(page: StaticAnalysis) -> None:
    found = nodes(page)
    images = {shapes.inputs[0][1]: calls for shapes, calls in found["model.sam_model"].runs["sam"].shapes}
    assert images == {(6, 3, 640, 640): 1, (1, 3, 1024, 1024): 1}
    layer = found["model.layers.1"]
    (prefill, _), (decode, _) = (layer.runs[stage].shapes[0] for stage in ("prefill", "decode"))
    assert prefill.inputs[0] == ("hidden_states", (1, 913, 1280)) and prefill.outputs[0][1] == (1, 913, 1280)
    assert dict(decode.inputs)["attention_mask"] == (1, 1, 1, 914)  # what is cached, and the token itself
    assert found["lm_head"].runs["prefill"].shapes[0][0].outputs == (("", (1, 913, 129_280)),)


def test_costs_of_both_sides(page: StaticAnalysis) -> None:
    found = nodes(page)
    q_proj = found["model.layers.1.self_attn.q_proj"].runs
    assert q_proj["prefill"].recorded.counted_flops == 2 * 913 * 1280 * 1280
    assert q_proj["decode"].recorded.counted_flops == 2 * 1280 * 1280
    for _, node in page.tree.walk():
        for run in node.runs.values():
            assert run.ok is not False
            assert run.analytic is None or run.analytic.counted_flops == run.recorded.counted_flops
    assert set(found[""].runs) == set(found["model"].runs) == {"pass", "decode"}
    assert found[""].runs["pass"].recorded.counted_flops == sum(
        page.stage(name).recorded.counted_flops for name in ("vision", "prefill")
    )


def test_classes_of_layers(page: StaticAnalysis) -> None:
    classes = {found.file: found for found in layer_classes(page.tree)}
    assert {
        "vision/image_encoder_vit.json",
        "vision/vit_model.json",
        "vision/mlp_projector.json",
        "decoder/deepseek_v2_decoder_layer.json",
        "decoder/llama_attention.json",
        "decoder/deepseek_v2_moe.json",
        "model/deepseek_ocr_for_causal_lm.json",
    } <= set(classes)
    assert [kind.times for kind in classes["decoder/deepseek_v2_decoder_layer.json"].kinds] == [1, 11]  # dense, sparse
    assert [kind.times for kind in classes["vision/block.json"].kinds] == [8, 4]  # windows, global attention
    assert [kind.times for kind in classes["decoder/llama_attention.json"].kinds] == [12]
    places = [places for found in classes.values() for kind in found.kinds for places in kind.places]
    lists = [times for times, node in page.tree.walk() if node.class_name == "ModuleList" and node.twin is None]
    assert sum(times for times, _ in places) + sum(lists) == sum(times for times, _ in page.tree.walk())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ImageEncoderViT", "image_encoder_vit"),
        ("VitModel", "vit_model"),
        ("DeepseekV2DecoderLayer", "deepseek_v2_decoder_layer"),
        ("DeepseekV2MoE", "deepseek_v2_moe"),
        ("DeepseekV2RMSNorm", "deepseek_v2_rms_norm"),
        ("MoEGate", "moe_gate"),
        ("NoTPAttention", "no_tp_attention"),
        ("LayerNorm2d", "layer_norm2d"),
        ("MLPBlock", "mlp_block"),
        ("LMHead", "lm_head"),
        ("SiLU", "silu"),
    ],
)
def test_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected
