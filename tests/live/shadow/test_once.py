"""Asking all decode steps at once gives what asking one by one gives; a shape is asked once."""

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter import DeepseekOCRModel
from modelmeter.core.precision import Precision
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stage import analytic_stage
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.live.shadow.twin import Call, Twin
from modelmeter.live.verification.real_run import SMALL
from modelmeter.models.deepseek_ocr.config import Conventions, MlpKind

DECODER = SMALL.decoder
CONVENTIONS = st.builds(
    Conventions,
    implementation=st.sampled_from(["vendor", "transformers"]),
    attention=st.sampled_from(["eager", "flash"]),
    cache=st.sampled_from(["concat", "in_place"]),
    experts=st.sampled_from(["loop", "grouped"]),
    position_ids=st.sampled_from(["shared", "batch"]),
    causal=st.sampled_from(["full", "triangle"]),
    coverage=st.sampled_from(["expected", "max", "min", 7, 5.5]),
)
INT4 = Precision(weights="int4", group_size=32)
PRECISIONS = st.sampled_from([None, Precision(weights="fp16"), INT4, Precision(kv="int8")])
KINDS: tuple[MlpKind, ...] = ("dense", "sparse")


@settings(max_examples=60, deadline=None)
@given(
    conventions=CONVENTIONS,
    precision=PRECISIONS,
    lengths=st.lists(st.integers(2, 5000), min_size=1, max_size=6, unique=True),
    batch=st.integers(1, 5),
    kind=st.sampled_from(KINDS),
)
def test_an_array_of_lengths_is_each_of_them(
    conventions: Conventions, precision: Precision | None, lengths: list[int], batch: int, kind: MlpKind
) -> None:
    together, alone = Twin(SMALL, conventions, precision), Twin(SMALL, conventions, precision)
    calls = [Call(kind, batch, 1, length, True) for length in lengths]
    together.learn(calls)
    for call in calls:
        found, wanted = together.layer(call), alone.layer(call)
        assert found == wanted
        assert all(type(value) is int for value in found.cost.values())
        assert type(found.activations_bytes) is int
        assert found.kv_cache_bytes == wanted.kv_cache_bytes


@settings(max_examples=40, deadline=None)
@given(
    conventions=CONVENTIONS,
    precision=PRECISIONS,
    tokens=st.integers(1, 300),
    past=st.integers(0, 500),
    batch=st.integers(1, 3),
)
def test_a_layer_alone_is_the_layer_in_the_model(
    conventions: Conventions, precision: Precision | None, tokens: int, past: int, batch: int
) -> None:
    """Prefill, a chunk of one, and a decode step."""
    model = DeepseekOCRModel.from_config(SMALL, precision=precision, **attrs.asdict(conventions))
    model.start_prefill(past or tokens, batch)
    if past and tokens == 1:
        model.start_decode()
    elif past:
        model.extend_prefill(tokens)
    layers, twin = model.trace().by_layer(), Twin(SMALL, conventions, precision)
    for index, kind in enumerate(DECODER.mlp_layer_types):
        assert twin.layer(Call(kind, batch, tokens, past + tokens, True)).cost == layers[f"model.layers.{index}"]


def test_the_cache_held_afterwards() -> None:
    """Keys and values of every token: 2 * heads * head_dim * 2 bytes, whatever made them."""
    twin = Twin(SMALL, Conventions(), None)
    token = 2 * DECODER.num_key_value_heads * DECODER.head_dim * 2  # bf16
    for tokens, kv_len in ((9, 9), (1, 9), (4, 9), (1, 1)):
        assert twin.layer(Call("sparse", 3, tokens, kv_len, True)).kv_cache_bytes == 3 * 9 * token * kv_len // 9
    assert twin.layer(Call("sparse", 3, 9, 9, False)).kv_cache_bytes == 0


def test_a_step_seen_before_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shadow = Shadow(SMALL, Conventions(), stats=AnalyticRunStats())
    decode(shadow, range(10, 20))
    shadow.flush()

    def refuse(*_: Any) -> Any:
        raise AssertionError("asked again")

    monkeypatch.setattr(DeepseekOCRModel, "get_forward_cost", refuse)
    for layer in shadow.twin.model.network.model.layers:
        monkeypatch.setattr(type(layer), "get_forward_cost", refuse)
    decode(shadow, range(10, 20))
    assert len(shadow.flush().decoder_steps) == 2 * 10 * DECODER.num_hidden_layers


def test_decode_steps_are_asked_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kinds of layer, and the whole model: three questions for a hundred tokens."""
    shadow = Shadow(SMALL, Conventions(), stats=AnalyticRunStats())
    asked: list[str] = []
    for kind in (DeepseekOCRModel, type(shadow.twin.decoder_layer(0))):
        monkeypatch.setattr(kind, "get_forward_cost", counting(kind, asked))
    decode(shadow, range(10, 110))
    shadow.flush()
    assert sorted(asked) == ["DeepseekOCRModel", "DeepseekV2DecoderLayer", "DeepseekV2DecoderLayer"]


def counting(kind: type[Any], asked: list[str]) -> Any:
    """`get_forward_cost` of a class, which says that it was asked."""
    original = kind.get_forward_cost

    def ask(self: Any) -> Any:
        asked.append(kind.__name__)
        return original(self)

    return ask


def decode(shadow: Shadow, lengths: range) -> None:
    """What hooks tell of decode steps that attend to so many keys."""
    keys = (DECODER.num_key_value_heads, DECODER.head_dim)
    with analytic_stage("decode"):
        for length in lengths:
            for layer in range(DECODER.num_hidden_layers):
                shadow.saw_layer(layer, (1, 1, DECODER.hidden_size), (1, keys[0], length, keys[1]))
