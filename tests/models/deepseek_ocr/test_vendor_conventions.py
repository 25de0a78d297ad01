"""What only the vendor's code does, and every named choice of counting, as arithmetic written out."""

from fractions import Fraction

import pytest
from support import arithmetic

from modelmeter import Cost, DeepseekOCRModel, ViewPlan, plan_views

A4 = plan_views(1654, 2339)  # 2 x 3 tiles, 903 image tokens
TOKEN = 10 * 128 * 2  # bytes of one token's keys (or values) in one layer, bf16
EXPERT_MATRIX = 1280 * 896 * 2  # bytes of one of an expert's three matrices


def model_in(mode: str, length: int = 100, batch: int = 1, **conventions: object) -> DeepseekOCRModel:
    """A vendor model in prefill of `length` tokens, or in decode after them."""
    model = DeepseekOCRModel.from_config(**conventions)
    model.start_prefill(length, batch)
    if mode == "decode":
        model.start_decode()
    return model


def of_operator(model: DeepseekOCRModel, name: str, below: str = "") -> Cost:
    """The sum of the operators of one name below a path."""
    found = [op.cost for path, op in model.trace().operators() if op.name == name and f"{path}.".startswith(below)]
    assert found
    total = Cost()
    for cost in found:
        total += cost
    return total


# The whole, by hand ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("length", [1, 2, 100, 913, 8192])
def test_prefill_by_hand(length, batch):
    assert model_in("prefill", length, batch).cost().counted_flops == arithmetic.decoder(length, batch, 0)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("cached", [1, 2, 100, 913, 8191])
def test_decode_by_hand(cached, batch):
    assert model_in("decode", cached, batch).cost().counted_flops == arithmetic.decoder(1, batch, cached)


@pytest.mark.parametrize("side", [512, 640, 1024, 1280])
def test_vision_by_hand(side):
    model = DeepseekOCRModel.from_config()
    model.set_views(plan_views(side, side, mode="base", base_size=side))
    model.start_vision()
    assert model.cost().counted_flops == arithmetic.vision(((1, side),))
    parts = {name: cost.cost.counted_flops for name, cost in model.part_costs().items()}
    assert (parts["sam"], parts["clip"]) == (arithmetic.sam(side), arithmetic.clip(side))
    assert parts["projector"] == arithmetic.projector(side)


@pytest.mark.parametrize("pages", [1, 3])
def test_a_page_by_hand(pages):
    """Six tiles, a global view, 913 tokens."""
    model = DeepseekOCRModel.from_config()
    model.set_views(A4)
    model.start_prefill(913, pages)
    by_hand = arithmetic.vision(((6, 640), (1, 1024)), pages) + arithmetic.decoder(913, pages, 0)
    assert model.cost().counted_flops == by_hand


# Rotary ---------------------------------------------------------------------------------------------------------------


def test_rotary_is_a_product_in_every_layer():
    model = model_in("prefill", 100)
    layers = model.trace().by_layer()
    for i in range(12):
        cost = layers[f"model.layers.{i}.self_attn.rotary_emb"]
        assert cost.counted_flops == 2 * 64 * 1 * 1 * 100
        assert cost.tensor_flops == 0  # fp32: on CUDA cores


@pytest.mark.parametrize("batch", [1, 3])
def test_rotary_counts_the_rows_of_the_position_ids(batch):
    """A plain forward has ids [1 q], the same for every sequence; ids [B q] multiply the table by B."""
    shared = model_in("prefill", 50, batch, position_ids="shared").cost().counted_flops
    batched = model_in("prefill", 50, batch, position_ids="batch").cost().counted_flops
    assert batched - shared == 12 * 2 * 64 * 50 * (batch - 1)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(("mode", "queries"), [("prefill", 283), ("decode", 1)])
def test_rotary_is_all_that_transformers_counts_less(mode, queries, batch):
    vendor = model_in(mode, 283, batch).cost().counted_flops
    transformers = model_in(mode, 283, batch, implementation="transformers").cost().counted_flops
    assert vendor - transformers == 12 * 2 * 64 * 1 * 1 * queries


