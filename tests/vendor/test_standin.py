"""The stand-in itself: it has the released checkpoint's sizes and names, and it computes what such a model computes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

# One page of 2 x 3 tiles (columns x rows) of 256 px and a global view of 384 px: 4 x 4 and 6 x 6 features, a newline
# after each row, a separator.
TILES, PAGE, GRID = (6, 3, 256, 256), (1, 3, 384, 384), (2, 3)
TILE_TOKENS = (2 * 4 + 1) * (3 * 4)
PAGE_TOKENS = (6 + 1) * 6 + 1
PROMPT_TEXT = 10  # BOS before the image, nine tokens after it

Inputs = dict[str, Any]


@pytest.fixture(scope="module")
def released(checkpoint: Path, build: Callable[..., Any]) -> Any:
    """The released sizes on meta."""
    return build(checkpoint)


@pytest.fixture(scope="module")
def small(small_checkpoint: Path, build: Callable[..., Any]) -> Any:
    """The small sizes on the CPU in fp32, with weights large enough to matter."""
    torch.manual_seed(0)
    model = build(small_checkpoint, "cpu", torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    return model


@pytest.fixture
def _cuda_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remote code calls `.cuda()` on the mask; without CUDA that raises."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch.Tensor, "cuda", lambda self, *args, **kwargs: self)


def prompt(*, tiles: bool, seed: int = 1) -> Inputs:
    """A page's inputs as the vendor's `infer` makes them; without tiles their place is taken by zeros."""
    generator = torch.Generator().manual_seed(seed)
    image_tokens = PAGE_TOKENS + TILE_TOKENS * tiles
    patches = torch.randn(TILES, generator=generator) if tiles else torch.zeros(PAGE)
    mask = torch.zeros(1, PROMPT_TEXT + image_tokens, dtype=torch.bool)
    mask[:, 1 : 1 + image_tokens] = True
    ids = torch.randint(2, 128, mask.shape, generator=generator)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "images": [(patches, torch.randn(PAGE, generator=generator))],
        "images_seq_mask": mask,
        "images_spatial_crop": torch.tensor([GRID if tiles else (1, 1)]),
    }


def longer(inputs: Inputs, ids: torch.Tensor) -> Inputs:
    """The same page before more tokens."""
    more = torch.zeros(1, ids.shape[1] - inputs["input_ids"].shape[1], dtype=torch.bool)
    mask = torch.cat([inputs["images_seq_mask"], more], dim=1)
    return inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids), "images_seq_mask": mask}


def generate(model: Any, inputs: Inputs) -> torch.Tensor:
    """A prefill and three decode steps: four greedy tokens."""
    return model.generate(**inputs, do_sample=False, max_new_tokens=4, min_new_tokens=4, pad_token_id=0)


@pytest.mark.parametrize(
    ("part", "count"),
    [
        ("", 3_336_106_240),
        ("model.sam_model", 95_569_152),
        ("model.vision_model", 303_177_728),
        ("model.vision_model.embeddings.patch_embedding", 602_112),  # has weights, is never run
        ("model.projector", 2_622_720),
        ("model.embed_tokens", 165_478_400),
        ("model.layers.0", 32_852_480),
        *[(f"model.layers.{i}", 233_720_320) for i in range(1, 12)],
        ("model.norm", 1_280),
        ("lm_head", 165_478_400),
    ],
)
def test_released_parameters(released: Any, part: str, count: int) -> None:
    assert sum(parameter.numel() for parameter in released.get_submodule(part).parameters()) == count


def test_released_parameters_outside_modules(released: Any) -> None:
    assert released.model.image_newline.shape == released.model.view_seperator.shape == (1280,)
    assert {(p.dtype, p.device.type) for p in released.parameters()} == {(torch.bfloat16, "meta")}
    # what a checkpoint of the released size does not list: buffers
    assert [name for name, _ in released.named_buffers() if "rotary" not in name] == [
        "model.vision_model.embeddings.position_ids"
    ]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("", "DeepseekOCRForCausalLM"),
        ("model", "DeepseekOCRModel"),
        ("model.sam_model", "ImageEncoderViT"),
        ("model.sam_model.patch_embed.proj", "Conv2d"),
        ("model.sam_model.blocks.11", "Block"),
        ("model.sam_model.blocks.11.norm1", "LayerNorm"),
        ("model.sam_model.blocks.11.attn", "Attention"),
        ("model.sam_model.blocks.11.attn.qkv", "Linear"),
        ("model.sam_model.blocks.11.attn.proj", "Linear"),
        ("model.sam_model.blocks.11.norm2", "LayerNorm"),
        ("model.sam_model.blocks.11.mlp", "MLPBlock"),
        ("model.sam_model.blocks.11.mlp.lin1", "Linear"),
        ("model.sam_model.blocks.11.mlp.lin2", "Linear"),
        ("model.sam_model.neck.0", "Conv2d"),
        ("model.sam_model.neck.1", "LayerNorm2d"),
        ("model.sam_model.neck.3", "LayerNorm2d"),
        ("model.sam_model.net_2", "Conv2d"),
        ("model.sam_model.net_3", "Conv2d"),
        ("model.vision_model", "VitModel"),
        ("model.vision_model.embeddings", "CLIPVisionEmbeddings"),
        ("model.vision_model.embeddings.position_embedding", "Embedding"),
        ("model.vision_model.pre_layrnorm", "LayerNorm"),
        ("model.vision_model.transformer", "NoTPTransformer"),
        ("model.vision_model.transformer.layers.23", "NoTPTransformerBlock"),
        ("model.vision_model.transformer.layers.23.self_attn", "NoTPAttention"),
        ("model.vision_model.transformer.layers.23.self_attn.qkv_proj", "Linear"),
        ("model.vision_model.transformer.layers.23.self_attn.out_proj", "Linear"),
        ("model.vision_model.transformer.layers.23.mlp", "NoTPFeedForward"),
        ("model.vision_model.transformer.layers.23.mlp.fc1", "Linear"),
        ("model.vision_model.transformer.layers.23.mlp.fc2", "Linear"),
        ("model.vision_model.transformer.layers.23.layer_norm1", "LayerNorm"),
        ("model.vision_model.transformer.layers.23.layer_norm2", "LayerNorm"),
        ("model.projector", "MlpProjector"),
        ("model.projector.layers", "Linear"),
        ("model.layers.0", "DeepseekV2DecoderLayer"),
        ("model.layers.0.self_attn", "LlamaAttention"),
        ("model.layers.0.self_attn.rotary_emb", "LlamaRotaryEmbedding"),
        ("model.layers.0.mlp", "DeepseekV2MLP"),
        ("model.layers.11.mlp", "DeepseekV2MoE"),
        ("model.layers.11.mlp.experts.63", "DeepseekV2MLP"),
        ("model.layers.11.mlp.gate", "MoEGate"),
        ("model.layers.11.mlp.shared_experts", "DeepseekV2MLP"),
        ("model.layers.11.input_layernorm", "DeepseekV2RMSNorm"),
        ("model.layers.11.post_attention_layernorm", "DeepseekV2RMSNorm"),
        ("model.norm", "DeepseekV2RMSNorm"),
        ("lm_head", "Linear"),
    ],
)
def test_module_names(released: Any, path: str, name: str) -> None:
    assert type(released.get_submodule(path)).__name__ == name


def test_attention_class_follows_the_configuration(small_checkpoint: Path, build: Callable[..., Any]) -> None:
    model = build(small_checkpoint, attention="flash_attention_2")
    assert type(model.model.layers[0].self_attn).__name__ == "LlamaFlashAttention2"
    with pytest.raises(KeyError, match="mha_sdpa"):
        build(small_checkpoint, attention="sdpa")


@pytest.mark.usefixtures("_cuda_stays_here")
def test_flash_attention_computes_what_eager_does(
    small: Any, small_checkpoint: Path, build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kernel(q: Any, k: Any, v: Any, mask: Any, *args: Any, **kwargs: Any) -> Any:
        """In place of the flash-attn package: [b s h d] each; the model hands on no mask where nothing is padded."""
        assert mask is None
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    monkeypatch.setattr("transformers.models.llama.modeling_llama._flash_attention_forward", kernel)
    flash = build(small_checkpoint, "cpu", torch.float32, "flash_attention_2")
    flash.load_state_dict(small.state_dict())
    inputs = prompt(tiles=True)
    with torch.no_grad():
        torch.testing.assert_close(flash(**inputs).logits, small(**inputs).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_cuda_stays_here")
def test_generate_runs_vision_once_and_says_the_shapes(small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[torch.Size] = []
    hook = small.model.sam_model.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    inputs = prompt(tiles=True)
    result = generate(small, inputs)
    hook.remove()
    assert seen == [TILES, PAGE]  # tiles first; nothing in the three decode steps
    assert result.shape[1] == PROMPT_TEXT + TILE_TOKENS + PAGE_TOKENS + 4
    printed = capsys.readouterr().out
    assert "BASE:  torch.Size([1, 36, 32])" in printed and "PATCHES:  torch.Size([6, 16, 32])" in printed


@pytest.mark.usefixtures("_cuda_stays_here")
@pytest.mark.parametrize("tiles", [True, False])
def test_greedy_decode_with_the_cache_is_recomputation(small: Any, tiles: bool) -> None:
    inputs = prompt(tiles=tiles)
    ids = inputs["input_ids"]
    with torch.no_grad():
        for _ in range(4):
            logits = small(**longer(inputs, ids), use_cache=False).logits
            assert logits.shape == (1, ids.shape[1], 128) and logits.dtype == torch.float32
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(generate(small, inputs), ids)


@pytest.mark.usefixtures("_cuda_stays_here")
def test_cached_logits_are_recomputed_ones(small: Any) -> None:
    inputs, token = prompt(tiles=True), torch.tensor([[7]])
    ids = torch.cat([inputs["input_ids"], token], dim=1)
    with torch.no_grad():
        cache = small(**inputs, use_cache=True).past_key_values
        assert len(cache) == 3 and cache[0][0].shape == (1, 2, ids.shape[1] - 1, 16)  # the legacy tuples
        cached = small(input_ids=token, past_key_values=cache).logits
        whole = small(**longer(inputs, ids)).logits
    torch.testing.assert_close(cached, whole[:, -1:], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_cuda_stays_here")
@pytest.mark.parametrize("part", ["tiles", "page"])
def test_the_image_reaches_the_logits(small: Any, part: str) -> None:
    inputs = prompt(tiles=True)
    patches, page = inputs["images"][0]
    changed = (patches + 1, page) if part == "tiles" else (patches, page + 1)
    with torch.no_grad():
        before, after = small(**inputs).logits, small(**inputs | {"images": [changed]}).logits
    first = 1 if part == "tiles" else 1 + TILE_TOKENS  # tile rows come before the global view's
    torch.testing.assert_close(before[:, :first], after[:, :first], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before[:, first], after[:, first], atol=1e-3)


@pytest.mark.usefixtures("_cuda_stays_here")
def test_two_pages_are_each_their_own(small: Any) -> None:
    pages = [prompt(tiles=True, seed=seed) for seed in (1, 2)]
    both = {name: torch.cat([page[name] for page in pages]) for name in pages[0] if name != "images"}
    with torch.no_grad():
        together = small(**both, images=[page["images"][0] for page in pages]).logits
        for row, page in zip(together, pages, strict=True):
            torch.testing.assert_close(row, small(**page).logits[0], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_cuda_stays_here")
def test_from_pretrained_reads_the_weights(small: Any, small_checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from transformers import AutoModel

    folder = shutil.copytree(small_checkpoint, tmp_path / "checkpoint")
    save_file(small.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    loaded = AutoModel.from_pretrained(folder, trust_remote_code=True)
    inputs = prompt(tiles=False)
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, small(**inputs).logits)
