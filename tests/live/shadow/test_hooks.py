"""`hooked`: what is installed goes again, and the model does what it did."""

from typing import Any

import pytest
import torch
from support.shadow_runs import CONTEXT, conventions_of, page_inputs, run, small_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache

from modelmeter import DeepseekOCRModel, ModelMeterError
from modelmeter.core.cost import Cost
from modelmeter.live.recording.flops import FLOP_FORMULAS
from modelmeter.live.reference.hook_points import hook_points
from modelmeter.live.shadow.aggregate import aggregate
from modelmeter.live.shadow.hooks import hooked
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stage import analytic_stage
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.live.verification.real_run import SMALL, VIEWS
from modelmeter.models.deepseek_ocr.config import Conventions

LAYERS = SMALL.decoder.num_hidden_layers
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")


@pytest.fixture
def model() -> Any:
    """The small model, eager; no hooks are on it before or after a test."""
    found = small_model()
    before = hooks_of(found)
    yield found
    assert hooks_of(found) == before


def shadow_of(conventions: Conventions | None = None) -> Shadow:
    """A shadow of the small model with stats of its own."""
    return Shadow(SMALL, conventions or conventions_of(), stats=AnalyticRunStats())


def hooks_of(model: nn.Module) -> list[tuple[str, int]]:
    """(module, hooks on it) where there are any."""
    counts = [(path, sum(len(vars(module)[name]) for name in HOOKS)) for path, module in model.named_modules()]
    return [(path, count) for path, count in counts if count]


def text(tokens: int, batch: int = 1) -> torch.Tensor:
    """Ids of text."""
    return torch.arange(tokens * batch).reshape(batch, tokens)


def test_hooks_are_there_while_it_runs(model: Any) -> None:
    before = len(hooks_of(model))
    points = hook_points(model)
    with hooked(model, shadow_of()):
        assert len(hooks_of(model)) == before + 3 + LAYERS  # SAM, CLIP, projector
        assert len(points.layers[0]._forward_hooks) == 1


def test_outputs_are_the_same_to_the_bit(model: Any) -> None:
    watched = run(model, conventions_of(), steps=2, experts=True)
    alone = run(model, conventions_of(), steps=2, hooks=False)
    assert torch.equal(watched.logits, alone.logits)
    assert alone.stats.decoder_steps == []