# Logits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2])
def test_logits_are_cast_to_fp32(batch):
    """After the head's own call, in the forward of the whole network."""
    (cast,) = [op.cost for path, op in model_in("prefill", 100, batch).trace().operators() if not path]
    logits = batch * 100 * 129_280
    assert cast == Cost(activation_read_bytes=2 * logits, activation_write_bytes=4 * logits)
    names = {
        op.name
        for path, op in model_in("prefill", implementation="transformers").trace().operators()
        if path == "lm_head"
    }
    assert names == {"mm"}


@pytest.mark.parametrize("batch", [1, 2])
def test_logits_of_all_or_the_last_position(batch):
    every, last = (model_in("prefill", 100, batch, logits=logits) for logits in ("all", "last"))
    assert every.trace().by_layer()["lm_head"].counted_flops == 2 * 1280 * 129_280 * 100 * batch
    assert last.trace().by_layer()["lm_head"].counted_flops == 2 * 1280 * 129_280 * 1 * batch
    logits = 99 * batch * 129_280
    saved = every.cost().activation_bytes - last.cost().activation_bytes
    assert saved == logits * (2 + 2 + 4) + 99 * batch * 1280 * 2  # written, read and cast; the hidden states read
    assert every.cost().weight_bytes == last.cost().weight_bytes


def test_logits_make_no_difference_in_decode():
    assert model_in("decode", logits="all").cost() == model_in("decode", logits="last").cost()


# Vision ---------------------------------------------------------------------------------------------------------------


def test_the_patch_convolution_of_clip_is_resident_and_never_runs():
    vendor = DeepseekOCRModel.from_config()
    transformers = DeepseekOCRModel.from_config(implementation="transformers")
    assert vendor.parameter_count() - transformers.parameter_count() == 1024 * 3 * 14 * 14 == 602_112
    vendor.set_views(A4)
    vendor.start_prefill(913)
    assert not [path for path in vendor.trace().by_layer() if "patch_embedding" in path]


def test_vision_always_runs_sdpa():
    """The vendor's vision has no eager core: `attention` changes the decoder alone."""
    costs = []
    for attention in ("eager", "flash"):
        model = DeepseekOCRModel.from_config(attention=attention)
        model.set_views(A4)
        model.start_vision()
        costs.append(model.cost())
        assert model.trace().by_op()["flash_attention"].calls == 2 * (12 + 24)  # tiles and global view
    assert costs[0] == costs[1]


def test_sdpa_of_sam_reads_its_materialised_bias():
    """q, k, v and a bias of 12 heads x N x N go in, the output comes out: no scores in memory."""
    model = DeepseekOCRModel.from_config()
    model.set_views(plan_views(1024, 1024, mode="base"))
    model.start_vision()
    (core,) = [
        op.cost
        for path, op in model.trace().operators()
        if path == "model.sam_model.blocks.2.attn" and op.name == "flash_attention"
    ]
    tokens = 64 * 64
    q = k = v = out = 12 * tokens * 64 * 2
    bias = 12 * tokens * tokens * 2
    assert core.activation_read_bytes == q + k + v + bias
    assert core.activation_write_bytes == out


def test_halves_of_the_bias_are_laid_out_before_they_are_added():
    """Each comes out of its product with the rows (or columns) in front; SAM's last convolution gets a copy too."""
    model = DeepseekOCRModel.from_config()
    model.set_views(plan_views(1024, 1024, mode="base"))
    model.start_vision()
    tokens, side = 64 * 64, 64
    inside = [op for path, op in model.trace().operators() if path == "model.sam_model.blocks.2.attn"]
    clones = [op.cost.activation_write_bytes for op in inside if op.name == "clone"]
    queries, half = 12 * tokens * 64 * 2, 12 * tokens * side * 2
    assert clones == [queries, queries, half, half]  # a copy of the queries for either product, then the halves
    last = [op for path, op in model.trace().operators() if path == "model.sam_model"]
    assert [op.name for op in last] == ["add", "clone"]  # the positions
    assert last[-1].cost.activation_write_bytes == 512 * 32 * 32 * 2


def test_images_of_zeros_are_looked_for():
    """The vendor's code sums all tiles of a page, and the first page."""
    model = DeepseekOCRModel.from_config()
    model.set_views(A4)
    model.start_vision()
    sums = [op.cost.activation_read_bytes for path, op in model.trace().operators() if op.name == "sum"]
    assert sums == [6 * 3 * 640 * 640 * 2, 3 * 1024 * 1024 * 2]


