"""Stand-in for tests, written for this project: SAM, CLIP and the projector under the names of the remote code."""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Sizes = dict[str, Any]


class MlpProjector(nn.Module):
    """[b n in] -> [b n out], one linear."""

    def __init__(self, cfg: Sizes) -> None:
        super().__init__()
        if cfg["projector_type"] != "linear":
            raise NotImplementedError(f"projector_type {cfg['projector_type']!r}")
        self.layers = nn.Linear(cfg["input_dim"], cfg["n_embed"])

    def forward(self, x):
        return self.layers(x)


# -- CLIP -------------------------------------------------------------------------------------------------------------


def get_abs_pos(abs_pos, tokens: int):
    """[1 1+s*s c] -> [1 tokens c]: the patches' part of the table resized where the grid has another side."""
    width, dtype, side = abs_pos.size(-1), abs_pos.dtype, int(math.sqrt(tokens))
    table = abs_pos.squeeze(0)
    cls_token, patches = table[:1], table[1:]
    table_side = int(math.sqrt(table.shape[0] - 1))
    if table_side == side:
        return abs_pos
    patches = patches.view(1, table_side, table_side, width).permute(0, 3, 1, 2).contiguous().to(torch.float32)
    resized = F.interpolate(patches, size=(side, side), mode="bicubic", antialias=True, align_corners=False).to(dtype)
    resized = resized.permute(0, 2, 3, 1).view(side * side, width)
    return torch.cat([cls_token, resized], dim=0).view(1, side * side + 1, width)


@torch.jit.script
def quick_gelu(x):
    """[...] -> [...]."""
    return x * torch.sigmoid(1.702 * x)


