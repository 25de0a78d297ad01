"""How a session gets its model: random weights of a seed, a folder's own, and a clear line for each that cannot be."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import load_file, save_file

from modelmeter import DeepseekOCRConfig, ModelMeterError
from modelmeter.live.session import load
from modelmeter.live.session.load import first_layers
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL

WEIGHTS = "model.safetensors"


def weights(session: DeepSeekOCRSession) -> dict[str, torch.Tensor]:
    """All of them, by name."""
    return dict(session.model.state_dict())


@pytest.fixture(scope="module")
def saved(session: DeepSeekOCRSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's model as transformers saves it."""
    folder = tmp_path_factory.mktemp("saved")
    model: Any = session.model
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Other tensors in the weight file."""
    file = folder / WEIGHTS
    save_file(change({name: tensor.clone() for name, tensor in load_file(file).items()}), file, {"format": "pt"})


def configure(folder: Path, **changes: Any) -> None:
    """Other keys in config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# Random weights


def test_a_seed_gives_the_same_weights(session: DeepSeekOCRSession) -> None:
    before = torch.random.get_rng_state()
    same, other = DeepSeekOCRSession.from_config(SMALL), DeepSeekOCRSession.from_config(SMALL, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(tensor, weights(same)[name]) for name, tensor in weights(session).items())
    different = [name for name, x in weights(session).items() if not torch.equal(x, weights(other)[name])]
    assert {"lm_head.weight", "model.view_separator", "model.language_model.layers.0.mlp.up_proj.weight"} <= {
        *different
    }
    assert all(bool(tensor.isfinite().all()) for tensor in weights(session).values())


def test_what_a_session_says_of_itself(session: DeepSeekOCRSession) -> None:
    assert session.config == SMALL and session.device == torch.device("cpu") and session.dtype is torch.bfloat16
    assert (
        session.name.startswith("a small DeepSeek-OCR: transformers 5") and "random weights of seed 0" in session.name
    )
    assert session.points.implementation == "transformers" and len(session.points.layers) == 4
    assert {parameter.dtype for parameter in session.model.parameters()} == {torch.bfloat16}
    assert not session.model.training


def test_the_first_layers() -> None:
    """The kinds of the layers that stay are theirs."""
    cut = first_layers(DeepseekOCRConfig(), 2)
    assert cut.decoder.mlp_layer_types == ("dense", "sparse") and cut.decoder.num_hidden_layers == 2
    assert cut.name == "deepseek-ai/DeepSeek-OCR, 2 of 12 decoder layers"
    assert first_layers(SMALL, None) == first_layers(SMALL, 4) == SMALL
    with pytest.raises(ModelMeterError, match="layers 5 are more than the model's 4"):
        first_layers(SMALL, 5)
    with pytest.raises(ModelMeterError, match="layers"):
        first_layers(SMALL, 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"attention": "sdpa"}, "attention 'sdpa' is unknown: choose eager or flash"),
        ({"experts": "all"}, "experts 'all' is unknown"),
        ({"dtype": "float32"}, "dtype 'float32' is unknown: choose bfloat16 or float16"),
        ({"device": "cuda:0"}, "device 'cuda:0' is not here: choose cpu"),
        ({"device": "tpu"}, "device 'tpu' is not here"),
        ({"seed": -1}, "seed"),
    ],
)
def test_choices_that_are_not_there(wrong: dict[str, Any], said: str) -> None:
    if "device" in wrong and torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(ModelMeterError, match=said):
        DeepSeekOCRSession.from_config(SMALL, **wrong)


def test_seeds_of_64_bits() -> None:
    with pytest.raises(ModelMeterError, match="seed must be at most"):
        DeepSeekOCRSession.from_config(SMALL, seed=2**64)


def test_a_device_as_torch_has_it() -> None:
    assert load.session_device(torch.device("cpu")) == torch.device("cpu")
    for none in (None, 3, torch.device("meta")):
        with pytest.raises(ModelMeterError, match="is not here: choose"):
            load.session_device(none)  # type: ignore[arg-type]