def test_vision_weights_are_resident_once_and_read_once_a_call():
    """Tiles run as one batch, the global view as another: two calls of the same weights."""
    model = DeepseekOCRModel.from_config()
    reads = []
    for plan in (ViewPlan.from_grid((2, 3)), plan_views(1024, 1024, mode="base")):
        model.set_views(plan)
        model.start_vision()
        layers = model.trace().by_layer()
        reads.append(
            [layers[f"model.{part}"].weight_read_bytes for part in ("sam_model.neck", "vision_model.transformer")]
        )
        assert model.get_forward_cost().weights_bytes == model.parameter_bytes()
    tiles_and_global, global_only = reads
    assert tiles_and_global == [2 * read for read in global_only]
    neck = 768 * 256 + 9 * 256 * 256 + 2 * (256 + 256)  # convolutions, two norms of weight and bias
    block = 4 * (1024 * 1024 + 1024) + (1024 * 4096 + 4096) + (4096 * 1024 + 1024) + 2 * (1024 + 1024)
    assert global_only == [2 * neck, 2 * 24 * block]


@pytest.mark.parametrize("pages", [2, 5])
def test_a_batch_of_pages_reads_the_weights_once(pages):
    one, several = DeepseekOCRModel.from_config(), DeepseekOCRModel.from_config()
    for model, batch in ((one, 1), (several, pages)):
        model.set_views(A4)
        model.start_vision(batch)
    # Each page's tokens are joined anew with the newline (expanded to the rows: for the tiles and for the whole page)
    # and the separator. The class token is expanded to all views of a size.
    a_page = 2 * (2 + 1) * 1280
    assert several.cost().weight_bytes - one.cost().weight_bytes == (pages - 1) * a_page
    assert several.cost().counted_flops == pages * one.cost().counted_flops


# Attention: causal, keys, caches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["eager", "flash"])
@pytest.mark.parametrize(
    ("chunks", "batch"), [((100,), 1), ((913,), 2), ((1,), 1), ((100, 28), 1), ((60, 1), 3)], ids=str
)
def test_a_causal_triangle_needs_fewer_products(attention, chunks, batch):
    """S_q * S_kv - S_q * (S_q - 1) / 2 scores are needed; a counter sees S_q * S_kv."""
    costs = {}
    for causal in ("full", "triangle"):
        model = DeepseekOCRModel.from_config(causal=causal, attention=attention)
        model.start_prefill(chunks[0], batch)
        for tokens in chunks[1:]:
            model.extend_prefill(tokens)
        costs[causal] = model.cost()
    queries = chunks[-1]
    spared = queries * (queries - 1) // 2
    full, triangle = costs["full"], costs["triangle"]
    assert full.tensor_flops - triangle.tensor_flops == 12 * 2 * 2 * 10 * 128 * spared * batch
    assert full.counted_flops == triangle.counted_flops
    assert full.io_bytes == triangle.io_bytes


def test_a_decode_step_attends_to_all_keys():
    assert model_in("decode", causal="triangle").cost() == model_in("decode", causal="full").cost()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("cached", [1, 100, 913])
def test_a_decode_step_reads_its_own_key_too(cached, batch):
    """The cache is written, then read: cached + 1 keys and values in every layer."""
    model = model_in("decode", cached, batch, attention="flash", cache="in_place")
    core = of_operator(model, "flash_attention")
    assert core.kv_read_bytes == 12 * 2 * TOKEN * (cached + 1) * batch
    assert core.counted_flops == 12 * 2 * 2 * 10 * 128 * (cached + 1) * batch
    eager = of_operator(model_in("decode", cached, batch, cache="in_place"), "bmm", "model.layers.0.self_attn.")
    assert eager.kv_read_bytes == 2 * TOKEN * (cached + 1) * batch


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("cached", [1, 100, 913])
def test_concat_builds_the_cache_anew_and_in_place_writes_one_token(cached, batch):
    token = 12 * 2 * TOKEN * batch  # keys and values of all layers
    concat, in_place = (model_in("decode", cached, batch, cache=style).cost() for style in ("concat", "in_place"))
    attended = (cached + 1) * token
    assert (in_place.kv_read_bytes, in_place.kv_write_bytes) == (attended, token)
    # DynamicCache's torch.cat reads the old cache and writes old and new; attention then reads all of it.
    assert (concat.kv_read_bytes, concat.kv_write_bytes) == (cached * token + attended, attended)
    assert concat.counted_flops == in_place.counted_flops


