"""Every twin of the vision part beside its real module."""

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from modelmeter import Conventions, Layer
from modelmeter.models.deepseek_ocr import clip, network, projector, sam
from modelmeter.models.deepseek_ocr.config import ProjectorConfig
from modelmeter.nn.conv import Conv2d
from support.harness import tensors
from support.reference import bf16_on_meta, images
from support.twin_cases import CLIP, CONFIG, SAM, UNUSED_PATCH_CONVOLUTION, Case, tensor


def real_sam(model: PreTrainedModel) -> nn.Module:
    return model.model.vision_tower.sam_encoder


def real_clip(model: PreTrainedModel) -> nn.Module:
    return model.model.vision_tower.vision_encoder


def at_grid(name: str, *grids: tuple[int, int], width: int, make: Callable[..., Case]) -> list[Case]:
    """Cases of a layer over grids [b side side width], for each (side, b)."""
    return [
        make(f"{name} {side} x{batch}", sizes=(side, batch), call=lambda m, s=side, b=batch: m(tensor(b, s, s, width)))
        for side, batch in grids
    ]


def windowed_attention(name: str, **case: Any) -> Case:
    return Case(name, lambda c: sam.Attention(SAM, 14, c), lambda m: real_sam(m).layers[0].attn, **case)


def global_attention(name: str, **case: Any) -> Case:
    return Case(name, lambda c: sam.Attention(SAM, 64, c), lambda m: real_sam(m).layers[2].attn, **case)


def windowed_block(name: str, **case: Any) -> Case:
    return Case(name, lambda c: sam.Block(SAM, 14, c), lambda m: real_sam(m).layers[0], **case)


def global_block(name: str, **case: Any) -> Case:
    return Case(name, lambda c: sam.Block(SAM, 0, c), lambda m: real_sam(m).layers[2], **case)


def mlp_block(name: str, **case: Any) -> Case:
    return Case(name, lambda _: sam.MLPBlock(768, 3072), lambda m: real_sam(m).layers[0].mlp, **case)


def neck(side: int, batch: int) -> Case:
    """The real neck takes [b h w c] and turns it itself."""
    return Case(
        f"neck {side} x{batch}",
        lambda c: sam.Neck(SAM, c),
        lambda m: real_sam(m).neck,
        lambda m: m(tensor(batch, side, side, 768)),
        sizes=(side, batch),
    )


def channels_first_norm(side: int, batch: int) -> Case:
    return Case(
        f"norm {side} x{batch}",
        lambda c: sam.LayerNorm2d(256, c),
        lambda m: real_sam(m).neck.layer_norm1,
        lambda m: m(tensor(batch, 256, side, side)),
        sizes=(side, batch),
    )


def downsampling(which: str, side: int, batch: int) -> Case:
    """net_2 and net_3: strided 3x3 convolutions (proj.conv1 and proj.conv2 there)."""
    channels, real_name = {"net_2": (256, "conv1"), "net_3": (512, "conv2")}[which]
    return Case(
        f"{which} {side} x{batch}",
        lambda c: getattr(sam.ImageEncoderViT(SAM, c), which),
        lambda m: getattr(real_sam(m).proj, real_name),
        lambda m: m(tensor(batch, channels, side, side)),
        inputs=lambda recorder, _: tensors((batch, channels, side, side))(recorder),
    )


def patch_embed(side: int, batch: int) -> Case:
    return Case(
        f"patches {side} x{batch}",
        lambda _: sam.PatchEmbed(SAM),
        lambda m: real_sam(m).patch_embed,
        lambda m: m(images(batch, side)),
        sizes=(side, batch),
    )


def sam_encoder(side: int, batch: int) -> Case:
    return Case(
        f"sam {side} x{batch}",
        lambda c: sam.ImageEncoderViT(SAM, c),
        real_sam,
        lambda m: m(images(batch, side)),
        sizes=(side, batch),
    )


def clip_embeddings(side: int, batch: int) -> Case:
    return Case(
        f"embeddings {side} x{batch}",
        lambda c: clip.CLIPVisionEmbeddings(CLIP, c),
        lambda m: real_clip(m).embeddings,
        lambda m: m(tensor(batch, 1024, side, side)),
        sizes=(side, batch),
        vendor_parameters=UNUSED_PATCH_CONVOLUTION,
    )


def vit_model(side: int, batch: int) -> Case:
    return Case(
        f"clip {side} x{batch}",
        lambda c: clip.VitModel(CLIP, c),
        real_clip,
        lambda m: m(tensor(batch, 1024, side, side)),
        sizes=(side, batch),
        vendor_parameters=UNUSED_PATCH_CONVOLUTION,
    )


