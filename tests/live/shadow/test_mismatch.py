"""A real model that is not the one of the shadow's configuration: which module, what was found and expected."""

from typing import Any

import attrs
import pytest
import torch
from support.shadow_runs import conventions_of, page_inputs, small_model
from transformers import StaticCache

from modelmeter import DeepseekOCRConfig, ModelMeterError
from modelmeter.live.reference.hook_points import hook_points
from modelmeter.live.reference.transformers5 import build, config_like
from modelmeter.live.shadow.hooks import hooked
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.live.verification.real_run import SMALL

FOUR = ("dense", "sparse", "sparse", "sparse")
DECODER, SAM, CLIP = SMALL.decoder, SMALL.sam, SMALL.clip


def shadow_of(config: DeepseekOCRConfig = SMALL) -> Shadow:
    """A shadow with stats of its own."""
    return Shadow(config, conventions_of(), stats=AnalyticRunStats())


def decoder(**changed: Any) -> DeepseekOCRConfig:
    """The small configuration with another decoder."""
    return attrs.evolve(SMALL, decoder=attrs.evolve(DECODER, **changed))


def count(module: torch.nn.Module) -> str:
    """Its parameters, as errors have them."""
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (decoder(num_hidden_layers=3, mlp_layer_types=FOUR[:3]), r"language_model\.layers has 4 layers.*says 3:"),
        (decoder(mlp_layer_types=("dense", "dense", *FOUR[2:])), r"layers\.1 has experts.*says a dense one"),
        (decoder(mlp_layer_types=("sparse", *FOUR[1:])), r"layers\.0 has a dense MLP.*says a sparse one"),
        (decoder(intermediate_size=640), r"layers\.0 has 655,872 parameters.*says 754,176"),
        (decoder(n_routed_experts=8), r"layers\.1 has .* parameters"),
        (decoder(num_experts_per_tok=2), r"layers\.1\.mlp\.gate has 3 experts a token.*says 2:"),
        (decoder(vocab_size=100), r"lm_head has 131,072 parameters.*says 25,600"),  # 512 * 256, 100 * 256
        (attrs.evolve(SMALL, sam=attrs.evolve(SAM, window_size=7)), r"sam_encoder has .* parameters"),
        (attrs.evolve(SMALL, clip=attrs.evolve(CLIP, layers=3)), r"vision_encoder has .* parameters"),
    ],
    ids=["layers", "dense", "sparse", "width", "experts", "top k", "vocabulary", "windows", "blocks"],
)
def test_what_modules_show_before_they_run(config: DeepseekOCRConfig, says: str) -> None:
    """Layer 0: 4 * 256 * 256 of attention, 3 * 256 * 512 (or 640) of the MLP, 2 * 256 of norms."""
    model = small_model()
    with pytest.raises(ModelMeterError, match=says), hooked(model, shadow_of(config)):
        pass
    assert not any(layer._forward_hooks for layer in hook_points(model).layers)


def test_a_head_that_is_the_embedding_has_no_weights_of_its_own() -> None:
    tied = decoder(tie_word_embeddings=True)
    shadow = shadow_of(tied)
    model = build(config_like(tied))
    with torch.no_grad(), hooked(model, shadow):
        model(input_ids=torch.arange(3)[None], logits_to_keep=1)
    assert len(shadow.stats.decoder_steps) == len(FOUR)


def test_the_counts_are_the_real_ones() -> None:
    points = hook_points(small_model())
    config = attrs.evolve(SMALL, clip=attrs.evolve(CLIP, layers=3))
    with pytest.raises(ModelMeterError, match=f"vision_encoder has {count(points.clip)} parameters"):
        hooked(points, shadow_of(config)).__enter__()


