"""The whole network as one layer: vision tower, image-token splice, decoder stack, head. Paths are the vendor's.

What the vendor's code does inline in a forward (joining features, splicing, masks) are layers here too, with no name of
their own in the paths.
"""

from collections.abc import Sequence
from typing import Any, Unpack

from modelmeter.core import ops
from modelmeter.core.dims import Dim, not_one
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.kv_cache import PastKV
from modelmeter.core.layer import InputSize, Layer
from modelmeter.core.parameter import Parameter
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import BOOL, FP32, INT64, Tensor
from modelmeter.models.deepseek_ocr.clip import VitModel
from modelmeter.models.deepseek_ocr.config import RELEASED, Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.deepseek_v2 import DeepseekV2DecoderLayer, DeepseekV2RMSNorm
from modelmeter.models.deepseek_ocr.head import Head, LMHead
from modelmeter.models.deepseek_ocr.llama import RotaryEmbedding
from modelmeter.models.deepseek_ocr.masks import UnlimitedOcrMasks
from modelmeter.models.deepseek_ocr.projector import MlpProjector
from modelmeter.models.deepseek_ocr.sam import ImageEncoderViT
from modelmeter.nn.embedding import Embedding
from modelmeter.nn.token import CachedLayer


class VisionTower(Layer):
    """Views of one size [b 3 side side] -> tokens [b side/64 side/64 hidden]: SAM, CLIP on its features, projector."""

    def __init__(
        self, config: DeepseekOCRConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]
    ) -> None:
        super().__init__(**{"seq_len": config.sam.image_size, **size})
        self.channels = config.sam.in_channels
        self.asks_for_zeros = conventions.implementation == "vendor"
        self.sam_model = ImageEncoderViT(config.sam, conventions)
        self.vision_model = VitModel(config.clip, conventions)
        self.projector = MlpProjector(config.projector)

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        side, batch = sizes
        return (recorder.take((batch, self.channels, side, side), self.dtype),)

    def forward(self, image: Tensor) -> Tensor:
        if self.asks_for_zeros:  # images of zeros are none: the sum of the tiles, and that of the first page
            ops.reduce("sum", image, (1,))
            ops.sync()
        features = self.sam_model(image)
        tokens = self.vision_model(features)
        batch, channels, height, width = features.shape
        count = height * width
        joined = ops.cat(
            (tokens.narrow(batch, count, tokens.shape[-1]), features.view(batch, count, channels)),
            (batch, count, tokens.shape[-1] + channels),
        )
        projected = self.projector(joined)
        return projected.view(batch, height, width, projected.shape[-1])


class ImageTokens(Layer):
    """View features -> [pages * tokens hidden]: a newline after each row, tile rows, global rows, separator."""

    def __init__(self, hidden_size: int, conventions: Conventions) -> None:
        super().__init__()
        self.conventions = conventions
        self.image_newline = Parameter(hidden_size)
        self.view_seperator = Parameter(hidden_size)  # the vendor's spelling

    def forward(self, grid: tuple[int, int], batch: Dim, *features: Tensor) -> Tensor:
        hidden = features[0].shape[-1]
        parts = []
        for i, view in enumerate(features):
            columns, rows = grid if i < len(features) - 1 else (1, 1)
            height, width = rows * view.shape[1], columns * view.shape[2]
            if i < len(features) - 1:  # tiles are laid side by side: a copy
                laid_out = ops.clone(view, (batch, height, width, hidden))
            else:
                laid_out = view.view(batch, height, width, hidden)
            newline = self.image_newline.read().narrow(batch, 1, 1, hidden)  # expanded to the rows: read once a page
            with_newlines = (batch, height, width + 1, hidden)
            parts.append(ops.cat((laid_out, newline), with_newlines))
        total = 1 + sum(part.shape[1] * part.shape[2] for part in parts)
        separator = self.view_seperator.read().narrow(batch, 1, hidden)
        tokens = ops.cat((*parts, separator), (batch, total, hidden))
        return ops.cat((tokens,), (batch * total, hidden))