class CLIPVisionEmbeddings(nn.Module):
    """Features [b c h w] -> tokens [b 1+h*w c]. The patch convolution has weights but is not run on given features."""

    def __init__(self, hidden_size: int, image_size: int, patch_size: int, num_channels: int = 3) -> None:
        super().__init__()
        num_positions = (image_size // patch_size) ** 2 + 1
        self.class_embedding = nn.Parameter(torch.randn(hidden_size))
        self.patch_embedding = nn.Conv2d(num_channels, hidden_size, patch_size, stride=patch_size, bias=False)
        self.position_embedding = nn.Embedding(num_positions, hidden_size)
        self.register_buffer("position_ids", torch.arange(num_positions).expand((1, -1)))

    def forward(self, pixel_values, patch_embeds=None):
        if patch_embeds is None:
            patch_embeds = self.patch_embedding(pixel_values)
        patch_embeds = patch_embeds.flatten(2).transpose(1, 2)
        class_embeds = self.class_embedding.expand(pixel_values.shape[0], 1, -1)
        embeddings = torch.cat([class_embeds, patch_embeds], dim=1)
        return embeddings + get_abs_pos(self.position_embedding(self.position_ids), embeddings.size(1))


class NoTPFeedForward(nn.Module):
    """[b s c] -> [b s c]."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x):
        return self.fc2(quick_gelu(self.fc1(x)))


class NoTPAttention(nn.Module):
    """[b s c] -> [b s c], no mask."""

    def __init__(self, cfg: Sizes) -> None:
        super().__init__()
        self.num_heads = cfg["heads"]
        self.head_dim = cfg["width"] // cfg["heads"]
        self.qkv_proj = nn.Linear(cfg["width"], 3 * cfg["width"])
        self.out_proj = nn.Linear(cfg["width"], cfg["width"])

    def forward(self, x):
        batch, tokens, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = torch.split(qkv, 1, dim=2)
        q, k, v = q.squeeze(2).permute(0, 2, 1, 3), k.squeeze(2).permute(0, 2, 1, 3), v.squeeze(2).permute(0, 2, 1, 3)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=None)
        return self.out_proj(out.permute(0, 2, 1, 3).reshape(batch, tokens, -1))


class NoTPTransformerBlock(nn.Module):
    """[b s c] -> [b s c]. It calls `forward` of attention and MLP itself: hooks on these two modules never run."""

    def __init__(self, cfg: Sizes) -> None:
        super().__init__()
        self.self_attn = NoTPAttention(cfg)
        self.mlp = NoTPFeedForward(cfg["width"], cfg["mlp_dim"])
        self.layer_norm1 = nn.LayerNorm(cfg["width"], eps=1e-5)
        self.layer_norm2 = nn.LayerNorm(cfg["width"], eps=1e-5)

    def forward(self, x):
        residual = self.self_attn.forward(self.layer_norm1(x))
        h = x + residual
        return h + self.mlp.forward(self.layer_norm2(h))


class NoTPTransformer(nn.Module):
    """[b s c] -> [b s c]."""

    def __init__(self, cfg: Sizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList([NoTPTransformerBlock(cfg) for _ in range(cfg["layers"])])

    def forward(self, hidden_states):
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return hidden_states


class VitModel(nn.Module):
    """Pixels [b 3 H W] (only counted) and SAM's features [b c h w] -> tokens [b 1+h*w c]; no norm at the end."""

    def __init__(self, cfg: Sizes) -> None:
        super().__init__()
        self.embeddings = CLIPVisionEmbeddings(cfg["width"], cfg["image_size"], cfg["patch_size"])
        self.transformer = NoTPTransformer(cfg)
        self.pre_layrnorm = nn.LayerNorm(cfg["width"], eps=1e-5)

    def forward(self, x, patch_embeds):
        x = self.embeddings(x, patch_embeds)
        hidden_states = self.pre_layrnorm(x)
        return self.transformer(hidden_states)


def build_clip_l(vision_config: Sizes) -> VitModel:
    """CLIP-L in the sizes of `vision_config`."""
    defaults = {"width": 1024, "layers": 24, "heads": 16, "mlp_dim": 4096, "image_size": 224, "patch_size": 14}
    return VitModel(defaults | vision_config["width"]["clip-l-14-224"])


# -- SAM --------------------------------------------------------------------------------------------------------------


def get_abs_pos_sam(abs_pos, side: int):
    """[1 s s c] -> [1 side side c]: the table, resized where the grid has another side."""
    if abs_pos.size(1) == side:
        return abs_pos
    table = abs_pos.permute(0, 3, 1, 2).to(torch.float32)
    table = F.interpolate(table, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return table.to(abs_pos.dtype).permute(0, 2, 3, 1)


def window_partition(x, window: int):
    """[b h w c] -> windows [n window window c] of the padded grid, and its sides."""
    batch, height, width, channels = x.shape
    pad_h, pad_w = -height % window, -width % window
    if pad_h > 0 or pad_w > 0:
        x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
    rows, columns = (height + pad_h) // window, (width + pad_w) // window
    x = x.view(batch, rows, window, columns, window, channels).permute(0, 1, 3, 2, 4, 5).contiguous()
    return x.view(-1, window, window, channels), (rows * window, columns * window)


def window_unpartition(windows, window: int, padded: tuple[int, int], sides: tuple[int, int]):
    """Windows [n window window c] -> [b h w c], without the padding."""
    (rows, columns), (height, width) = padded, sides
    batch = windows.shape[0] // (rows * columns // window // window)
    x = windows.view(batch, rows // window, columns // window, window, window, -1)
    x = x.permute(0, 1, 3, 2, 4, 5).contiguous().view(batch, rows, columns, -1)
    if rows > height or columns > width:
        x = x[:, :height, :width, :].contiguous()
    return x


def get_rel_pos(queries: int, keys: int, rel_pos):
    """Table [2*s-1 d] -> [queries keys d], resized where it has other rows than these sides need."""
    rows = 2 * max(queries, keys) - 1
    if rel_pos.shape[0] != rows:
        table = rel_pos.to(torch.float32).reshape(1, rel_pos.shape[0], -1).permute(0, 2, 1)
        table = F.interpolate(table, size=rows, mode="linear").to(rel_pos.dtype)
        table = table.reshape(-1, rows).permute(1, 0)
    else:
        table = rel_pos
    q_coords = torch.arange(queries, device=rel_pos.device)[:, None] * max(keys / queries, 1.0)
    k_coords = torch.arange(keys, device=rel_pos.device)[None, :] * max(queries / keys, 1.0)
    distance = (q_coords - k_coords) + (keys - 1) * max(queries / keys, 1.0)
    return table[distance.long()]


def add_decomposed_rel_pos(q, rel_pos_h, rel_pos_w, sides: tuple[int, int]):
    """Queries [b n d] -> the bias's two halves, [b n h 1] and [b n 1 w]."""
    height, width = sides
    table_h = get_rel_pos(height, height, rel_pos_h)
    table_w = get_rel_pos(width, width, rel_pos_w)
    batch, tokens, dim = q.shape
    grid = q.reshape(batch, height, width, dim)
    rel_h = torch.einsum("bhwc,hkc->bhwk", grid, table_h)
    rel_w = torch.einsum("bhwc,wkc->bhwk", grid, table_w)
    rel_h = rel_h.reshape(batch, tokens, height, 1)  # a copy: the product came out with the rows in front
    rel_w = rel_w.reshape(batch, tokens, 1, width)
    return rel_h, rel_w


class PatchEmbed(nn.Module):
    """Image [b 3 H W] -> grid [b h w c]."""

    def __init__(self, patch_size: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x):
        x = self.proj(x)
        return x.permute(0, 2, 3, 1)


class MLPBlock(nn.Module):
    """[... c] -> [... c]."""

    def __init__(self, embedding_dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = nn.GELU()

    def forward(self, x):
        return self.lin2(self.act(self.lin1(x)))


class LayerNorm2d(nn.Module):
    """[b c h w] -> [b c h w], over the channels."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Attention(nn.Module):
    """Grid [b h w c] -> [b h w c]; the relative positions are a bias that is written out for the kernel."""

    def __init__(self, dim: int, num_heads: int, side: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))

    def forward(self, x):
        batch, height, width, _ = x.shape
        heads, tokens = self.num_heads, height * width
        qkv = self.qkv(x).reshape(batch, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, batch * heads, tokens, -1).unbind(0)
        rel_h, rel_w = add_decomposed_rel_pos(q, self.rel_pos_h, self.rel_pos_w, (height, width))
        q, k, v = q.view(batch, heads, tokens, -1), k.view(batch, heads, tokens, -1), v.view(batch, heads, tokens, -1)
        rel_h, rel_w = rel_h.view(batch, heads, tokens, height, 1), rel_w.view(batch, heads, tokens, 1, width)
        bias = (rel_h + rel_w).view(batch, heads, tokens, tokens)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x.view(batch, heads, height, width, -1).permute(0, 2, 3, 1, 4).reshape(batch, height, width, -1)
        return self.proj(x)


class Block(nn.Module):
    """Grid [b h w c] -> [b h w c]; `window_size` 0 attends to the whole grid."""

    def __init__(self, cfg: Sizes, window_size: int, norm_layer: Any) -> None:
        super().__init__()
        width, side = cfg["width"], cfg["image_size"] // cfg["patch_size"]
        self.window_size = window_size
        self.norm1 = norm_layer(width)
        self.attn = Attention(width, cfg["heads"], window_size or side)
        self.norm2 = norm_layer(width)
        self.mlp = MLPBlock(width, cfg["mlp_dim"])

    def forward(self, x):
        shortcut = x
        x = self.norm1(x)
        if self.window_size > 0:
            sides = x.shape[1], x.shape[2]
            x, padded = window_partition(x, self.window_size)
        x = self.attn(x)
        if self.window_size > 0:
            x = window_unpartition(x, self.window_size, padded, sides)
        x = shortcut + x
        return x + self.mlp(self.norm2(x))


class ImageEncoderViT(nn.Module):
    """Image [b 3 H W] -> features [b c H/64 W/64]."""

    def __init__(self, cfg: Sizes) -> None:
        super().__init__()
        width, out, (middle, last) = cfg["width"], cfg["out_channels"], cfg["downsample_channels"]
        side, windows = cfg["image_size"] // cfg["patch_size"], cfg["window_size"]
        norm_layer = partial(nn.LayerNorm, eps=1e-6)
        self.patch_embed = PatchEmbed(cfg["patch_size"], cfg["in_channels"], width)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, width))
        self.blocks = nn.ModuleList(
            [Block(cfg, 0 if i in cfg["global_attn_indexes"] else windows, norm_layer) for i in range(cfg["layers"])]
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, out, kernel_size=1, bias=False),
            LayerNorm2d(out),
            nn.Conv2d(out, out, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(out),
        )
        self.net_2 = nn.Conv2d(out, middle, kernel_size=3, stride=2, padding=1, bias=False)
        self.net_3 = nn.Conv2d(middle, last, kernel_size=3, stride=2, padding=1, bias=False)

    def forward(self, x):
        x = self.patch_embed(x)
        x = x + get_abs_pos_sam(self.pos_embed, x.size(1))
        for block in self.blocks:
            x = block(x)
        x = self.neck(x.permute(0, 3, 1, 2))
        halved = self.net_2(x)
        return self.net_3(halved.clone())


def build_sam_vit_b(vision_config: Sizes) -> ImageEncoderViT:
    """SAM-B in the sizes of `vision_config`."""
    defaults: Sizes = {"image_size": vision_config["image_size"], "patch_size": 16, "in_channels": 3, "heads": 12}
    defaults |= {"width": 768, "layers": 12, "out_channels": 256, "downsample_channels": [512, 1024]}
    defaults |= {"window_size": 14, "global_attn_indexes": [2, 5, 8, 11]}
    cfg = defaults | vision_config["width"]["sam_vit_b"]
    return ImageEncoderViT({"mlp_dim": 4 * cfg["width"]} | cfg)
