"""The adapter of the vendor's checkpoint folder: what it refuses, what it runs, and that it leaves no trace."""

import json
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.llama import modeling_llama

from modelmeter import ModelMeterError, ViewPlan
from modelmeter.live.reference import vendor_load
from modelmeter.live.reference.vendor import VendorCheckpoint
from modelmeter.live.reference.vendor_running import image_tokens_of, one_kernel

VIEWS = ViewPlan.from_grid((2, 3), base_size=384, tile_size=256)
PROMPT = 10


@pytest.fixture
def folder(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage. Its name is its own: by that the code of a folder is imported once a process."""
    return shutil.copytree(small_checkpoint, tmp_path / tmp_path.name)


@pytest.fixture(scope="module")
def small(small_checkpoint: Path) -> VendorCheckpoint:
    """The small sizes without data."""
    return VendorCheckpoint(small_checkpoint, trust_remote_code=True)


@pytest.fixture(scope="module")
def loaded(small_weights: Path) -> VendorCheckpoint:
    """The small sizes with weights."""
    return VendorCheckpoint(small_weights, trust_remote_code=True, device="cpu")


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a JSON file."""
    raw = json.loads(path.read_text())
    edit(raw)
    path.write_text(json.dumps(raw))


# What it refuses ------------------------------------------------------------------------------------------------------


def test_code_runs_with_leave_only(folder: Path, tmp_path: Path) -> None:
    """Not even an import of it, and the message says what leave means."""
    mark = tmp_path / "it-ran"
    for file in folder.glob("*.py"):
        file.write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n{file.read_text()}")
    message = r"would run on this machine with your rights.*Read its \*\.py files.*--trust-remote-code"
    with pytest.raises(ModelMeterError, match=message):
        VendorCheckpoint(folder, trust_remote_code=False)
    assert not mark.exists()
    VendorCheckpoint(folder, trust_remote_code=True)
    assert mark.exists()


def _break_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _drop_auto_map(folder: Path) -> None:
    change(folder / "config.json", lambda raw: raw.pop("auto_map"))


def _half_auto_map(folder: Path) -> None:
    change(folder / "config.json", lambda raw: raw["auto_map"].pop("AutoModel"))


def _code_elsewhere(folder: Path) -> None:
    change(folder / "config.json", lambda raw: raw["auto_map"].update(AutoModel="someone/code--modeling.Model"))


def _unknown_import(folder: Path) -> None:
    file = folder / "deepencoder.py"
    file.write_text(f"import a_package_of_nobody\n{file.read_text()}")


def _other_architecture(folder: Path) -> None:
    change(folder / "config.json", lambda raw: raw.update(architectures=["Llama"]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "is no folder: give the one that a checkpoint lies in"),
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json: give the folder of a whole"),
        (_break_json, r"config\.json is broken JSON \(Expecting.*fetch it again"),
        (_drop_auto_map, "has no auto_map with AutoConfig and AutoModel"),
        (_half_auto_map, "has no auto_map with AutoConfig and AutoModel"),
        (lambda folder: (folder / "modeling_deepseekocr.py").unlink(), r"lacks modeling_deepseekocr\.py, which its"),
        (_code_elsewhere, r"names code elsewhere \(someone/code--modeling\.Model\)"),
        (_unknown_import, "imports what is not installed: .*a_package_of_nobody"),
        (_other_architecture, "Llama"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"), "weights .* cannot be read"),
        (lambda folder: (folder / "some.safetensors").write_bytes(b""), r"cannot be read .*download them again"),
    ],
    ids=lambda value: value.__name__.strip("_<>") if callable(value) else "",
)
def test_a_folder_that_cannot_be_run(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(ModelMeterError, match=message) as caught:
        VendorCheckpoint(folder, trust_remote_code=True)
    assert torch.get_default_dtype() is torch.float32
    assert str(folder) in str(caught.value)


def test_weights_that_are_incomplete(small_weights: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(small_weights, tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.gate.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelMeterError, match=r"lack 1 of the model's, model\.layers\.1\.mlp\.gate\.weight first"):
        VendorCheckpoint(folder, trust_remote_code=True)


@pytest.mark.parametrize("installed", ["4.45.2", "5.23.0", None])
def test_another_transformers(small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, installed: str | None) -> None:
    def version(name: str) -> str:
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(vendor_load, "version", version)
    message = rf"needs transformers 4\.46, {installed or 'none'} is installed: pip install transformers==4\.46\.3"
    with pytest.raises(ModelMeterError, match=message):
        VendorCheckpoint(small_checkpoint, trust_remote_code=True)


@pytest.mark.parametrize("device", ["meta", "cuda", "quantum"])
def test_a_device_that_is_not_here(small_weights: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelMeterError, match=f"device '{device}' is not here: choose cpu"):
        VendorCheckpoint(small_weights, trust_remote_code=True, device=device)


def test_several_pages_at_once(small: VendorCheckpoint) -> None:
    for call in (lambda: small.vision(VIEWS, 2), lambda: small.page(VIEWS, 200, 2)):
        with pytest.raises(ModelMeterError, match=r"encodes page by page.*verify vision and page at batch 1"):
            call()


def test_a_forward_without_images_has_no_image_tokens() -> None:
    with pytest.raises(RuntimeError, match="did not put image tokens"):
        image_tokens_of(lambda: None, 1)


# What it is -----------------------------------------------------------------------------------------------------------


def test_names(small: VendorCheckpoint, loaded: VendorCheckpoint, small_checkpoint: Path) -> None:
    assert small.name == "transformers 4.46.3 DeepseekOCRForCausalLM (eager) without data"
    assert loaded.name == "transformers 4.46.3 DeepseekOCRForCausalLM (eager) on cpu"
    flash = VendorCheckpoint(small_checkpoint, trust_remote_code=True, attention="flash")
    assert "(flash)" in flash.name
    assert (flash.conventions.implementation, flash.conventions.attention) == ("vendor", "flash")
    assert type(flash.model.model.layers[0].self_attn).__name__ == "LlamaFlashAttention2"


def test_weights_are_read_in_bf16(loaded: VendorCheckpoint, small_weights: Path) -> None:
    from safetensors.torch import load_file

    assert {(p.dtype, p.device.type) for p in loaded.model.parameters()} == {(torch.bfloat16, "cpu")}
    weights = load_file(small_weights / "model.safetensors")
    assert torch.equal(loaded.model.lm_head.weight, weights["lm_head.weight"])


@pytest.mark.parametrize(
    ("real", "listed"),
    [
        ("", ""),
        ("model.layers.1.mlp", "model.layers.1.mlp"),
        ("model.layers.1.mlp.experts", "model.layers.1.mlp.experts"),
        ("model.layers.1.mlp.experts.17", "model.layers.1.mlp"),  # the routing around them is the mixture's
        ("model.layers.1.mlp.experts.17.gate_proj", "model.layers.1.mlp.experts.gate_proj"),
        ("model.layers.1.mlp.shared_experts.gate_proj", "model.layers.1.mlp.shared_experts.gate_proj"),
    ],
)
def test_paths(small: VendorCheckpoint, real: str, listed: str) -> None:
    assert small.rename(real) == listed


# What it runs ---------------------------------------------------------------------------------------------------------


def run(adapter: VendorCheckpoint, call: Any) -> Any:
    """The result of a call."""
    with adapter.running(), torch.no_grad():
        return call.run()


def test_vision_is_the_image_tokens_that_the_decoder_gets(loaded: VendorCheckpoint) -> None:
    seen: list[torch.Tensor] = []
    hook = loaded.model.model.layers[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    run(loaded, loaded.page(VIEWS, VIEWS.image_tokens + PROMPT, 1))
    hook.remove()
    tokens = run(loaded, loaded.vision(VIEWS, 1))
    assert tokens.shape == (VIEWS.image_tokens, 32)
    assert torch.equal(tokens, seen[0][0, : VIEWS.image_tokens])


@pytest.mark.parametrize("views", [VIEWS, ViewPlan.from_grid((1, 1), base_size=384, tile_size=256)], ids=str)
def test_the_same_shapes_with_and_without_data(small: VendorCheckpoint, loaded: VendorCheckpoint, views: Any) -> None:
    tokens = views.image_tokens + PROMPT
    for adapter in (small, loaded):
        call = adapter.page(views, tokens, 1)
        logits = run(adapter, call).logits
        assert (logits.shape, logits.dtype) == ((1, tokens, 128), torch.float32)
        keys = call.cache.key_cache
        assert len(keys) == 3 and keys[0].shape == (1, 2, tokens, 16)
        run(adapter, adapter.decode(tokens, 1, call.cache))
        assert call.cache.get_seq_length() == tokens + 1


def test_flash_attention_computes_what_eager_does(loaded: VendorCheckpoint, small_weights: Path) -> None:
    flash = VendorCheckpoint(small_weights, trust_remote_code=True, attention="flash", device="cpu")
    found = []
    for adapter in (loaded, flash):
        call = adapter.page(VIEWS, VIEWS.image_tokens + PROMPT, 1)
        prefill = run(adapter, call).logits
        found.append((prefill, run(adapter, adapter.decode(prefill.shape[1], 1, call.cache)).logits))
    for eager, one in zip(*found, strict=True):
        assert (eager - one).abs().max() < 0.05 * eager.abs().max()  # bf16


@pytest.mark.parametrize(("queries", "keys", "groups"), [(5, 5, 1), (1, 7, 1), (3, 7, 1), (3, 7, 2)])
def test_one_kernel_masks_the_future(queries: int, keys: int, groups: int) -> None:
    """Query i sees keys - queries + i + 1 keys."""
    torch.manual_seed(0)
    q, k, v = torch.randn(2, queries, 2 * groups, 8), torch.randn(2, keys, 2, 8), torch.randn(2, keys, 2, 8)
    future = torch.ones(queries, keys).triu(keys - queries + 1).bool()
    wide_k, wide_v = (x.repeat_interleave(groups, dim=2) for x in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, wide_k) / 8**0.5
    weights = scores.masked_fill(future, -torch.inf).softmax(-1)
    torch.testing.assert_close(one_kernel(q, k, v, None), torch.einsum("bhqk,bkhd->bqhd", weights, wide_v))


def test_every_expert_gets_its_turn(loaded: VendorCheckpoint) -> None:
    called: list[str] = []
    experts = loaded.model.model.layers[1].mlp.experts
    hooks = [expert.register_forward_hook(lambda *_, i=i: called.append(str(i))) for i, expert in enumerate(experts)]
    for batch, reached in ((1, 2), (3, 6), (5, 8)):  # 8 experts, 2 for each token
        called.clear()
        run(loaded, loaded.decode(20, batch))
        assert called == [str(i) for i in range(reached)]
    for hook in hooks:
        hook.remove()


def test_it_leaves_no_trace(loaded: VendorCheckpoint, capsys: pytest.CaptureFixture[str]) -> None:
    block = loaded.model.model.vision_model.transformer.layers[0]
    kernel, verbosity = modeling_llama._flash_attention_forward, modeling_llama.logger.getEffectiveLevel()
    with loaded.running():
        loaded.page(VIEWS, VIEWS.image_tokens + PROMPT, 1).run()
        assert modeling_llama._flash_attention_forward is one_kernel
        assert torch.ones(1).cuda().device.type == "cpu"
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert modeling_llama._flash_attention_forward is kernel
    assert modeling_llama.logger.getEffectiveLevel() == verbosity
    assert "forward" not in vars(block.self_attn)
    assert not loaded.model.model.layers[1].mlp.gate._forward_hooks
