"""CLIP-L, the second encoder. Twins of the vendor's `VitModel` and its parts. SAM's features are its patch embeddings.

"vendor" has one fused qkv, scaled_dot_product_attention, and a patch convolution that nothing uses; "transformers" has
three projections and none.
"""

from typing import Any, Unpack

from modelmeter.core import ops
from modelmeter.core.dims import Dim, not_one, same
from modelmeter.core.layer import InputSize, Layer
from modelmeter.core.parameter import Parameter
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import FP32, INT64, Tensor
from modelmeter.models.deepseek_ocr.config import RELEASED, ClipConfig, Conventions
from modelmeter.nn.activation import QuickGELU
from modelmeter.nn.attention import eager_attention, flash_attention, merge_heads
from modelmeter.nn.conv import Conv2d
from modelmeter.nn.embedding import Embedding
from modelmeter.nn.linear import Linear
from modelmeter.nn.norm import LayerNorm
from modelmeter.nn.token import TokenLayer


class CLIPVisionEmbeddings(Layer):
    """Features [b c h w] -> tokens [b 1+h*w c]: a class token in front, positions added."""

    def __init__(self, config: ClipConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]) -> None:
        super().__init__(**{"seq_len": 16, **size})
        self.conventions = conventions
        self.width = config.width
        self.table_side = config.image_size // config.patch_size
        self.class_embedding = Parameter(config.width)
        if conventions.implementation == "vendor":
            self.patch_embedding = Conv2d(3, config.width, config.patch_size, stride=config.patch_size, bias=False)
        self.position_embedding = Embedding(self.table_side**2 + 1, config.width)

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        side, batch = sizes
        return (recorder.take((batch, self.width, side, side), self.dtype),)

    def forward(self, features: Tensor) -> Tensor:
        batch, width, rows, columns = features.shape
        tokens = rows * columns
        first = self.class_embedding.read().narrow(1, 1, width)  # expanded to the batch: one row is read
        x = ops.cat((first, features.view(batch, tokens, width)), (batch, tokens + 1, width))
        return ops.binary("add", x, self._positions(rows, columns))

    def _positions(self, rows: Dim, columns: Dim) -> Tensor:
        """[1 1+rows*columns c]: looked up (vendor: always), and resized (bicubic, in fp32) where the grid differs."""
        fits = same(rows, self.table_side) and same(columns, self.table_side)
        ids = Tensor((1, self.table_side**2 + 1), INT64, "weight")
        table = self.position_embedding.weight.read()
        if fits or self.conventions.implementation == "vendor":
            table = self.position_embedding(ids)
        if fits:
            return table
        patches = table.narrow(1, self.width, self.table_side, self.table_side)
        if self.conventions.implementation == "vendor":
            patches = ops.clone(patches)
        resized = ops.resize("_upsample_bicubic2d_aa", ops.cast(patches, FP32), (1, self.width, rows, columns))
        resized = ops.cast(resized, self.dtype)
        first = table.narrow(1, 1, self.width)
        return ops.cat((first, resized.view(1, rows * columns, self.width)), (1, rows * columns + 1, self.width))


class NoTPFeedForward(TokenLayer):
    """[b s c] -> [b s c], c -> ffn -> c with quick-GELU."""

    def __init__(self, width: int, mlp_dim: int, **size: Unpack[InputSize]) -> None:
        super().__init__(width, **size)
        self.fc1 = Linear(width, mlp_dim)
        self.act = QuickGELU()
        self.fc2 = Linear(mlp_dim, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class NoTPAttention(TokenLayer):
    """[b s c] -> [b s c] (and the weights, where the real module hands them on), all tokens attend to all."""

    def __init__(self, config: ClipConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]) -> None:
        super().__init__(config.width, **size)
        self.num_heads = config.heads
        self.head_dim = config.width // config.heads
        self.conventions = conventions
        if conventions.implementation == "vendor":
            self.qkv_proj = Linear(config.width, 3 * config.width)
        else:
            self.k_proj = Linear(config.width, config.width)
            self.v_proj = Linear(config.width, config.width)
            self.q_proj = Linear(config.width, config.width)
        self.out_proj = Linear(config.width, config.width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        batch, tokens, _ = x.shape
        heads = (batch, self.num_heads, tokens, self.head_dim)
        if self.conventions.implementation == "vendor":
            qkv = self.qkv_proj(x)
            q = k = v = qkv.narrow(*heads)
        else:
            q, k, v = self.q_proj(x).view(*heads), self.k_proj(x).view(*heads), self.v_proj(x).view(*heads)
        if self.conventions.vision_sdpa:
            # The kernel's output is laid out as its query, which is a view of [b s h d]: merging heads copies nothing.
            return self.out_proj(flash_attention(q, k, v).view(*x.shape)), None
        several = not_one(batch)
        out, weights = eager_attention(q, k, v, copies=(several, several, several))
        return self.out_proj(merge_heads(out)), weights


class NoTPTransformerBlock(TokenLayer):
    """[b s c] -> [b s c]."""

    def __init__(self, config: ClipConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]) -> None:
        super().__init__(config.width, **size)
        self.self_attn = NoTPAttention(config, conventions)
        self.mlp = NoTPFeedForward(config.width, config.mlp_dim)
        self.layer_norm1 = LayerNorm(config.width)
        self.layer_norm2 = LayerNorm(config.width)
        # transformers gives the sum its addend's name, which lets go of it; the vendor's code holds it to the end.
        self.rebinds = conventions.implementation == "transformers"

    def forward(self, x: Tensor) -> Tensor:
        residual, _weights = self.self_attn(self.layer_norm1(x))
        h = ops.binary("add", x, residual)
        if self.rebinds:
            del residual
        return ops.binary("add", h, self.mlp(self.layer_norm2(h)))


class NoTPTransformer(TokenLayer):
    """[b s c] -> [b s c], the stack of equal blocks."""

    def __init__(self, config: ClipConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]) -> None:
        super().__init__(config.width, **size)
        self.layers = [NoTPTransformerBlock(config, conventions)] * config.layers

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class VitModel(Layer):
    """SAM's features [b c h w] -> tokens [b 1+h*w c]; no norm at the end."""

    def __init__(self, config: ClipConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]) -> None:
        super().__init__(**{"seq_len": 16, **size})
        self.width = config.width
        self.embeddings = CLIPVisionEmbeddings(config, conventions)
        self.transformer = NoTPTransformer(config, conventions)
        self.pre_layrnorm = LayerNorm(config.width)
        self.rebinds = conventions.implementation == "transformers"  # as in the block

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        side, batch = sizes
        return (recorder.take((batch, self.width, side, side), self.dtype),)

    def forward(self, features: Tensor) -> Tensor:
        x = self.embeddings(features)
        hidden_states = self.pre_layrnorm(x)
        if self.rebinds:
            del x
        return self.transformer(hidden_states)