class ImageTokenSplice(Layer):
    """Embeddings [b s h] and image tokens [n h] -> [b s h]: image tokens take the place of their placeholders."""

    def __init__(self, conventions: Conventions = RELEASED) -> None:
        super().__init__()
        self.conventions = conventions

    def forward(self, embeddings: Tensor, image_tokens: Tensor, ids: Tensor) -> Tensor:
        if self.conventions.implementation == "vendor":
            places = Tensor((*ids.shape, 1), BOOL)  # given with the ids
            size = image_tokens.nbytes
            return ops.move(
                "masked_scatter_",
                (image_tokens, places),
                embeddings.shape,
                embeddings.dtype,
                into=embeddings,
                write_bytes=size,
            )
        mask = ops.unary("eq", ids, dtype=BOOL)
        ops.reduce("sum", mask, (1,), dtype=INT64)
        wide = mask.narrow(*embeddings.shape)
        result = ops.clone(embeddings)
        return ops.move("masked_scatter", (image_tokens, wide), result.shape, result.dtype, into=result)


class CausalMask(Layer):
    """Attention mask [b kv] of ones -> additive mask [b 1 q kv] in 16 bits, as `generate` has it built for eager cores.

    The vendor's, `AttentionMaskConverter.to_4d` of transformers 4.46: the padding mask expanded and inverted; several
    queries add a triangle.
    """

    def __init__(self, conventions: Conventions = RELEASED) -> None:
        super().__init__()
        self.conventions = conventions

    def forward(self, attention_mask: Tensor, queries: Dim) -> Tensor:
        batch, keys = attention_mask.shape
        shape = (batch, 1, queries, keys)
        several = not_one(queries)
        expanded = ops.move("_to_copy", (attention_mask,), shape, self.dtype)
        inverted = ops.unary("rsub", expanded)
        del expanded
        padding = ops.binary("masked_fill", inverted, ops.cast(inverted, BOOL))
        triangle = ops.fill("full", (queries, queries), FP32)
        below = ops.fill("lt", (queries, queries), BOOL)
        triangle = ops.cast(ops.move("masked_fill_", (below,), triangle.shape, FP32, into=triangle), self.dtype)
        hidden = ops.move("_to_copy", (padding,), shape, BOOL, when=several)
        # `padding` is read by the cast alone: it is the result where there is a single query.
        given = (padding, triangle.narrow(*shape), hidden)
        return ops.move("masked_fill", given, shape, self.dtype, read_bytes=0, when=several)


class Backbone(Layer):
    """`model` of the vendor's tree: token ids and views -> hidden states [b q hidden]. Either half may be absent."""

    def __init__(
        self,
        vision: Layer | None,
        decoder: Sequence[Layer],
        hidden_size: int,
        conventions: Conventions,
        text: tuple[Layer, Layer, Layer | None] | None = None,
    ) -> None:
        super().__init__()
        self.conventions = conventions
        self.vision = vision
        self.image_tokens = ImageTokens(hidden_size, conventions) if isinstance(vision, VisionTower) else None
        self.splice = ImageTokenSplice(conventions)
        transformers = conventions.implementation == "transformers"
        self.mask: Layer = UnlimitedOcrMasks(conventions) if transformers else CausalMask(conventions)
        self.embed_tokens: Layer | None = None
        self.norm: Layer | None = None
        self.rotary_emb: Layer | None = None
        if text is not None:
            self.embed_tokens, self.norm, self.rotary_emb = text
        elif transformers:
            head_dims = [layer.head_dim for layer in decoder if isinstance(layer, CachedLayer)]
            self.rotary_emb = RotaryEmbedding(head_dims[0]) if head_dims else None
        self.hidden_size = hidden_size
        self.layers = list(decoder)

    def named_children(self) -> Any:
        """As in the vendor's tree: what its forward does inline has no name."""
        inline = {"vision", "image_tokens", "splice", "mask"}
        for name, child in super().named_children():
            yield "" if name in inline else name, child

    def encode(self, grid: tuple[int, int], batch: Dim, images: Sequence[Tensor]) -> Tensor:
        """Views -> image tokens."""
        if self.vision is None:
            raise ModelMeterError("this model has no vision part: build it with one to run views")
        features = [self.vision(image) for image in images]
        return features[-1] if self.image_tokens is None else self.image_tokens(grid, batch, *features)

    def forward(
        self, ids: Tensor, attention_mask: Tensor | None, past: PastKV, grid: tuple[int, int], *images: Tensor
    ) -> Tensor:
        """Token ids [b q] and, for eager attention, the mask [b past+q] of ones that `generate` passes along."""
        batch, queries = ids.shape
        x = self._embed(ids)
        if images:
            image_tokens = self.encode(grid, batch, images)
            if self.embed_tokens is not None:
                x = self.splice(x, image_tokens, ids)
        rows = 1 if self.conventions.position_ids == "shared" else batch
        positions: Any = ops.fill("arange", (rows, queries), INT64)
        if self.conventions.implementation == "transformers" and self.conventions.position_ids == "shared":
            positions = ops.unary("add", positions)  # the tokens cached before; with a batch `generate` brings them
        mask = None if attention_mask is None else self.mask(attention_mask, queries)
        if isinstance(mask, tuple):
            mask, _sliding = mask
        if self.rotary_emb is not None:
            positions = self.rotary_emb(positions)
        _inputs_embeds = x  # held to the end
        for layer in self.layers:
            x = layer(x, positions, mask, past)
        return x if self.norm is None else self.norm(x)

    def _embed(self, ids: Tensor) -> Tensor:
        if self.embed_tokens is not None:
            return self.embed_tokens(ids)
        return ops.empty((*ids.shape, self.hidden_size), self.dtype)


