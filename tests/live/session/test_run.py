"""Runs: what comes out is what transformers' own `generate` gives; lengths, caches, stops, hooks, interruptions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from modelmeter import ModelMeterError
from modelmeter.live.session.run import BadLogits, Run
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.shadow.stage import current_stage
from modelmeter.live.verification.real_run import SMALL
from modelmeter.live.verification.verify import held_bytes

from .conftest import ONE_VIEW, TILED

A_TOKEN = 2 * 4 * 256 * 2  # keys and values, layers, hidden size, bf16


def hooks_of(session: DeepSeekOCRSession) -> int:
    """Hooks on any module of the model."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in session.model.modules())


@pytest.mark.parametrize("views", [None, TILED], ids=["text", "tiles"])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_ids_are_those_of_generate(session: DeepSeekOCRSession, views: Any, batch: int) -> None:
    inputs = session.synthetic_inputs(50, views=views, batch_size=batch, seed=3)
    result = session.run(inputs, 6, warm_up=1, repeats=2)
    placed = session.body.place(inputs)
    model: Any = session.model
    theirs = model.generate(
        input_ids=placed.ids,
        attention_mask=torch.ones_like(placed.ids),
        max_new_tokens=6,
        min_new_tokens=6,
        do_sample=False,
        pad_token_id=0,
        **placed.images,
    )
    assert [list(ids) for ids in result.generated_ids] == theirs[:, 50:].tolist()


def test_what_a_result_says(session: DeepSeekOCRSession) -> None:
    inputs = session.synthetic_inputs(50, views=TILED, batch_size=2)
    result = session.run(inputs, 4, warm_up=0, repeats=2)
    image_tokens = (2 * 2 + 1) * (1 * 2) + 4 * 5 + 1  # 128 px: 2 features a side, 256 px: 4
    assert (result.batch_size, result.context_len, result.image_tokens) == (2, 50, image_tokens)
    assert result.prompt_tokens == 50 - image_tokens
    assert result.generated_tokens == 4 and all(len(ids) == 4 for ids in result.generated_ids)
    assert result.kv_cache_bytes == 2 * (50 + 3) * A_TOKEN  # the last token is not cached
    assert result.decode is not None and result.prefill is not None and result.vision is not None
    assert (result.prefill.repeats, result.decode.repeats, len(result.decode_steps)) == (2, 3, 3)
    assert (result.warm_up, result.repeats, result.complete, result.stop_reason) == (0, 2, True, "length")
    assert list(result.parts) == ["sam", "clip", "projector"]
    assert result.text is None and result.stats is None
    assert 0 < sum(part.low for part in result.parts.values()) < result.vision.high < result.prefill.high


def test_text_has_no_vision(session: DeepSeekOCRSession, quick: dict[str, Any]) -> None:
    result = session.run(session.synthetic_inputs(7), 1, **quick)
    assert result.vision is None and result.parts == {} and result.decode is None and result.views is None
    assert result.kv_cache_bytes == 7 * A_TOKEN


def test_the_cache_that_decode_continues(session: DeepSeekOCRSession) -> None:
    with session.start(session.synthetic_inputs(9), warm_up=2, repeats=2) as run:
        assert run.cache is None
        run.prefill()
        assert held_bytes(run.cache) == 9 * A_TOKEN
        run.decode_step()
        assert held_bytes(run.cache) == 10 * A_TOKEN


