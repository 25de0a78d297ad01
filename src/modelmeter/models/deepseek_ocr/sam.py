"""SAM-B, the first encoder. Twins of the classes of the vendor's deepencoder.py (`ImageEncoderViT`).

`implementation` "vendor" runs scaled_dot_product_attention with a materialised bias and resizes tables only when sizes
differ; "transformers" has an eager core as well and resizes relative-position tables always.
"""

from typing import Any, Unpack

from modelmeter.core import ops
from modelmeter.core.dims import Dim, ceil_div, not_one, same, same_shape
from modelmeter.core.layer import InputSize, Layer
from modelmeter.core.parameter import Parameter
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import FP32, INT64, Shape, Tensor
from modelmeter.models.deepseek_ocr.config import RELEASED, Conventions, SamConfig
from modelmeter.nn.activation import GELU
from modelmeter.nn.attention import flash_attention
from modelmeter.nn.conv import Conv2d
from modelmeter.nn.linear import Linear
from modelmeter.nn.norm import LayerNorm


class _GridLayer(Layer):
    """A layer whose input is a grid [b h w c]; asked on its own, `seq_len` is the grid's side."""

    def __init__(self, width: int, side: Dim, **size: Unpack[InputSize]) -> None:
        super().__init__(**{"seq_len": side, **size})
        self.width = width

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        side, batch = sizes
        return (recorder.take((batch, side, side, self.width), self.dtype),)


class PatchEmbed(Layer):
    """Image [b 3 h w] -> grid [b h/p w/p c], one strided convolution."""

    def __init__(self, config: SamConfig, **size: Unpack[InputSize]) -> None:
        super().__init__(**{"seq_len": config.image_size, **size})
        self.channels = config.in_channels
        self.proj = Conv2d(config.in_channels, config.width, config.patch_size, stride=config.patch_size)

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        side, batch = sizes
        return (recorder.take((batch, self.channels, side, side), self.dtype),)

    def forward(self, image: Tensor) -> Tensor:
        x = self.proj(image)
        batch, width, rows, columns = x.shape
        return x.view(batch, rows, columns, width)


class MLPBlock(_GridLayer):
    """[b h w c] -> [b h w c], c -> mlp -> c with GELU."""

    def __init__(self, width: int, mlp_dim: int, side: Dim = 64, **size: Unpack[InputSize]) -> None:
        super().__init__(width, side, **size)
        self.lin1 = Linear(width, mlp_dim)
        self.lin2 = Linear(mlp_dim, width)
        self.act = GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.act(self.lin1(x)))