class DeepseekOCRForCausalLM(Layer):
    """The network: `model` and `lm_head`."""

    def __init__(self, model: Backbone, lm_head: Layer | None, conventions: Conventions) -> None:
        super().__init__()
        self.conventions = conventions
        self.model = model
        self.head = None if lm_head is None else Head(lm_head, conventions)

    def named_children(self) -> Any:
        """As in the vendor's tree: the cast of the logits is the root's own."""
        for name, child in super().named_children():
            yield "" if name == "head" else name, child

    def forward(
        self, ids: Tensor, attention_mask: Tensor | None, past: PastKV, grid: tuple[int, int], *images: Tensor
    ) -> Tensor:
        x = self.model(ids, attention_mask, past, grid, *images)
        if self.conventions.logits == "last":
            batch, _, hidden = x.shape
            x = x.narrow(batch, 1, hidden)
        return x if self.head is None else self.head(x)


class VisionStage(Layer):
    """The vision stage alone: views -> image tokens, under the paths of the whole network."""

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        self.model = VisionBackbone(model)

    def forward(self, grid: tuple[int, int], batch: Dim, *images: Tensor) -> Tensor:
        return self.model(grid, batch, *images)


class VisionBackbone(Layer):
    """`Backbone.encode` as a layer of its own."""

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        self.backbone = model

    def named_children(self) -> Any:
        """The vision part's children, as in the backbone."""
        return self.backbone.named_children()

    def forward(self, grid: tuple[int, int], batch: Dim, *images: Tensor) -> Tensor:
        return self.backbone.encode(grid, batch, images)


def build_network(config: DeepseekOCRConfig, conventions: Conventions) -> DeepseekOCRForCausalLM:
    """The network of a configuration. Equal layers are one object, also across dense and sparse ones."""
    decoder = config.decoder
    kinds = {}
    for index, kind in enumerate(decoder.mlp_layer_types):
        if kind not in kinds:
            kinds[kind] = DeepseekV2DecoderLayer(decoder, index, conventions)
    first = next(iter(kinds.values()))
    for layer in kinds.values():
        layer.self_attn = first.self_attn
        layer.input_layernorm = layer.post_attention_layernorm = first.input_layernorm
    text = (
        Embedding(decoder.vocab_size, decoder.hidden_size),
        DeepseekV2RMSNorm(decoder.hidden_size),
        RotaryEmbedding(decoder.head_dim) if conventions.implementation == "transformers" else None,
    )
    layers = [kinds[kind] for kind in decoder.mlp_layer_types]
    backbone = Backbone(VisionTower(config, conventions), layers, decoder.hidden_size, conventions, text)
    head = LMHead(decoder.hidden_size, decoder.vocab_size, tied=decoder.tie_word_embeddings)
    return DeepseekOCRForCausalLM(backbone, head, conventions)