def test_passes_are_told_and_counted(session: DeepSeekOCRSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """One warm-up is a prefill and a decode step, whose cache is not kept."""
    seen: list[str] = []
    kind = type(session.body)
    prefill, decode = kind.prefill, kind.decode

    def watched(self: Any, *args: Any) -> torch.Tensor:
        seen.append(current_stage())
        return (prefill if len(args) == 2 else decode)(self, *args)

    monkeypatch.setattr(kind, "prefill", watched)
    monkeypatch.setattr(kind, "decode", watched)
    told: list[tuple[int, int]] = []
    with session.start(session.synthetic_inputs(9), warm_up=1, repeats=2) as run:
        run.prefill(lambda done, of: told.append((done, of)))
        run.decode_step()
    assert seen == ["prefill", "decode", "prefill", "prefill", "decode"]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert current_stage() == "unknown"


def test_a_run_stops_when_every_sequence_has(session: DeepSeekOCRSession, quick: dict[str, Any]) -> None:
    inputs = session.synthetic_inputs(30, batch_size=2, seed=1)
    free = session.run(inputs, 8, **quick).generated_ids
    first, second = free[0][1], free[1][3]
    result = session.run(inputs, 8, stop=(first, second), **quick)
    ends = [min(ids.index(token) for token in (first, second) if token in ids) for ids in free]
    assert result.generated_ids == tuple(ids[: end + 1] for ids, end in zip(free, ends, strict=True))
    assert result.stop_reason == "stop" and result.complete
    assert len(result.decode_steps) == max(ends)
    never = next(token for token in range(512) if not any(token in ids for ids in free))
    assert session.run(inputs, 8, stop=(never,), **quick).stop_reason == "length"


@pytest.mark.parametrize("stop", [5, None, "7", [None], [1.5], [-1], [True]])
def test_what_is_no_token_to_stop_at(session: DeepSeekOCRSession, quick: dict[str, Any], stop: Any) -> None:
    with pytest.raises(ModelMeterError, match="stop must be"):
        session.run(session.synthetic_inputs(5), 2, stop=stop, **quick)


def test_experts_are_observed_by_a_shadow(session: DeepSeekOCRSession) -> None:
    with pytest.raises(ModelMeterError, match="observe_experts goes with a shadow"):
        session.start(session.synthetic_inputs(5), observe_experts=True)


def test_inputs_of_another_model(session: DeepSeekOCRSession, quick: dict[str, Any]) -> None:
    inputs = session.synthetic_inputs(40, views=TILED)
    assert inputs.images is not None
    half = attrs.evolve(inputs, images=attrs.evolve(inputs.images, page=inputs.images.page.half()))
    with pytest.raises(ModelMeterError, match=r"pixels are torch\.float16, the model computes in torch\.bfloat16"):
        session.run(half, 2, **quick)
    with pytest.raises(ModelMeterError, match="token id 512, the model has 512"):
        session.run(attrs.evolve(inputs, ids=inputs.ids.clamp(max=510) + 2), 2, **quick)


def test_positions_end(session: DeepSeekOCRSession, quick: dict[str, Any]) -> None:
    most = SMALL.decoder.max_position_embeddings
    with pytest.raises(ModelMeterError, match=f"{most + 1} tokens are more than the model's {most} positions"):
        session.start(session.synthetic_inputs(most + 1))
    with pytest.raises(ModelMeterError, match="fewer new tokens"):
        session.run(session.synthetic_inputs(10), most)


def test_the_order_of_calls(session: DeepSeekOCRSession, quick: dict[str, Any]) -> None:
    run = session.start(session.synthetic_inputs(5), **quick)
    with pytest.raises(ModelMeterError, match=r"call prefill\(\) first"):
        run.decode_step()
    run.prefill()
    with pytest.raises(ModelMeterError, match="begin another"):
        run.prefill()
    run.result()
    with pytest.raises(ModelMeterError, match="begin another run"):
        run.decode_step()
    unused = session.start(session.synthetic_inputs(5), **quick)
    with pytest.raises(ModelMeterError, match="needs a prefill"):
        unused.result()


def test_hooks_watch_the_last_prefill_and_every_step(session: DeepSeekOCRSession) -> None:
    inputs = session.synthetic_inputs(40, views=TILED)
    result = session.run(inputs, 3, warm_up=1, repeats=2, hooks=True)
    assert result.stats is not None
    lengths = [(step.stage, step.token_count, step.kv_len) for step in result.stats.decoder_steps]
    layers = SMALL.decoder.num_hidden_layers
    assert lengths == [("prefill", 40, 40)] * layers + [("decode", 1, 41)] * layers + [("decode", 1, 42)] * layers
    assert [step.module for step in result.stats.vision_steps] == ["sam_model", "vision_model", "projector"] * 2
    assert hooks_of(session) == 0


def go(run: Run, steps: int) -> None:
    """The whole run."""
    run.prefill()
    for _ in range(steps):
        run.decode_step()


@contextmanager
def interrupted(session: DeepSeekOCRSession, at: int) -> Iterator[None]:
    """Ctrl-C while decoder layer 2 runs for the `at`-th time."""
    calls = iter(range(1, 1000))

    def hook(*_: Any) -> None:
        if next(calls) == at:
            raise KeyboardInterrupt

    handle = session.points.layers[2].register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize(("at", "prefills", "tokens"), [(1, 0, 0), (2, 1, 1), (3, 2, 1), (4, 2, 2)])
def test_an_interruption_keeps_what_was_finished(
    session: DeepSeekOCRSession, at: int, prefills: int, tokens: int
) -> None:
    """In the first or second of two prefills, in the first or second decode step."""
    whole = session.run(session.synthetic_inputs(20), 3, warm_up=0, repeats=1)
    run = session.start(session.synthetic_inputs(20), shadow=session.shadow(), warm_up=0, repeats=2)
    with interrupted(session, at), pytest.raises(KeyboardInterrupt):
        go(run, 2)
    assert hooks_of(session) == 0
    with pytest.raises(ModelMeterError):
        run.decode_step()
    result = run.result(complete=False)
    assert (result.repeats, result.complete, result.stop_reason) == (prefills, False, "interrupted")
    assert result.generated_ids == (whole.generated_ids[0][:tokens],)
    assert len(result.decode_steps) == max(0, tokens - 1)
    assert (result.prefill is None) == (prefills == 0)
    assert result.kv_cache_bytes == (20 + max(0, tokens - 1)) * A_TOKEN * (prefills > 0)


@pytest.mark.parametrize(("value", "at"), [(float("nan"), 1), (float("inf"), 1), (float("nan"), 2)])
def test_logits_that_are_no_numbers(session: DeepSeekOCRSession, quick: dict[str, Any], value: float, at: int) -> None:
    calls = iter(range(1, 100))

    def spoil(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return output.index_fill(-1, torch.tensor([7]), value) if next(calls) == at else output

    model: Any = session.model
    handle = model.lm_head.register_forward_hook(spoil)
    where = "prefill" if at == 1 else "decode step 0"
    try:
        with session.start(session.synthetic_inputs(5), **quick) as run:
            with pytest.raises(BadLogits, match=f"logits of the {where} are no numbers.*bfloat16: check the weights"):
                go(run, 1)
            assert run.result(complete=False).generated_tokens == at - 1
            if at > 1:  # an error in a pass is no end, whoever asks
                result = run.result()
                assert (result.complete, result.stop_reason) == (False, "interrupted")
    finally:
        handle.remove()


def test_asking_twice_and_running_twice(session: DeepSeekOCRSession, quick: dict[str, Any]) -> None:
    inputs = session.synthetic_inputs(12, views=None)
    with session.start(inputs, **quick) as run:
        run.prefill()
        assert run.result() == run.result()
    assert session.run(inputs, 5, **quick).generated_ids == session.run(inputs, 5, **quick).generated_ids


def test_the_peak_is_that_of_the_run(session: DeepSeekOCRSession, quick: dict[str, Any]) -> None:
    """On Linux the process's resident set: at least the model's weights, and no more than the process ever had."""
    weights = sum(p.numel() * p.element_size() for p in session.model.parameters())
    peak = session.run(session.synthetic_inputs(30, views=ONE_VIEW), 2, **quick).peak_memory_bytes
    status = Path("/proc/self/status")
    if not status.exists() or peak is None:
        pytest.skip("no resident set to read here")
    ever = int(dict(line.split(":", 1) for line in status.read_text().splitlines())["VmHWM"].split()[0]) * 1024
    assert weights < peak <= ever
