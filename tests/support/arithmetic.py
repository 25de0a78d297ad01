"""The released model's counted FLOPs and KV bytes written out: multiplications of sizes, no code of ours behind them.

2 FLOPs a multiply-add; B sequences of Q query tokens after T cached ones; a side of `side` pixels gives a grid of
side / 16 patches.
"""

H, HEADS, HEAD, LAYERS = 1280, 10, 128, 12
DENSE, MOE, SHARED, EXPERTS, TOP_K = 6848, 896, 2 * 896, 64, 6
VOCAB = 129_280
KV_BYTES_PER_TOKEN = 2 * LAYERS * HEADS * HEAD * 2  # keys and values, bf16: 61,440


def attention(q: int, b: int, t: int) -> int:
    """q, k, v and o projections, scores and values over all cached and new keys."""
    return 4 * 2 * H * H * q * b + 2 * 2 * HEADS * HEAD * q * (t + q) * b


def rotary(q: int, rows: int = 1) -> int:
    """The vendor's table: [64 1] by [1 q] for each row of position ids."""
    return 2 * (HEAD // 2) * 1 * q * rows


def dense_mlp(q: int, b: int) -> int:
    return 3 * 2 * H * DENSE * q * b


def gate(q: int, b: int) -> int:
    return 2 * H * EXPERTS * q * b


def routed(q: int, b: int) -> int:
    """Each token goes through six experts of three products."""
    return TOP_K * 3 * 2 * H * MOE * q * b


def moe(q: int, b: int) -> int:
    return gate(q, b) + routed(q, b) + 3 * 2 * H * SHARED * q * b


def head(q: int, b: int) -> int:
    return 2 * H * VOCAB * q * b


def decoder(q: int, b: int, t: int, *, vendor: bool = True, last_logits: bool = False) -> int:
    """A forward pass of decoder and head: layer 0 dense, eleven of experts."""
    layers = LAYERS * attention(q, b, t) + dense_mlp(q, b) + (LAYERS - 1) * moe(q, b)
    return layers + LAYERS * rotary(q) * vendor + head(1 if last_logits else q, b)


def decode_steps(steps: int, b: int, t: int, *, vendor: bool = True) -> int:
    """`steps` decode steps, the first of which finds `t` tokens cached."""
    return sum(decoder(1, b, t + i, vendor=vendor) for i in range(steps))


def sam(side: int) -> int:
    """SAM-B on one view: 8 blocks in windows of 14 on a padded grid, 4 over the whole grid, neck and downsampling."""
    grid = side // 16
    padded = -(-grid // 14) * 14
    patches = 2 * 3 * 16 * 16 * 768 * grid**2
    mlp = 2 * 2 * 768 * 3072 * grid**2
    windowed = _sam_attention(14, windows=(padded // 14) ** 2) + mlp
    whole = _sam_attention(grid, windows=1) + mlp
    neck = 2 * 768 * 256 * grid**2 + 2 * 9 * 256 * 256 * grid**2
    down = 2 * 9 * 256 * 512 * (grid // 2) ** 2 + 2 * 9 * 512 * 1024 * (grid // 4) ** 2
    return patches + 8 * windowed + 4 * whole + neck + down


def _sam_attention(side: int, windows: int) -> int:
    """12 heads of 64 over side x side tokens, with relative positions of rows and of columns."""
    tokens = side**2
    projections = 2 * 768 * (3 * 768) * tokens + 2 * 768 * 768 * tokens
    scores_and_values = 2 * 2 * 12 * 64 * tokens * tokens
    relative = 2 * (2 * 12 * 64 * tokens * side)
    return windows * (projections + scores_and_values + relative)


def clip(side: int) -> int:
    """CLIP-L on SAM's features and a class token: 24 blocks."""
    tokens = (side // 64) ** 2 + 1
    block = 2 * tokens * (4 * 1024 * 1024 + 2 * 1024 * 4096) + 2 * 2 * 16 * 64 * tokens * tokens
    return 24 * block


def projector(side: int) -> int:
    return 2 * 2048 * 1280 * (side // 64) ** 2


def vision(views: tuple[tuple[int, int], ...], pages: int = 1) -> int:
    """`pages` pages of (count, side) views."""
    return pages * sum(count * (sam(side) + clip(side) + projector(side)) for count, side in views)