@pytest.mark.parametrize("style", ["concat", "in_place"])
def test_a_prefill_writes_its_keys_and_values_once(style):
    model = model_in("prefill", 100, 2, cache=style)
    assert model.cost().kv_write_bytes == 12 * 2 * TOKEN * 100 * 2 == model.kv_cache_bytes()
    assert model.cost().kv_read_bytes == 12 * 2 * TOKEN * 100 * 2  # scores and values


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
def test_an_empty_cache_takes_keys_and_values_with_or_without_a_copy(implementation, batch):
    """transformers 4.46 keeps them: what makes them writes the cache. transformers 5 concatenates them to nothing."""
    trace = model_in("prefill", 100, batch, implementation=implementation).trace()
    layers, written = trace.by_layer(), TOKEN * 100 * batch
    kept = implementation == "vendor"
    attention, values = (layers[f"model.layers.0.self_attn{name}"] for name in ("", ".v_proj"))
    assert (values.kv_write_bytes, values.activation_write_bytes) == ((written, 0) if kept else (0, written))
    assert attention.kv_write_bytes == 2 * written
    inside = [op.name for path, op in trace.operators() if path == "model.layers.0.self_attn"]
    assert inside.count("cat") == 2 + (0 if kept else 2)  # rotate_half of queries and keys
    # What is kept lies in memory as it was made: for several sequences each product copies its operands first. The
    # heads' outputs are merged by a copy, always.
    assert inside.count("clone") == 1 + (0 if batch == 1 else 3 if kept else 1)


def test_later_tokens_are_concatenated():
    """Past an empty cache both do the same."""
    names = []
    for implementation in ("vendor", "transformers"):
        model = model_in("decode", 100, 2, implementation=implementation)
        inside = [op.name for path, op in model.trace().operators() if path == "model.layers.0.self_attn"]
        names.append([name for name in inside if name in ("cat", "clone")])
    assert names[0] == names[1] == ["cat"] * 4


@pytest.mark.parametrize("style", ["concat", "in_place"])
def test_a_chunk_onto_a_cache(style):
    model = model_in("prefill", 100, cache=style)
    model.extend_prefill(28)
    token = 12 * 2 * TOKEN
    old_read, written = (100, 128) if style == "concat" else (0, 28)
    assert model.cost().kv_read_bytes == (old_read + 128) * token
    assert model.cost().kv_write_bytes == written * token


# Experts --------------------------------------------------------------------------------------------------------------


def expert_bytes(implementation: str, hit: Fraction) -> int:
    """Bytes of routed experts' weights read in 11 layers by `hit` experts: whole numbers operator by operator."""
    matrices = [EXPERT_MATRIX] * 3 if implementation == "vendor" else [2 * EXPERT_MATRIX, EXPERT_MATRIX]
    return 11 * sum(round(matrix * hit) for matrix in matrices)


@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
@pytest.mark.parametrize("tokens", [1, 2, 5, 11, 100, 913])
@pytest.mark.parametrize(
    ("coverage", "hit"),
    [
        ("expected", lambda tokens: 64 * (1 - Fraction(64 - 6, 64) ** tokens)),
        ("max", lambda tokens: Fraction(min(64, 6 * tokens))),
        ("min", lambda _: Fraction(6)),
        (17.5, lambda _: Fraction(35, 2)),
        (0, lambda _: Fraction(0)),
        (64, lambda _: Fraction(64)),
    ],
    ids=["expected", "max", "min", "17.5", "0", "64"],
)
def test_coverage_says_how_many_experts_are_read(implementation, tokens, coverage, hit):
    model = model_in("prefill", tokens, implementation=implementation, coverage=coverage)
    read = sum(op.cost.weight_read_bytes for path, op in model.trace().operators() if ".experts." in path)
    possible = min(max(hit(tokens), 6), 64, 6 * tokens)  # a measured number is kept within what can be
    assert read == expert_bytes(implementation, hit(tokens) if isinstance(coverage, str) else possible)