def test_heads_show_in_the_cache() -> None:
    """Two heads of 128 have the parameters of four of 64."""
    model = small_model()
    other = shadow_of(decoder(num_attention_heads=2, num_key_value_heads=2))
    says = r"model\.layers\.0 has a cache of \[1, 4, 5, 64\].*says \[1 2 kv 128\]"
    with pytest.raises(ModelMeterError, match=says), hooked(model, other):
        model(input_ids=torch.arange(5).reshape(1, 5))
    assert other.stats.decoder_steps == []
    assert not any(layer._forward_hooks for layer in hook_points(model).layers)


@pytest.mark.parametrize(
    ("module", "shape", "says"),
    [
        ("sam_model", (1, 4, 128, 128), r"sam_model has an input of \[1, 4, 128, 128\].*\[n 3 s s\]"),
        ("sam_model", (1, 3, 128, 64), r"\[1, 3, 128, 64\].*squares"),
        ("sam_model", (1, 3, 120, 120), r"\[1, 3, 120, 120\].*a multiple of 16"),
        ("vision_model", (1, 65, 2, 2), r"vision_model has an input of \[1, 65, 2, 2\].*\[n 64 s s\]"),
        ("projector", (1, 4, 127), r"projector has an input of \[1, 4, 127\].*\[n s 128\]"),
    ],
)
def test_views_that_cannot_be(module: Any, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(ModelMeterError, match=says):
        shadow_of().saw_vision(module, shape)


def test_a_hidden_size_that_is_not_the_models() -> None:
    with pytest.raises(ModelMeterError, match=r"model\.layers\.2 has a hidden size of 255.*says 256"):
        shadow_of().saw_layer(2, (1, 4, 255), None)


def test_a_view_that_is_no_square_leaves_no_hooks() -> None:
    """The real SAM would run it."""
    model = small_model()
    inputs = page_inputs(1) | {"pixel_values": torch.zeros(1, 3, 256, 128, dtype=torch.bfloat16)}
    says = r"sam_model has an input of \[1, 3, 256, 128\]"
    with pytest.raises(ModelMeterError, match=says), hooked(model, shadow_of()):
        model(**inputs)
    assert not hook_points(model).sam._forward_hooks


def test_a_windowed_cache() -> None:
    """Its keys are not all that attention reads."""
    with torch.random.fork_rng():
        windowed = build(config_like(SMALL, reference_window=8))
    says = r"ReferenceSliding.*run with transformers' DynamicCache"
    with pytest.raises(ModelMeterError, match=says), hooked(windowed, shadow_of()):
        windowed(input_ids=torch.arange(5).reshape(1, 5), use_cache=True)


def test_a_static_cache() -> None:
    """Its tensors are as long as the longest sequence may get."""
    model = small_model()
    cache = StaticCache(config=model.config.text_config, max_cache_len=16)
    with pytest.raises(ModelMeterError, match="StaticCache"), torch.no_grad(), hooked(model, shadow_of()):
        model(input_ids=torch.arange(5).reshape(1, 5), past_key_values=cache)


def test_the_other_implementation() -> None:
    vendor = Shadow(SMALL, attrs.evolve(conventions_of(), implementation="vendor"), stats=AnalyticRunStats())
    with pytest.raises(ModelMeterError, match=r"of transformers.*say vendor"), hooked(small_model(), vendor):
        pass


def test_32_bit_floats() -> None:
    model = build(config_like(SMALL)).float()
    says = r"computes in torch\.float32.*load it in bfloat16"
    with pytest.raises(ModelMeterError, match=says), hooked(model, shadow_of()):
        pass


def test_conventions_without_elementwise_flops() -> None:
    with pytest.raises(ModelMeterError, match="elementwise=True"):
        Shadow(SMALL, attrs.evolve(conventions_of(), elementwise=False))


def test_names_that_no_adapter_knows() -> None:
    with pytest.raises(ModelMeterError, match="hook_points"), hooked(torch.nn.Linear(2, 2), shadow_of()):
        pass
    many = torch.nn.Sequential(*[torch.nn.Linear(1, 1) for _ in range(1000)])
    with pytest.raises(ModelMeterError, match=r"Found 0, 1, .*, 23 and 976 more: give"):
        hook_points(many)
