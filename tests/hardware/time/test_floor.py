"""The bound: needed FLOPs and compulsory bytes written out as multiplications of sizes, no code of ours behind them."""

import attrs
import numpy as np
import pytest
from support import arithmetic as a
from support.devices import made_up

import modelmeter as mm
from modelmeter.hardware.floor import Floor, best_rate, floor_of
from modelmeter.models.deepseek_ocr.deepseek_v2 import DeepseekV2DecoderLayer

# Bytes of bf16 weights: the released sizes, in parameters times two.
# Without tables, which may be kept in the size needed: SAM's positions, its relative ones (two of 2 * 14 - 1 rows
# of 64 in windows, of 2 * 64 - 1 in the four global blocks), CLIP's positions and class token, newline and separator.
SAM = 2 * (95_569_152 - 64 * 64 * 768 - 8 * 2 * 27 * 64 - 4 * 2 * 127 * 64)
CLIP = 2 * (303_177_728 - 602_112 - 257 * 1024 - 1024)
PROJECTOR = 2 * 2_622_720
EXPERT = 2 * 3 * a.H * a.MOE
LAYER_0, LAYER_OF_EXPERTS = (
    2 * 32_852_480,
    2 * 233_720_320 - (a.EXPERTS - a.TOP_K) * EXPERT,
)  # all tokens alike: 6 of 64
HEAD = 2 * a.H * a.VOCAB
DECODER = LAYER_0 + 11 * LAYER_OF_EXPERTS + 2 * a.H + HEAD  # with the final norm, without the embedding's rows


def text(context, batch=1, **options):
    """A model after a prefill of text."""
    model = mm.DeepseekOCRModel.from_config(**options)
    model.start_prefill(context, batch)
    return model


def decoding(context, batch=1, **options):
    """A model about to decode its first token."""
    model = text(context, batch, **options)
    model.start_decode()
    return model


def looking(mode, batch=1, size=(1654, 2339), **options):
    """A model in the vision stage."""
    model = mm.DeepseekOCRModel.from_config(**options)
    model.set_views(mm.plan_views(*size, mode=mode))
    model.start_vision(batch)
    return model


def decoder_flops(queries, cached, batch=1):
    """bf16 FLOPs of a chunk of queries: a triangle of scores, and of the last layer what the last position needs."""
    pairs = queries * cached + queries * (queries + 1) // 2
    projection, scores = 2 * a.H * a.H, 2 * 2 * a.HEADS * a.HEAD
    whole = 11 * (4 * projection * queries + scores * pairs)  # eleven layers do everything
    whole += a.dense_mlp(queries, 1) + 10 * (a.moe(queries, 1) - a.gate(queries, 1))
    last = 2 * projection * queries + 2 * projection + scores * (cached + queries)  # k and v of all; q, o of one
    last += a.moe(1, 1) - a.gate(1, 1)
    return batch * (whole + last + a.head(1, 1))


def gate_flops(queries, batch=1):
    """fp32: ten layers for all queries, the last one for the last."""
    return batch * (10 * a.gate(queries, 1) + a.gate(1, 1))