CLIP_LAYERS: dict[str, tuple[Callable[[Conventions], Layer], Callable[[nn.Module], Any], dict[str, Any]]] = {
    "NoTPAttention": (lambda c: clip.NoTPAttention(CLIP, c), lambda m: m.encoder.layers[0].self_attn, {}),
    "NoTPFeedForward": (lambda _: clip.NoTPFeedForward(1024, 4096), lambda m: m.encoder.layers[0].mlp, {}),
    "NoTPTransformerBlock": (
        lambda c: clip.NoTPTransformerBlock(CLIP, c),
        lambda m: m.encoder.layers[0],
        {"attention_mask": None},
    ),
    "NoTPTransformer": (lambda c: clip.NoTPTransformer(CLIP, c), lambda m: m.encoder, {}),
}


def clip_layers(kind: str) -> list[Case]:
    """A CLIP layer over 257 tokens (1024 px), and 3 x 101 (640 px)."""
    ours, real, kwargs = CLIP_LAYERS[kind]
    return [
        Case(
            f"{kind} {tokens} x{batch}",
            ours,
            lambda m: real(real_clip(m)),
            lambda m, t=tokens, b=batch: m(tensor(b, t, 1024), **kwargs),
            sizes=(tokens, batch),
        )
        for tokens, batch in ((257, 1), (101, 3))
    ]


def linear_projector(tokens: int, batch: int) -> Case:
    return Case(
        f"linear {tokens} x{batch}",
        lambda _: projector.MlpProjector(CONFIG.projector),
        lambda m: m.model.multi_modal_projector,
        lambda m: m(tensor(batch, tokens, 2048)),
        sizes=(tokens, batch),
    )


def built(make: Callable[[], nn.Module]) -> nn.Module:
    with bf16_on_meta():
        return make()


def other_projector(kind: str, config: ProjectorConfig, real: Callable[[], nn.Module]) -> Case:
    """The vendor's other kinds, against the torch modules they are made of (its build_projector)."""
    return Case(
        kind,
        lambda _: projector.MlpProjector(config),
        lambda _: built(real),
        lambda m: m(tensor(2, 100, 2048)),
        sizes=(100, 2),
    )


def gelu_projector() -> nn.Module:
    """mlp_gelu of depth 3: a linear, then GELU and a linear twice."""
    layers: list[nn.Module] = [nn.Linear(2048, 1280)]
    for _ in range(2):
        layers += [nn.GELU(), nn.Linear(1280, 1280)]
    return nn.Sequential(*layers)


def vision_tower(side: int, batch: int) -> Case:
    """SAM, CLIP and the projector; there the projector is called by the model, not by the tower."""
    return Case(
        f"tower {side} x{batch}",
        lambda c: network.VisionTower(CONFIG, c),
        lambda m: nn.ModuleList([m.model.vision_tower, m.model.multi_modal_projector]),
        lambda m: m[1](m[0](images(batch, side)).last_hidden_state),
        sizes=(side, batch),
        vendor_parameters=UNUSED_PATCH_CONVOLUTION,
    )


VISION_CASES: dict[type[Layer], list[Case]] = {
    sam.PatchEmbed: [patch_embed(1024, 1), patch_embed(640, 6)],
    sam.MLPBlock: at_grid("mlp", (64, 1), (40, 3), width=768, make=mlp_block),
    sam.Attention: [
        *at_grid("windows", (14, 25), (14, 9), width=768, make=windowed_attention),
        *at_grid("global", (64, 1), (40, 6), (80, 1), width=768, make=global_attention),
    ],
    sam.Block: [
        *at_grid("windowed", (64, 1), (40, 6), (70, 1), width=768, make=windowed_block),
        *at_grid("global", (64, 1), (40, 6), width=768, make=global_block),
    ],
    sam.LayerNorm2d: [channels_first_norm(64, 1), channels_first_norm(40, 6)],
    sam.Neck: [neck(64, 1), neck(40, 6)],
    sam.ImageEncoderViT: [sam_encoder(1024, 1), sam_encoder(640, 6)],
    Conv2d: [
        downsampling(which, side, batch) for which in ("net_2", "net_3") for side, batch in ((64, 1), (20, 6), (7, 2))
    ],
    clip.CLIPVisionEmbeddings: [clip_embeddings(16, 1), clip_embeddings(10, 6)],
    clip.NoTPAttention: clip_layers("NoTPAttention"),
    clip.NoTPFeedForward: clip_layers("NoTPFeedForward"),
    clip.NoTPTransformerBlock: clip_layers("NoTPTransformerBlock"),
    clip.NoTPTransformer: clip_layers("NoTPTransformer"),
    clip.VitModel: [vit_model(16, 1), vit_model(10, 6)],
    projector.MlpProjector: [
        linear_projector(256, 1),
        linear_projector(100, 6),
        other_projector("identity", ProjectorConfig(kind="identity", n_embed=2048), nn.Identity),
        other_projector("mlp_gelu", ProjectorConfig(kind="mlp_gelu", depth=3), gelu_projector),
    ],
    network.VisionTower: [vision_tower(1024, 1), vision_tower(640, 6)],
}
