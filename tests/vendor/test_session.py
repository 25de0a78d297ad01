"""A session with the vendor's own code and random weights: exact FLOPs, its own logits, its own page-by-page vision."""

import shutil
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from modelmeter import DeepseekOCRModel, ModelMeterError, ViewPlan
from modelmeter.live import FLOP_FORMULAS
from modelmeter.live.session.session import DeepSeekOCRSession

TILED = ViewPlan.from_grid((2, 3), base_size=384, tile_size=256)
ONE_VIEW = ViewPlan.from_grid((1, 1), base_size=384)
CONTEXT = TILED.image_tokens + 10
QUICK: dict[str, Any] = {"warm_up": 0, "repeats": 1}
A_TOKEN = 2 * 3 * 32 * 2  # keys and values, layers, hidden size, bf16


@pytest.fixture(scope="module", params=["eager", "flash"])
def session(request: pytest.FixtureRequest, small_weights: Path) -> DeepSeekOCRSession:
    """The small stand-in on the CPU."""
    return DeepSeekOCRSession.from_local(small_weights, attention=request.param, trust_remote_code=True)


def counted(call: Any) -> int:
    """FLOPs of a call with the mappings for kernels that torch counts as nothing."""
    with FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS) as counter:
        call()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("views", [None, ONE_VIEW, TILED], ids=["text", "page", "tiles"])
def test_every_pass_counts_as_the_twin_says(session: DeepSeekOCRSession, views: Any, batch: int) -> None:
    """Pages one after another have as many FLOPs as pages at once."""
    inputs = session.synthetic_inputs(CONTEXT, views=views, batch_size=batch)
    twin = DeepseekOCRModel.from_config(session.config, **attrs.asdict(session.conventions))
    twin.set_views(views)
    twin.start_prefill(CONTEXT, batch)
    with session.start(inputs, **QUICK) as run:
        assert counted(run.prefill) == twin.cost().counted_flops > 0
        twin.start_decode()
        for _ in range(3):
            assert counted(run.decode_step) == twin.cost().counted_flops > 0
            twin.decode_one_token()


@pytest.mark.parametrize("views", [None, TILED], ids=["text", "tiles"])
def test_ids_are_those_of_a_plain_loop(session: DeepSeekOCRSession, views: Any) -> None:
    """The whole sequence anew for every token, without a cache."""
    inputs = session.synthetic_inputs(CONTEXT, views=views, seed=2)
    result = session.run(inputs, 4, **QUICK)
    placed, model = session.body.place(inputs), session.model
    ids = placed.ids
    with session.body.running():
        for _ in range(4):
            images = dict(placed.images)
            if views is not None:
                more = torch.zeros(1, ids.shape[1] - CONTEXT, dtype=torch.bool)
                images["images_seq_mask"] = torch.cat((placed.images["images_seq_mask"], more), dim=1)
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **images).logits
            assert logits.dtype is torch.float32
            ids = torch.cat((ids, logits[:, -1].argmax(-1, keepdim=True)), dim=1)
    assert result.generated_ids == (tuple(ids[0, CONTEXT:].tolist()),)
    assert result.kv_cache_bytes == (CONTEXT + 3) * A_TOKEN


def test_pages_of_a_batch_are_told_apart(session: DeepSeekOCRSession) -> None:
    """Two different pages in one batch give what each gives alone; so do their prompts."""
    both = session.synthetic_inputs(CONTEXT, views=TILED, batch_size=2, seed=5)
    assert both.images is not None and both.images.tiles is not None
    assert not torch.equal(both.images.page[0], both.images.page[1])
    placed, body = session.body.place(both), session.body
    with body.running():
        together = body.prefill(placed, body.new_cache())
        for row in range(2):
            images = {name: values[row : row + 1] for name, values in placed.images.items()}
            one = attrs.evolve(placed, ids=placed.ids[row : row + 1], images=images)
            alone = body.prefill(one, body.new_cache())[0]
            torch.testing.assert_close(together[row], alone, rtol=0.05, atol=0.05)