class Attention(_GridLayer):
    """Attention over a grid [b h w c] -> [b h w c], with decomposed relative positions of a `table_side` square."""

    def __init__(
        self, config: SamConfig, table_side: int, conventions: Conventions = RELEASED, **size: Unpack[InputSize]
    ) -> None:
        super().__init__(config.width, table_side, **size)
        self.num_heads = config.heads
        self.head_dim = config.width // config.heads
        self.conventions = conventions
        self.use_rel_pos = config.use_rel_pos
        self.qkv = Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.proj = Linear(config.width, config.width)
        if config.use_rel_pos:
            self.rel_pos_h = Parameter(2 * table_side - 1, self.head_dim)
            self.rel_pos_w = Parameter(2 * table_side - 1, self.head_dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        tokens, heads = height * width, self.num_heads
        qkv = self.qkv(x)
        # A copy brings q, k and v to the front, beside the original; the three are views of it. One grid needs no copy.
        in_front = ops.clone(qkv, (3, batch * heads, tokens, self.head_dim), when=not_one(batch))
        q = k = v = in_front.narrow(batch * heads, tokens, self.head_dim)
        del in_front
        sdpa = self.conventions.vision_sdpa
        out, _held = (self._sdpa if sdpa else self._eager)(q, k, v, (batch, height, width))
        # The kernel's output is laid out as its query: heads behind tokens where that is a view of one grid's qkv.
        copied = not_one(batch) if sdpa else 1
        out = ops.clone(out.view(batch, height, width, channels), when=copied)
        return self.proj(out)

    def _eager(self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[Dim, Dim, Dim]) -> tuple[Tensor, None]:
        scores = ops.bmm(ops.unary("mul", q), k.view(k.shape[0], self.head_dim, k.shape[1]))
        if self.use_rel_pos:
            bias = ops.binary("add", *self._bias_halves(q, grid))
            scores = ops.binary("add", scores, ops.clone(bias, scores.shape))
        probs = ops.cast(ops.softmax(ops.cast(scores, FP32)), q.dtype)
        return ops.bmm(probs, v), None

    def _sdpa(self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[Dim, Dim, Dim]) -> tuple[Tensor, Any]:
        """The heads' outputs, and what the vendor's forward holds to its end: the bias and its halves."""
        batch, height, width = grid
        tokens = height * width
        shape = (batch, self.num_heads, tokens, self.head_dim)
        q_heads, k, v = q.view(*shape), k.view(*shape), v.view(*shape)
        if not self.use_rel_pos:
            return flash_attention(q_heads, k, v), None
        halves = self._bias_halves(q, grid)
        bias = ops.binary("add", *halves).view(batch, self.num_heads, tokens, tokens)
        if self.conventions.implementation == "vendor":
            return flash_attention(q_heads, k, v, bias), (bias, halves)
        del halves
        bias = ops.clone(bias)
        return flash_attention(q_heads, k, v, bias), None

    def _bias_halves(self, q: Tensor, grid: tuple[Dim, Dim, Dim]) -> tuple[Tensor, Tensor]:
        """[b*heads n d] -> [b*heads h w h 1], [b*heads h w 1 w]: einsums against the tables; their sum is the bias."""
        batch, height, width = grid
        table_h = self._table(self.rel_pos_h, height)
        table_w = self._table(self.rel_pos_w, width)
        rows, several = q.shape[0], not_one(batch)
        # einsum "bhwc,hkc->bhwk" is a product batched over h, on a copy of q with h in front; the one batched over w
        # finds q in order, but not when q is a view of a single grid's qkv.
        h_first = ops.clone(q, (height, rows * width, self.head_dim))
        by_row = ops.bmm(h_first, table_h.view(height, self.head_dim, height))
        del h_first
        w_first = ops.clone(q, (width, rows * height, self.head_dim), when=1 - several)
        by_column = ops.bmm(w_first, table_w.view(width, self.head_dim, width))
        del w_first
        sides = (rows, height, width)
        if self.conventions.implementation == "vendor":  # brings the heads to the front of each half before the sum
            by_row, by_column = ops.clone(by_row), ops.clone(by_column)
        return by_row.view(*sides, height, 1), by_column.view(*sides, 1, width)

    def _table(self, parameter: Parameter, side: Dim) -> Tensor:
        """The rows of a relative-position table for `side` queries and keys: [side side d]."""
        table = parameter.read()
        rows = 2 * side - 1
        if self.conventions.implementation == "transformers":
            table = ops.resize("upsample_linear1d", table, (rows, self.head_dim))
        elif not same(table.shape[0], rows):
            resized = ops.resize("upsample_linear1d", ops.cast(table, FP32), (rows, self.head_dim))
            table = ops.cast(resized, self.dtype)
        coordinates = [ops.unary("mul", ops.fill("arange", (side,), INT64), dtype=FP32) for _ in range(2)]
        queries, keys = coordinates[0].view(side, 1), coordinates[1].view(1, side)
        distance = ops.unary("add", ops.binary("sub", queries, keys))
        return ops.gather(table, ops.cast(distance, INT64), (side, side, self.head_dim))


class Block(_GridLayer):
    """[b h w c] -> [b h w c]: attention in windows (`window_size` > 0) or over the whole grid, then the MLP."""

    def __init__(
        self, config: SamConfig, window_size: int, conventions: Conventions = RELEASED, **size: Unpack[InputSize]
    ) -> None:
        side = config.image_size // config.patch_size
        super().__init__(config.width, side, **size)
        self.window_size = window_size
        self.norm1 = LayerNorm(config.width)
        self.attn = Attention(config, window_size or side, conventions)
        self.norm2 = LayerNorm(config.width)
        self.mlp = MLPBlock(config.width, config.mlp_dim, side)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.norm1(x)
        if self.window_size:
            x = self._partition(x)
        x = self.attn(x)
        if self.window_size:
            x = self._unpartition(x, shortcut.shape)
        x = ops.binary("add", shortcut, x)
        return ops.binary("add", x, self.mlp(self.norm2(x)))

    def _partition(self, x: Tensor) -> Tensor:
        """A grid padded up to whole windows, as windows: projections and attention run on the padding too."""
        padded, windows = self._padded(x.shape)
        if not same_shape(padded, x.shape):
            x = ops.move("constant_pad_nd", (x,), padded, x.dtype)
        return ops.clone(x, (windows, self.window_size, self.window_size, x.shape[-1]))

    def _unpartition(self, x: Tensor, grid: Shape) -> Tensor:
        """Windows as a grid, without the padding."""
        padded, _ = self._padded(grid)
        x = ops.clone(x, padded)
        return x if same_shape(padded, grid) else ops.clone(x.narrow(*grid))

    def _padded(self, grid: Shape) -> tuple[Shape, Dim]:
        """The shape of a grid padded up to whole windows, and their number."""
        batch, height, width, channels = grid
        rows, columns = ceil_div(height, self.window_size), ceil_div(width, self.window_size)
        return (batch, rows * self.window_size, columns * self.window_size, channels), batch * rows * columns


class LayerNorm2d(Layer):
    """[b c h w] -> [b c h w], normalised over channels: operator by operator (vendor) or as one kernel."""

    def __init__(
        self, channels: int, conventions: Conventions = RELEASED, side: Dim = 64, **size: Unpack[InputSize]
    ) -> None:
        super().__init__(**{"seq_len": side, **size})
        self.conventions = conventions
        self.weight = Parameter(channels)
        self.bias = Parameter(channels)

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        side, batch = sizes
        return (recorder.take((batch, self.weight.shape[0], side, side), self.dtype),)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if self.conventions.implementation == "transformers":
            out = ops.layer_norm(x.view(batch, height, width, channels), self.weight.read(), self.bias.read())
            return out.view(batch, channels, height, width)
        one = (batch, 1, height, width)
        mean = ops.reduce("mean", x, one)
        square = ops.unary("pow", ops.binary("sub", x, mean))
        variance = ops.reduce("mean", square, one)
        del square
        x = ops.binary("div", ops.binary("sub", x, mean), ops.unary("sqrt", ops.unary("add", variance)))
        weight, bias = self.weight.read().view(channels, 1, 1), self.bias.read().view(channels, 1, 1)
        return ops.binary("add", ops.binary("mul", x, weight), bias)


class Neck(Layer):
    """[b c h w] -> [b out h w]: 1x1 and 3x3 convolutions, each normalised. Children 0 to 3, as in the Sequential."""

    def __init__(self, config: SamConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]) -> None:
        super().__init__(**{"seq_len": config.image_size // config.patch_size, **size})
        self.width = config.width
        self.layers = [
            Conv2d(config.width, config.out_channels, 1, bias=False),
            LayerNorm2d(config.out_channels, conventions),
            Conv2d(config.out_channels, config.out_channels, 3, padding=1, bias=False),
            LayerNorm2d(config.out_channels, conventions),
        ]

    def named_children(self) -> Any:
        """The Sequential's own names: 0, 1, 2, 3."""
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        side, batch = sizes
        return (recorder.take((batch, self.width, side, side), self.dtype),)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class ImageEncoderViT(Layer):
    """Image [b 3 h w] -> features [b c h/64 w/64]."""

    def __init__(self, config: SamConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]) -> None:
        super().__init__(**{"seq_len": config.image_size, **size})
        self.channels = config.in_channels
        self.copies_halved = conventions.implementation == "vendor"
        self.patch_embed = PatchEmbed(config)
        self.grid = config.image_size // config.patch_size
        self.pos_embed = Parameter(1, self.grid, self.grid, config.width) if config.use_abs_pos else None
        windowed = Block(config, config.window_size, conventions)
        whole = Block(config, 0, conventions)
        self.blocks = [whole if i in config.global_attn_indexes else windowed for i in range(config.layers)]
        self.neck = Neck(config, conventions)
        self.net_2 = Conv2d(config.out_channels, config.downsample_channels[0], 3, stride=2, padding=1, bias=False)
        self.net_3 = Conv2d(*config.downsample_channels, 3, stride=2, padding=1, bias=False)

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        side, batch = sizes
        return (recorder.take((batch, self.channels, side, side), self.dtype),)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image)
        if self.pos_embed is not None:
            x = ops.binary("add", x, self._positions(self.pos_embed.read(), x))
        for block in self.blocks:
            x = block(x)
        batch, height, width, channels = x.shape
        x = self.neck(x.view(batch, channels, height, width))
        halved = self.net_2(x)
        if not self.copies_halved:
            return self.net_3(halved)
        return self.net_3(ops.clone(halved))

    def _positions(self, table: Tensor, x: Tensor) -> Tensor:
        """The position table, resized (bicubic, in fp32) where the grid has another size than the table's."""
        _, height, width, channels = x.shape
        if same(height, self.grid) and same(width, self.grid):
            return table
        resized = ops.resize("_upsample_bicubic2d_aa", ops.cast(table, FP32), (1, height, width, channels))
        return ops.cast(resized, self.dtype)