def test_other_devices_keep_their_random_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.manual_seed` would set that of every CUDA device."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    DeepSeekOCRSession.from_config(SMALL, layers=1)
    assert seeded == []


def test_grouped_heads(session: DeepSeekOCRSession, quick: dict[str, Any]) -> None:
    """transformers' eager attention does not repeat keys and values; torch's kernel takes them as they are."""
    config = attrs.evolve(SMALL, decoder=attrs.evolve(SMALL.decoder, num_key_value_heads=2))
    with pytest.raises(
        ModelMeterError, match="no eager attention of 4 heads on 2 key-value heads: take attention='flash'"
    ):
        DeepSeekOCRSession.from_config(config)
    own = DeepSeekOCRSession.from_config(config, attention="flash")
    result = own.run(own.synthetic_inputs(20, batch_size=2), 3, hooks=True, **quick)
    assert result.kv_cache_bytes == 2 * 22 * 2 * 4 * (2 * 64) * 2  # batch, tokens, k and v, layers, heads x width, bf16
    assert result.stats is not None
    assert sum(step.kv_cache_bytes for step in result.stats.decoder_steps[-4:]) == result.kv_cache_bytes


def test_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert load.session_device("cuda") == torch.device("cuda", 0)
    assert load.session_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ModelMeterError, match="there are 2, cuda:0 to cuda:1"):
        load.session_device("cuda:2")
    with pytest.raises(ModelMeterError, match="is no device"):
        load.session_device("cuda:one")


# A folder


def test_a_folder_runs_as_what_was_saved(session: DeepSeekOCRSession, saved: Path, quick: dict[str, Any]) -> None:
    loaded = DeepSeekOCRSession.from_local(saved)
    assert attrs.evolve(loaded.config, name=SMALL.name) == SMALL
    assert loaded.conventions == session.conventions and loaded.tokenizer is None
    assert all(torch.equal(tensor, weights(loaded)[name]) for name, tensor in weights(session).items())
    one, two = (s.run(s.synthetic_inputs(40), 4, **quick).generated_ids for s in (session, loaded))
    assert one == two
    assert saved.name in loaded.name


def test_choices_reach_every_part(saved: Path) -> None:
    loaded: Any = DeepSeekOCRSession.from_local(saved, attention="flash", experts="grouped_mm", dtype="float16")
    model = loaded.model.model
    assert type(model.vision_tower.sam_encoder.layers[0].attn).__name__ == "UnlimitedOcrSamVisionSdpaAttention"
    for part in (model.language_model, model.vision_tower.vision_encoder):
        assert part.config._attn_implementation == "sdpa"
    assert model.language_model.config._experts_implementation == "grouped_mm"
    assert (loaded.conventions.attention, loaded.conventions.experts) == ("flash", "grouped")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float16}


@pytest.mark.parametrize(
    ("stored", "run"),
    [(torch.float16, torch.float16), (torch.bfloat16, torch.bfloat16), (torch.float32, torch.bfloat16)],
)
def test_the_checkpoints_own_type(folder: Path, stored: torch.dtype, run: torch.dtype) -> None:
    """16-bit floats as they are; fp32, which the analytic model does not price, as bfloat16."""
    rewrite(folder, lambda tensors: {name: tensor.to(stored) for name, tensor in tensors.items()})
    assert DeepSeekOCRSession.from_local(folder).dtype is run


def test_quantised_weights(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors | {"lm_head.weight": tensors["lm_head.weight"].to(torch.int8)})
    with pytest.raises(ModelMeterError, match=r"lm_head\.weight in .* is I8: .* that is not quantised"):
        DeepSeekOCRSession.from_local(folder)


def test_missing_weights(folder: Path) -> None:
    """Named: how many, and the first."""
    gone = ("lm_head.weight", "model.view_seperator", "model.view_separator")
    left = len(load_file(folder / WEIGHTS))
    rewrite(folder, lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in gone})
    assert len(load_file(folder / WEIGHTS)) == left - 2
    with pytest.raises(ModelMeterError, match=r"lack 2 of the model's, lm_head\.weight first: download"):
        DeepSeekOCRSession.from_local(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors | {"lm_head.weight": torch.zeros(512, 128, dtype=torch.bfloat16)})
    with pytest.raises(ModelMeterError, match=r"lm_head\.weight first \(\[512, 128\], not \[512, 256\]\)") as error:
        DeepSeekOCRSession.from_local(folder)
    assert "\n" not in str(error.value)


def test_shards_that_are_not_there(folder: Path) -> None:
    index = {"weight_map": {"a": WEIGHTS, "b": "model-00002.safetensors", "c": "model-00003.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelMeterError, match=r"lacks 2 of the 3 weight files that .*, model-00002\.safetensors first"):
        DeepSeekOCRSession.from_local(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelMeterError, match=r"index\.json cannot be read"):
        DeepSeekOCRSession.from_local(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"12345",
        struct.pack("<Q", 2**62),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"oops",
        struct.pack("<Q", 8) + b'{"a": 1}',
    ],
)
def test_files_that_are_no_weights(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelMeterError, match="is no safetensors file or cut short: download it again"):
        DeepSeekOCRSession.from_local(folder)


def test_a_file_that_is_cut_short(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-1])
    with pytest.raises(ModelMeterError, match="cut short"):
        DeepSeekOCRSession.from_local(folder)


def test_folders_that_are_none(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelMeterError, match=r"has no weights .*--random-weights"):
        DeepSeekOCRSession.from_local(folder)
    with pytest.raises(ModelMeterError, match="is no folder"):
        DeepSeekOCRSession.from_local(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelMeterError, match=r"has no config\.json"):
        DeepSeekOCRSession.from_local(tmp_path / "empty")
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelMeterError, match="broken JSON"):
        DeepSeekOCRSession.from_local(folder)


def test_another_model(folder: Path) -> None:
    configure(folder, model_type="llama")
    with pytest.raises(ModelMeterError, match="of model type 'llama' and brings no code"):
        DeepSeekOCRSession.from_local(folder)


def test_the_vendors_folder_needs_its_transformers() -> None:
    """Here transformers 5 is installed; the stand-in for the vendor's code runs under 4.46."""
    vendor = Path(__file__).parents[2] / "vendor" / "checkpoint"
    with pytest.raises(ModelMeterError, match=r"needs transformers 4\.46, .* is installed: pip install"):
        DeepSeekOCRSession.from_local(vendor, trust_remote_code=True)


def test_trust_changes_nothing_where_no_code_comes(saved: Path) -> None:
    assert DeepSeekOCRSession.from_local(saved, trust_remote_code=True).points.implementation == "transformers"


def test_the_tokenizer_is_looked_at_before_loading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelmeter.live.session import transformers_body

    (folder / "tokenizer.json").write_text("{")
    monkeypatch.setattr(transformers_body, "local_body", lambda *_, **__: pytest.fail("the model was loaded"))
    with pytest.raises(ModelMeterError, match="the tokenizer in"):
        DeepSeekOCRSession.from_local(folder)


def test_the_room_is_looked_at_before_loading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelmeter.live.session import memory, transformers_body

    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**20)
    monkeypatch.setattr(transformers_body, "local_body", lambda *args, **kwargs: pytest.fail("it was loaded"))
    with pytest.raises(memory.NotEnoughMemory, match="too little memory on cpu"):
        DeepSeekOCRSession.from_local(folder)
