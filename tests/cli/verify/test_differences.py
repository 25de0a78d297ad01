"""`modelmeter verify` of a twin that is wrong: exit code 1, and its layer is named."""

import re

import attrs
import pytest

from modelmeter.core import ops
from modelmeter.models.deepseek_ocr import deepseek_v2, sam


def test_a_wrong_twin_is_exit_code_1_and_its_layer_is_named(verify, tmp_path, valid, monkeypatch):
    monkeypatch.setattr(deepseek_v2, "experts_hit", lambda *_: 1)  # the weights of one expert for all
    done = verify("--stage", "decode", "--json", tmp_path / "out.json", "--markdown", tmp_path / "out.md")
    assert (done.code, done.complaints) == (1, [])
    line = done.out.splitlines()[-1]
    assert re.fullmatch(r"NOT verified: weights read.* of Experts model\.layers\.1\.mlp\.experts \(decode\)", line)
    data = valid((tmp_path / "out.json").read_text(encoding="utf-8"))
    wrong = {row["layer"] for row in data["comparisons"][0]["layers"] if not row["ok"]}
    assert data["ok"] is False and "Experts" in wrong and "LlamaAttention" not in wrong
    assert line in (tmp_path / "out.md").read_text(encoding="utf-8")


def an_expert_too_few(monkeypatch):
    build = deepseek_v2.Experts.__init__

    def fewer(self, config, conventions):
        build(self, attrs.evolve(config, num_experts_per_tok=config.num_experts_per_tok - 1), conventions)

    monkeypatch.setattr(deepseek_v2.Experts, "__init__", fewer)


def a_window_not_padded(monkeypatch):
    def partition(self, x):
        batch, side, _, channels = x.shape
        return ops.clone(x.narrow(batch * (side // 14) ** 2, 14, 14, channels))

    monkeypatch.setattr(sam.Block, "_partition", partition)
    monkeypatch.setattr(sam.Block, "_unpartition", lambda self, x, grid: ops.clone(x.narrow(*grid)))


def a_missing_copy_of_the_bias(monkeypatch):
    clone = ops.clone

    def no_copy_of_scores(x, shape=None, *, when=1):
        square = shape is not None and len(shape) == 3 and shape[1] == shape[2]
        return x.view(*shape) if square else clone(x, shape, when=when)

    monkeypatch.setattr(ops, "clone", no_copy_of_scores)


@pytest.mark.parametrize(
    ("mutate", "stage", "quantity", "layer"),
    [
        (an_expert_too_few, "prefill", "counted FLOPs", "Experts model.layers.1.mlp.experts"),
        (a_window_not_padded, "vision", "counted FLOPs", "model.sam_model.blocks.0.attn"),
        (a_missing_copy_of_the_bias, "vision", "activations moved", "Attention model.sam_model.blocks."),
    ],
)
def test_a_mutated_twin_is_exit_code_1(verify, monkeypatch, mutate, stage, quantity, layer):
    mutate(monkeypatch)
    done = verify("--stage", stage)
    assert done.code == 1
    line = done.out.splitlines()[-1]
    assert line.startswith("NOT verified") and quantity in line and layer in line


def test_what_is_wrong_elsewhere_does_not_count(verify, monkeypatch):
    monkeypatch.setattr(deepseek_v2, "experts_hit", lambda *_: 1)
    assert verify("-q", "--stage", "decode", "--layers", "LlamaAttention").code == 0
    assert verify("-q", "--stage", "decode", "--layers", "DeepseekV2MoE").code == 1