def test_vision_parts_and_hooks(session: DeepSeekOCRSession) -> None:
    """Each page's tiles before its global view, by the shadow's own record."""
    result = session.run(
        session.synthetic_inputs(CONTEXT, views=TILED, batch_size=2), 3, warm_up=1, repeats=2, hooks=True
    )
    assert list(result.parts) == ["sam", "clip", "projector"] and result.vision is not None
    assert result.stats is not None and result.prefill is not None
    seen = [(step.module, step.shape[0]) for step in result.stats.vision_steps if step.module == "sam_model"]
    assert seen == [("sam_model", 6), ("sam_model", 1)] * 2
    assert [step.kv_len for step in result.stats.decoder_steps[:: len(session.points.layers)]] == [
        CONTEXT,
        CONTEXT + 1,
        CONTEXT + 2,
    ]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in session.model.modules())


def test_nothing_is_printed(session: DeepSeekOCRSession, capsys: pytest.CaptureFixture[str]) -> None:
    """But what a caller prints between passes is."""
    with session.start(session.synthetic_inputs(CONTEXT, views=TILED), warm_up=0, repeats=2) as run:
        run.prefill(lambda done, of: print(done, of))
        run.decode_step()
    assert capsys.readouterr().out == "1 2\n2 2\n"


def test_what_it_says_of_itself(session: DeepSeekOCRSession, small_weights: Path) -> None:
    assert session.conventions.implementation == "vendor" and session.conventions.logits == "all"
    assert session.points.implementation == "vendor" and session.body.image_token == 127  # a vocabulary of 128
    assert "DeepseekOCRForCausalLM" in session.name and small_weights.name in session.name
    assert {parameter.dtype for parameter in session.model.parameters()} == {torch.bfloat16}


def test_float16(small_weights: Path) -> None:
    session = DeepSeekOCRSession.from_local(small_weights, dtype="float16", trust_remote_code=True)
    assert {parameter.dtype for parameter in session.model.parameters()} == {torch.float16}
    assert session.run(session.synthetic_inputs(CONTEXT, views=TILED), 2, **QUICK).generated_tokens == 2


def test_folders_that_cannot_be_run(small_weights: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match="--trust-remote-code"):
        DeepSeekOCRSession.from_local(small_weights)
    with pytest.raises(ModelMeterError, match="has no weights"):
        DeepSeekOCRSession.from_local(small_checkpoint, trust_remote_code=True)
    with pytest.raises(ModelMeterError, match="experts is a choice of transformers 5"):
        DeepSeekOCRSession.from_local(small_weights, experts="eager", trust_remote_code=True)
    folder = Path(shutil.copytree(small_weights, tmp_path / "model"))
    tensors = {name: x.clone() for name, x in load_file(folder / "model.safetensors").items()}
    head = tensors.pop("lm_head.weight")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelMeterError, match=r"lack 1 of the model's, lm_head\.weight first"):
        DeepSeekOCRSession.from_local(folder, trust_remote_code=True)
    save_file(tensors | {"lm_head.weight": head[:64].clone()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelMeterError, match=r"lm_head\.weight first \(\[64, 32\], not \[128, 32\]\)"):
        DeepSeekOCRSession.from_local(folder, trust_remote_code=True)


def test_random_weights_need_another_transformers() -> None:
    with pytest.raises(ModelMeterError, match=r"random weights needs transformers 5\.23 or newer, not 4\.46"):
        DeepSeekOCRSession.from_config()


@pytest.mark.parametrize("name", ["page", "tiles"])
def test_pixels_that_add_up_to_nothing(session: DeepSeekOCRSession, name: str) -> None:
    """Half black, half white: the vendor's code takes it for no picture."""
    inputs = session.synthetic_inputs(CONTEXT, views=TILED)
    assert inputs.images is not None
    views = torch.ones_like(getattr(inputs.images, name))
    views[..., : views.shape[-1] // 2] = -1
    half = attrs.evolve(inputs, images=attrs.evolve(inputs.images, **{name: views}))
    with pytest.raises(ModelMeterError, match="pixels add up to 0"):
        session.start(half)