def test_an_error_in_the_block_leaves_no_hooks_and_keeps_what_was_seen(model: Any) -> None:
    shadow = shadow_of()

    def interrupted() -> None:
        with hooked(model, shadow):
            model(input_ids=text(5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(shadow.stats.decoder_steps) == LAYERS


def test_an_error_in_a_layer_leaves_no_hooks_and_no_whole_pass(model: Any) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    shadow = shadow_of()
    broken = hook_points(model).layers[2].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken"), hooked(model, shadow):
        model(input_ids=text(5))
    broken.remove()
    assert [step.layer_idx for step in shadow.stats.decoder_steps] == [0, 1]
    assert [step.whole for step in shadow.stats.passes] == [None]
    assert aggregate(shadow.stats).not_hooked is None


def test_a_model_is_hooked_once_at_a_time(model: Any) -> None:
    shadow = shadow_of()
    with hooked(model, shadow):
        with pytest.raises(ModelMeterError, match="hooked already"), hooked(hook_points(model), shadow_of()):
            pass
        model(input_ids=text(4))
    assert len(shadow.stats.decoder_steps) == LAYERS
    with hooked(model, shadow):  # again, and into the same stats
        model(input_ids=text(4))
    assert len(shadow.stats.decoder_steps) == 2 * LAYERS


def test_without_a_stage_it_is_unknown(model: Any) -> None:
    shadow = shadow_of()
    with hooked(model, shadow):
        model(**page_inputs(1))
    assert {step.stage for step in (*shadow.stats.decoder_steps, *shadow.stats.vision_steps)} == {"unknown"}


def test_documents_and_pages(model: Any) -> None:
    shadow = shadow_of()
    with hooked(model, shadow):
        shadow.start_document("a.pdf")
        for page in (1, 2):
            shadow.start_page(page, views=VIEWS)
            model(**page_inputs(1))
        shadow.start_document("b.pdf")
        model(input_ids=text(4))
    places = [(step.document, step.page) for step in shadow.stats.decoder_steps if step.layer_idx == 0]
    assert places == [("a.pdf", 1), ("a.pdf", 2), ("b.pdf", None)]
    assert [(step.document, step.page, step.image_tokens) for step in shadow.stats.passes] == [
        ("a.pdf", 1, VIEWS.image_tokens),
        ("a.pdf", 2, VIEWS.image_tokens),
        ("b.pdf", None, 0),
    ]
    assert set(aggregate(shadow.stats).by_document) == {"a.pdf", "b.pdf"}


def test_a_prefill_in_chunks(model: Any) -> None:
    """Each chunk, and the tokens after it, as the stateful model's `extend_prefill` and `decode_one_token` say."""
    shadow, cache = shadow_of(), DynamicCache(config=model.config.text_config)
    counter = FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS)
    with torch.no_grad(), hooked(model, shadow), counter:
        for chunk in (6, 5, 3):
            with analytic_stage("prefill"):
                model(input_ids=text(chunk, 2), past_key_values=cache, logits_to_keep=1)
        for _ in range(2):
            with analytic_stage("decode"):
                model(input_ids=text(1, 2), past_key_values=cache, logits_to_keep=1)
    static = DeepseekOCRModel.from_config(SMALL, implementation="transformers", logits="last")
    static.start_prefill(6, 2)
    wanted = [static.trace().by_layer()]
    for chunk in (5, 3):
        static.extend_prefill(chunk)
        wanted.append(static.trace().by_layer())
    static.start_decode()
    for _ in range(2):
        wanted.append(static.trace().by_layer())
        static.decode_one_token()
    firsts = [step for step in shadow.stats.decoder_steps if step.layer_idx == 0]
    assert [(s.stage, s.step, s.token_count, s.kv_len) for s in firsts] == [
        ("prefill", 0, 6, 6),
        ("prefill", 1, 5, 11),
        ("prefill", 2, 3, 14),
        ("decode", 0, 1, 15),
        ("decode", 1, 1, 16),
    ]
    for place, step in enumerate(shadow.stats.decoder_steps):
        assert step.cost.cost == wanted[place // LAYERS][f"model.layers.{step.layer_idx}"]
    assert [step.whole.cost for step in shadow.stats.passes if step.whole] == [layers[""] for layers in wanted]
    sums = aggregate(shadow.stats)
    assert sums.whole is not None
    assert sums.whole.counted_flops == counter.get_total_flops()
    (seen,) = sums.observed
    assert (seen.context_len, seen.decode_tokens, seen.image_tokens) == (14, 2, 0)


def test_without_a_cache_nothing_is_written_to_one(model: Any) -> None:
    """The same products as with a cache; keys and values are made, and no copy of them is kept."""
    shadow, cached = shadow_of(), shadow_of()
    with torch.no_grad(), hooked(model, shadow):
        model(input_ids=text(7), use_cache=False)
    with torch.no_grad(), hooked(model, cached):
        model(input_ids=text(7), use_cache=True)
    for step, other in zip(shadow.stats.decoder_steps, cached.stats.decoder_steps, strict=True):
        assert (step.token_count, step.kv_len) == (7, 7)
        assert (step.kv_cache_bytes, step.kv_read_bytes, step.kv_write_bytes) == (0, 0, 0)
        assert (step.flops, step.counted_flops, step.weight_bytes) == (
            other.flops,
            other.counted_flops,
            other.weight_bytes,
        )
        assert other.kv_cache_bytes > 0
    assert [step.whole for step in shadow.stats.passes] == [None]


def test_vision_in_a_stage_of_its_own(model: Any) -> None:
    """Its whole is `start_vision`'s; the prefill's is the rest of the page's prefill."""
    shadow, inputs = shadow_of(), page_inputs(1)
    shadow.set_views(VIEWS)
    images = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad(), hooked(model, shadow):
        with analytic_stage("vision"):
            features = model.model.get_image_features(**images, return_dict=True)
        with analytic_stage("prefill"):
            model(**given, mm_encoder_outputs={"image": features}, logits_to_keep=1)
    static = DeepseekOCRModel.from_config(SMALL, implementation="transformers", logits="last")
    static.set_views(VIEWS)
    static.start_vision(1)
    vision = static.cost()
    static.start_prefill(CONTEXT, 1)
    first, second = shadow.stats.passes
    assert (first.stage, second.stage) == ("vision", "prefill")
    assert (first.whole, second.whole) != (None, None)
    assert first.whole is not None
    assert first.whole.cost == vision
    assert second.whole is not None
    assert second.whole.cost + vision == static.cost()
    assert sum((step.cost.cost for step in shadow.stats.vision_steps), Cost()) == first.hooked


def test_tiles_whose_grid_nobody_said(model: Any) -> None:
    """All that is hooked is known; the whole is not, as newlines are counted by row."""
    shadow = shadow_of()
    with torch.no_grad(), hooked(model, shadow):
        model(**page_inputs(1))
    (seen,) = shadow.stats.passes
    assert (seen.whole, seen.image_tokens) == (None, None)
    assert len(shadow.stats.vision_steps) == 2 * 3


def test_a_flush_that_fails_records_nothing() -> None:
    """The device says too late what it cannot: what was seen is recorded once, by the next flush."""

    class Hit:
        works = False

        def __int__(self) -> int:
            if not self.works:
                raise RuntimeError("the device is lost")
            return 3

    shadow, hit = shadow_of(), Hit()
    shadow.saw_layer(0, (1, 4, SMALL.decoder.hidden_size), None)
    shadow.saw_layer(1, (1, 4, SMALL.decoder.hidden_size), None, hit)
    with pytest.raises(RuntimeError, match="lost"):
        shadow.flush()
    assert shadow.stats.decoder_steps == []
    hit.works = True
    assert [step.experts_hit for step in shadow.flush().decoder_steps] == [None, 3]


def test_flushing_twice_records_once(model: Any) -> None:
    shadow = shadow_of()
    with torch.no_grad(), hooked(model, shadow):
        model(input_ids=text(5))
        assert len(shadow.flush().decoder_steps) == LAYERS
        assert len(shadow.flush().decoder_steps) == LAYERS