def test_coverage_counts_the_tokens_of_all_sequences():
    two_by_five = model_in("prefill", 5, 2).cost().weight_read_bytes
    one_by_ten = model_in("prefill", 10, 1).cost().weight_read_bytes
    assert two_by_five == one_by_ten


def test_coverage_changes_weight_traffic_alone():
    """FLOPs, KV and resident weights do not depend on the routing (transformers' masks do, by a little)."""
    most, least = (model_in("decode", 100, 4, coverage=coverage) for coverage in ("max", "min"))
    changed = most.cost().weight_read_bytes - least.cost().weight_read_bytes
    assert changed == 11 * 3 * EXPERT_MATRIX * (min(64, 6 * 4) - 6)
    assert most.cost().io_bytes - least.cost().io_bytes == changed
    assert most.cost().flops == least.cost().flops
    assert most.parameter_bytes() == least.parameter_bytes()


def test_one_token_reads_six_experts_under_any_convention():
    costs = {model_in("decode", coverage=coverage).cost() for coverage in ("expected", "max", "min")}
    assert len(costs) == 1


def test_the_gate_runs_in_fp32_on_cuda_cores():
    gate = model_in("prefill", 100, 2).trace().by_layer()["model.layers.1.mlp.gate"]
    products = 2 * 200 * 1280 * 64
    assert gate.counted_flops == products
    assert gate.tensor_flops == 0
    softmax, selection, scaling = 5 * 200 * 64, 200 * 64, 200 * 6  # 5 an element, a comparison an element, a product
    assert gate.cuda_flops == products + softmax + selection + scaling


def test_tensor_and_cuda_cores_of_a_prefill():
    """Without elementwise work CUDA cores have the gates and the rotary tables; tensor cores all the rest."""
    cost = model_in("prefill", 100, 2, elementwise=False).cost()
    fp32 = 11 * arithmetic.gate(100, 2) + 12 * arithmetic.rotary(100)
    assert cost.cuda_flops == fp32
    assert cost.tensor_flops == arithmetic.decoder(100, 2, 0) - fp32
    assert cost.flops == cost.counted_flops


def test_elementwise_work_is_counted_apart():
    counted, bare = model_in("prefill", 100).cost(), model_in("prefill", 100, elementwise=False).cost()
    assert counted.cuda_flops > bare.cuda_flops
    assert (counted.tensor_flops, counted.counted_flops) == (bare.tensor_flops, bare.counted_flops)
    assert counted.io_bytes == bare.io_bytes
    assert model_in("prefill", 100).cost(elementwise=False) == bare


@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
def test_a_loop_over_experts_and_a_grouped_kernel_do_the_same_work(implementation):
    """A loop holds one expert's temporaries at a time. transformers' two ways sort, gather and add differently."""
    loop, grouped = (
        model_in("prefill", 300, implementation=implementation, experts=experts) for experts in ("loop", "grouped")
    )
    if implementation == "vendor":
        assert loop.cost() == grouped.cost()
    else:
        for quantity in ("tensor_flops", "counted_flops", "weight_bytes", "kv_bytes"):
            assert getattr(loop.cost(), quantity) == getattr(grouped.cost(), quantity)
    assert loop.activation_peak_bytes() <= grouped.activation_peak_bytes()


def test_the_swiglu_of_the_dense_layer():
    """silu is 4 FLOPs an element, the product 1; gate, up and product are written and read at 6848."""
    trace = model_in("prefill", 100).trace()
    mlp = trace.by_layer()["model.layers.0.mlp"]
    assert mlp.cuda_flops == 100 * 6848 * (4 + 1)
    assert mlp.tensor_flops == 3 * 2 * 1280 * 6848 * 100
    hidden, wide = 100 * 1280 * 2, 100 * 6848 * 2
    # gate and up read the input and write wide; silu: 1 in, 1 out; product: 2 in, 1 out; down: 1 in, hidden out
    assert mlp.activation_read_bytes == 2 * hidden + wide + 2 * wide + wide
    assert mlp.activation_write_bytes == 2 * wide + wide + wide + hidden
    assert mlp.weight_read_bytes == 3 * 1280 * 6848 * 2
