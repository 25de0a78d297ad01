"""The stage map: every parameter of a real model belongs to exactly one stage, and to the one that its work is in."""

import pytest
import torch
from torch import nn

from modelmeter import ModelMeterError
from modelmeter.live.analyser.analyser import DeepseekOCRStaticAnalyzer
from modelmeter.live.analyser.stages import MODULES, STAGE_NAMES, listed_parameters, map_parameters, stage_of

SAM, CLIP, PROJECTOR = 95_569_152, 303_177_728 - 602_112, 2_622_720  # transformers has no patch convolution in CLIP
TEXT = 2 * 165_478_400 + 32_852_480 + 11 * 233_720_320 + 1_280  # embedding and head, layer 0, layers 1 to 11, norm


def begins(path: str) -> list[str]:
    """The entries of the map that a path is below."""
    return [entry for entries in MODULES.values() for entry in entries if f"{path}.".startswith(f"{entry}.")]


@pytest.mark.parametrize("name", ["small", "released"])
def test_every_parameter_is_mapped_exactly_once(request: pytest.FixtureRequest, name: str) -> None:
    analyser: DeepseekOCRStaticAnalyzer = request.getfixturevalue(name)
    real = dict(analyser.adapter.model.named_parameters())
    assert [each.real_path for each in analyser.parameters] == list(real)
    assert sum(each.count for each in analyser.parameters) == sum(x.numel() for x in real.values())
    for _, path, _ in listed_parameters(real.items(), analyser.adapter.rename):
        assert len(begins(path)) == 1


def test_the_released_model_by_stage(released: DeepseekOCRStaticAnalyzer) -> None:
    weights = released.weights
    assert list(weights) == list(STAGE_NAMES)
    counts = {stage: found.count for stage, found in weights.items()}
    newlines = 2 * 1280  # newline and separator
    assert counts == {"sam": SAM, "clip": CLIP, "projector": PROJECTOR + newlines, "prefill": TEXT, "decode": TEXT}
    assert sum(found.count for found in weights.values() if found.shared_with is None) == 3_335_504_128
    assert {stage: found.shared_with for stage, found in weights.items() if found.shared_with} == {"decode": "prefill"}
    assert all(found.ok and found.num_bytes == 2 * found.count for found in weights.values())  # bf16


def test_no_path_is_in_two_stages() -> None:
    entries = [entry for entries in MODULES.values() for entry in entries]
    assert [one for one in entries for other in entries if one != other and f"{one}.".startswith(f"{other}.")] == []


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("", None),
        ("model", None),
        ("model.sam_model", "sam"),
        ("model.sam_model.blocks.0.attn.qkv.weight", "sam"),
        ("model.sam_modeling", None),
        ("model.vision_model.embeddings", "clip"),
        ("model.projector.layers", "projector"),
        ("model.image_newline", "projector"),
        ("model.view_seperator", "projector"),
        ("model.layers.11.mlp.gate", "prefill"),
        ("model.layernorm", None),
        ("lm_head", "prefill"),
    ],
)
def test_stage_of(path: str, stage: str | None) -> None:
    assert stage_of(path) == stage


def test_a_parameter_without_a_stage_is_named() -> None:
    model = nn.Module()
    model.lm_head = nn.Linear(2, 3, bias=False)
    model.mystery = nn.Linear(2, 3)
    with pytest.raises(ModelMeterError, match=r"no stage for mystery\.weight, mystery\.bias of a toy: give a Deep"):
        map_parameters(model, str, "a toy")


def test_more_than_three_are_counted() -> None:
    model = nn.ModuleDict({f"part{i}": nn.Linear(1, 1, bias=False) for i in range(5)})
    with pytest.raises(ModelMeterError, match=r"part0\.weight, part1\.weight, part2\.weight and 2 more of a toy"):
        map_parameters(model, str, "a toy")


def test_a_shared_parameter_counts_once() -> None:
    model = nn.Module()
    model.model = nn.Module()
    model.model.embed_tokens = nn.Embedding(5, 4, dtype=torch.bfloat16)
    model.lm_head = nn.Linear(4, 5, bias=False)
    model.lm_head.weight = model.model.embed_tokens.weight
    (found,) = map_parameters(model, str, "a toy")
    assert (found.path, found.stage, found.count, found.num_bytes) == (
        "model.embed_tokens.weight", "prefill", 20, 40,
    )  # fmt: skip