def sam_flops(side):
    """SAM-B on one view without what its windows are padded with."""
    grid = side // 16
    sides = [14] * (grid // 14) + [grid % 14]  # of windows along one side of the grid
    squares = sum(s * s for s in sides)
    tokens, width = grid**2, 768
    projections, mlp = 2 * width * 4 * width * tokens, 2 * 2 * width * 4 * width * tokens
    windowed = 2 * 2 * width * squares**2 + 2 * (2 * width * squares * grid)  # scores and values, relative positions
    everywhere = 2 * 2 * width * tokens**2 + 2 * (2 * width * tokens * grid)
    patches = 2 * 3 * 16 * 16 * width * tokens
    neck = 2 * width * 256 * tokens + 2 * 9 * 256 * 256 * tokens
    down = 2 * 9 * 256 * 512 * tokens // 4 + 2 * 9 * 512 * 1024 * tokens // 16
    return patches + 12 * (projections + mlp) + 8 * windowed + 4 * everywhere + neck + down


def clip_flops(side):
    """CLIP-L: of the class token only the keys and values are read in the last block."""
    tokens = (side // 64) ** 2 + 1
    linear, scores = 2 * 1024 * 1024, 2 * 2 * 1024
    block = tokens * (4 * linear + 8 * linear) + scores * tokens * tokens
    last = 2 * linear * tokens + (tokens - 1) * (2 * linear + 8 * linear) + scores * (tokens - 1) * tokens
    return 23 * block + last


def vision_flops(*views):
    """All of (count, side) views."""
    return sum(count * (sam_flops(side) + clip_flops(side) + a.projector(side)) for count, side in views)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("cached", [1, 913, 8000])
def test_a_decode_step_needs(cached, batch):
    floor = floor_of(decoding(cached, batch))
    whole = a.decoder(1, batch, cached, vendor=False)  # scores over the cached keys and the new one
    assert floor.flops_by_dtype == {"bf16": whole - 11 * a.gate(1, batch), "fp32": 11 * a.gate(1, batch)}
    assert floor.flops_by_dtype["bf16"] == decoder_flops(1, cached, batch)
    assert floor.weight_bytes == DECODER
    assert floor.kv_bytes == batch * a.KV_BYTES_PER_TOKEN * (cached + 1)
    assert (floor.input_bytes, floor.output_bytes) == (0, batch * 2 * a.VOCAB)


@pytest.mark.parametrize(("context", "batch"), [(1, 1), (2, 1), (913, 1), (300, 5)])
def test_a_prefill_of_text_needs(context, batch):
    floor = floor_of(text(context, batch))
    expected = {"bf16": decoder_flops(context, 0, batch), "fp32": gate_flops(context, batch)}
    assert floor.flops_by_dtype == expected
    assert floor.flops == sum(expected.values())
    assert floor.weight_bytes == DECODER
    assert floor.kv_bytes == batch * a.KV_BYTES_PER_TOKEN * context  # written once


def test_a_chunk_of_a_prefill_reads_what_is_cached():
    model = text(700, 2)
    model.extend_prefill(213)
    floor = floor_of(model)
    assert floor.flops_by_dtype == {"bf16": decoder_flops(213, 700, 2), "fp32": gate_flops(213, 2)}
    assert floor.kv_bytes == 2 * a.KV_BYTES_PER_TOKEN * (700 + 213)


def test_what_vision_computes_in_vain():
    """What is needed of a view of 1024 px is what the model does without padding and the class token's last row."""
    # A grid of 64 in windows of 14, 14, 14, 14 and 8 tokens, where the model has five of 14, in eight blocks.
    tokens = 70**2 - 64**2
    pairs = (5 * 14**2) ** 2 - (4 * 14**2 + 8**2) ** 2
    relative = 5 * 14**2 * 70 - (4 * 14**2 + 8**2) * 64  # rows of a window, and as many columns
    padding = 8 * (2 * 768 * 4 * 768 * tokens + 2 * 2 * 768 * pairs + 2 * (2 * 768 * relative))
    row = 2 * (2 + 8) * 1024 * 1024 + 2 * 2 * 1024 * 257  # q, output and MLP; scores and values over all keys
    assert floor_of(looking("base")).flops == a.vision(((1, 1024),)) - padding - row


@pytest.mark.parametrize(
    ("mode", "views"),
    [
        ("tiny", [(1, 512)]),
        ("small", [(1, 640)]),
        ("base", [(1, 1024)]),
        ("large", [(1, 1280)]),
        ("gundam", [(6, 640), (1, 1024)]),
        ("gundam-m", [(6, 1024), (1, 1280)]),
    ],
)
@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
def test_vision_needs(mode, views, implementation):
    floor = floor_of(looking(mode, 3, implementation=implementation))
    assert floor.flops_by_dtype == {"bf16": 3 * vision_flops(*views)}
    assert floor.weight_bytes == SAM + CLIP + PROJECTOR  # once, also of two sizes of views; no unused convolution
    assert floor.kv_bytes == 0
    assert floor.input_bytes == 3 * sum(count * 3 * side**2 for count, side in views)  # pixels, a byte each
    assert floor.output_bytes == 3 * 2 * 1280 * sum(count * (side // 64) ** 2 for count, side in views)


def test_a_prefill_with_views_is_vision_and_text():
    model = mm.DeepseekOCRModel.from_config()
    model.set_views(mm.plan_views(1654, 2339))
    model.start_prefill(913, 2)
    floor = floor_of(model)
    bf16 = 2 * vision_flops((6, 640), (1, 1024)) + decoder_flops(913, 0, 2)
    assert floor.flops_by_dtype == {"bf16": bf16, "fp32": gate_flops(913, 2)}
    assert floor.weight_bytes == SAM + CLIP + PROJECTOR + DECODER
    assert floor.output_bytes == 2 * 2 * a.VOCAB


def test_no_view_of_the_model_changes_what_is_needed():
    plain = floor_of(decoding(913))
    other = {"attention": "flash", "cache": "in_place", "experts": "grouped", "logits": "last", "coverage": "max"}
    assert floor_of(decoding(913, **other)) == plain
    assert floor_of(decoding(913, implementation="transformers", causal="triangle", elementwise=False)) == plain


def test_weights_and_cache_in_fewer_bits():
    floor = floor_of(decoding(913, 2, precision=mm.Precision(weights="int4", kv="fp8")))
    # A linear layer of the decoder: half a byte a value, and 2.5 bytes a group of 128 (fp16 scale, 4-bit zero point).
    attention, dense = 4 * a.H * a.H, 3 * a.H * a.DENSE
    moe = a.TOP_K * 3 * a.H * a.MOE + 3 * a.H * a.SHARED
    values = 12 * attention + dense + 11 * moe
    # Input features of 6848 are 53.5 groups, of which a row of down_proj keeps 54; 1280, 896 and 1792 divide by 128.
    groups = (values - a.H * a.DENSE) // 128 + a.H * 54
    rest = 2 * (12 * 2 * a.H + a.H + 11 * a.H * a.EXPERTS)  # norms and gates in bf16
    assert floor.weight_bytes == values // 2 + 2 * groups + groups // 2 + rest + HEAD
    assert floor.kv_bytes == 2 * (a.KV_BYTES_PER_TOKEN // 2) * 914
    assert set(floor.flops_by_dtype) == {"bf16", "fp32"}  # int4 is weight-only: products are in bf16


def test_products_in_fp8_are_needed_in_fp8():
    precision = mm.Precision(weights="fp8", activations="fp8")
    floor = floor_of(decoding(913, precision=precision))
    bf16 = 12 * 2 * 2 * a.HEADS * a.HEAD * 914 + a.head(1, 1)  # attention and head
    whole = decoder_flops(1, 913)
    assert floor.flops_by_dtype == {"bf16": bf16, "fp8": whole - bf16, "fp32": 11 * a.gate(1, 1)}
    device = made_up(tensor={"bf16": 100e12, "fp8": 200e12})
    seconds = bf16 / 100e12 + (whole - bf16) / 200e12 + 11 * a.gate(1, 1) / 100e12
    assert floor.matrix_seconds(device) == pytest.approx(seconds, rel=1e-12)


FLOOR = Floor(
    flops_by_dtype={"bf16": 6 * 10**12, "fp32": 10**12},
    weight_bytes=10**9,
    kv_bytes=2 * 10**8,
    input_bytes=50 * 10**6,
    output_bytes=70 * 10**6,
)


def test_the_bound_is_the_longer_of_two_times():
    device = made_up()  # 100 TFLOP/s and 1 TB/s
    assert FLOOR.matrix_seconds(device) == pytest.approx((6e12 + 1e12) / 100e12, rel=1e-12)
    assert FLOOR.memory_seconds(device) == pytest.approx((10**9 + 2 * 10**8) / 1e12, rel=1e-12)
    assert FLOOR.seconds(device) == FLOOR.matrix_seconds(device)
    slow = made_up(bandwidth=1e9)
    assert FLOOR.seconds(slow) == FLOOR.memory_seconds(slow) == pytest.approx(1.2, rel=1e-12)


@pytest.mark.parametrize(
    ("l2", "beyond"),
    [
        (None, 0),  # a cache of unknown size may hold them
        (1, 50 + 70 - 2),
        (50, 70 - 50),
        (60, 70 - 60),
        (70, 0),
    ],
)
def test_activations_count_beyond_the_cache_alone(l2, beyond):
    device = made_up(l2_bytes=None if l2 is None else l2 * 10**6)
    assert FLOOR.num_bytes(device) == 10**9 + 2 * 10**8 + beyond * 10**6


def test_the_best_rate_of_a_format():
    device = made_up(tensor={"bf16": 100e12, "fp16": 150e12}, vector={"fp32": 10e12})
    assert best_rate(device, "bf16") == 150e12  # what is as exact in 16 bits may run there
    assert best_rate(device, "fp8") == 150e12  # it has none: the next wider
    assert best_rate(device, "fp32") == 150e12  # split into 16-bit products by whoever can
    assert best_rate(attrs.evolve(device, tensor={"bf16": 1.0, "fp8": 300e12}), "fp8") == 300e12
    assert best_rate(attrs.evolve(device, tensor={"bf16": 1.0, "fp8": 300e12}), "bf16") == 10e12
    with pytest.raises(mm.ModelMeterError, match="device made-up has no rate for fp64: give it one of fp64"):
        best_rate(device, "fp64")


def test_an_array_of_sizes_is_as_many_floors():
    contexts, batches = np.array([1, 17, 913]), np.array([3, 1, 64])
    floor = floor_of(decoding(contexts, batches))
    for i, (context, batch) in enumerate(zip(contexts.tolist(), batches.tolist(), strict=True)):
        assert floor.flops_by_dtype["bf16"][i] == decoder_flops(1, context, batch)
        assert floor.kv_bytes[i] == batch * a.KV_BYTES_PER_TOKEN * (context + 1)
        assert floor.output_bytes[i] == batch * 2 * a.VOCAB
    pages = floor_of(looking("gundam", np.array([1, 4])))
    assert pages.flops_by_dtype["bf16"].tolist() == [n * vision_flops((6, 640), (1, 1024)) for n in (1, 4)]


def test_nothing_wraps_where_sizes_are_huge():
    """Products beyond 2**63 in a sweep: as exact as those of one size."""
    contexts, batch = np.array([273, 913]), 10**15
    floor = floor_of(decoding(contexts, batch))
    assert floor.kv_bytes.tolist() == [batch * a.KV_BYTES_PER_TOKEN * (n + 1) for n in (273, 913)]
    assert floor.flops_by_dtype["bf16"].tolist() == [decoder_flops(1, n, batch) for n in (273, 913)]
    device = made_up(l2_bytes=1)
    total = [DECODER + batch * (a.KV_BYTES_PER_TOKEN * (n + 1) + 2 * a.VOCAB) - 1 for n in (273, 913)]
    assert floor.num_bytes(device).tolist() == total
    pages = floor_of(looking("gundam", np.array([1, 10**5])))  # times 212**2, the tokens paired, this passes 2**63
    assert pages.flops_by_dtype["bf16"].tolist() == [n * vision_flops((6, 640), (1, 1024)) for n in (1, 10**5)]
    most = floor_of(looking("base", np.array([1, 10**7])))  # two traces that fit int64
    assert most.flops_by_dtype["bf16"].tolist() == [n * vision_flops((1, 1024)) for n in (1, 10**7)]


def test_given_layers_have_no_bound():
    layer = DeepseekV2DecoderLayer(mm.DeepseekOCRConfig().decoder)
    model = mm.DeepseekOCRModel.from_layers(None, layer, 2)
    model.start_prefill(10)
    with pytest.raises(mm.ModelMeterError, match=r"bound needs a model from a configuration: from_layers\(\)"):
        floor_of(model)


def test_nothing_started_has_no_bound():
    with pytest.raises(mm.ModelMeterError, match=r"call start_vision\(\) or start_prefill"):
        floor_of(mm.DeepseekOCRModel.from_config())
