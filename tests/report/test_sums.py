"""The numbers of an analysis: rows add up as integers, stages fit together, and a model asked apart says the same."""

from functools import reduce
from itertools import pairwise
from operator import add

import pytest

import modelmeter as mm
from modelmeter.documents import Page
from modelmeter.report.export import EXACT_FIELDS, LAYER_FIELDS, analysis_data

A4 = Page("a.pdf", 1, 1191, 1684, "a.pdf p1")
RECEIPT = Page("b.png", 1, 600, 620, "b.png")
SUMMED = EXACT_FIELDS[:7]
MEMORY = EXACT_FIELDS[7:]
STAGES = ("vision", "prefill", "decode", "run")
TOKEN = 2 * 12 * 10 * 128 * 2  # bytes that a token holds: keys and values, layers, heads, width, bf16
PARAMETERS = {"vendor": 3_336_106_240, "transformers": 3_336_106_240 - 602_112}
"""Of the checkpoint; transformers' code has no patch convolution in CLIP, which nothing uses."""

OPTIONS = [
    {"by_layer": 1},
    {"by_layer": 4, "attention": "flash", "logits": "last"},
    {"by_layer": 2, "implementation": "transformers", "batch_size": 3},
    {"by_layer": 3, "coverage": "max", "cache": "in_place", "experts": "grouped"},
    {"by_layer": 9, "mode": "tiny", "coverage": "min", "prompt_tokens": 0},
    {"by_layer": 2, "mode": "gundam-m", "coverage": 7.25, "elementwise": False, "position_ids": "batch"},
]
TOKENS = 6


@pytest.fixture(scope="module", params=OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def asked(request, analysed):
    """(options, data of an analysis of two pages)."""
    return request.param, analysis_data(analysed(A4, RECEIPT, A4, decode_tokens=TOKENS, **request.param))


@pytest.fixture
def stages(asked):
    """Every stage of the data: of each page, and of the totals."""
    _, data = asked
    owners = [*data["pages"], data["totals"]]
    return [(name, owner["stages"][name]) for owner in owners for name in STAGES]


def summed(rows, names=SUMMED):
    """Rows of numbers, added up field by field."""
    return {name: sum(row[name] for row in rows) for name in names}


def only(row, names=SUMMED):
    """Some fields of a row."""
    return {name: row[name] for name in names}


def weights(options):
    """Bytes of all weights, in bf16."""
    return 2 * PARAMETERS[options.get("implementation", "vendor")]


def values(cost):
    """A `Cost` as the fields of a row."""
    return {name: getattr(cost, name) for name in SUMMED}


def test_bytes_by_role_add_up(stages):
    for _, stage in stages:
        for row in (stage, *stage["parts"].values(), *stage["layers"].values()):
            assert row["io_bytes"] == row["weight_bytes"] + row["activation_bytes"] + row["kv_bytes"]


def test_parts_add_up(asked, stages):
    for name, stage in stages:
        assert (name, summed(stage["parts"].values())) == (name, only(stage))
        assert sum(part["weights_resident_bytes"] for part in stage["parts"].values()) == weights(asked[0])
        assert sum(part["kv_cache_bytes"] for part in stage["parts"].values()) == stage["kv_cache_bytes"]
        assert max(part["activation_peak_bytes"] for part in stage["parts"].values()) <= stage["activation_peak_bytes"]


def test_layers_add_up(stages):
    for name, stage in stages:
        assert (name, summed(stage["layers"].values(), LAYER_FIELDS)) == (name, only(stage))


def test_readable_fields_are_the_exact_ones(stages):
    for _, stage in stages:
        for row in (stage, *stage["parts"].values()):
            flops = row["tensor_flops"] + row["cuda_flops"]
            assert row["flops_tflops"] == flops / 10**12
            assert row["flops_tensor_tflops"] == row["tensor_flops"] / 10**12
            assert row["flops_cuda_tflops"] == row["cuda_flops"] / 10**12
            assert row["io_tb"] == row["io_bytes"] * 8 / 10**12
            assert row["arithmetic_intensity"] == (flops / row["io_bytes"] if row["io_bytes"] else 0)
            assert row["weights_gb"] == row["weights_resident_bytes"] / 2**30
            assert row["activations_gb"] == row["activation_peak_bytes"] / 2**30
            assert row["kv_gb"] == row["kv_cache_bytes"] / 2**30


def fresh(options, page):
    """A model of its own at the start of a page, its context, and the analysis' batch."""
    workload = {name: options[name] for name in ("mode", "batch_size", "prompt_tokens") if name in options}
    conventions = {name: options[name] for name in options if name not in (*workload, "by_layer")}
    model = mm.DeepseekOCRModel.from_config(**conventions)
    views = mm.plan_views(page.width, page.height, mode=workload.get("mode", "gundam"))
    model.set_views(views)
    return model, views.image_tokens + workload.get("prompt_tokens", 10), workload.get("batch_size", 1)


@pytest.mark.parametrize("number", [0, 1])
def test_stages_are_those_of_a_model_stepped_token_by_token(asked, number):
    options, data = asked
    model, context, batch = fresh(options, (A4, RECEIPT)[number])
    page = data["pages"][number]
    assert page["context_len"] == context
    model.start_vision(batch)
    assert only(page["stages"]["vision"]) == values(model.cost())
    model.start_prefill(context, batch)
    prefill = model.get_forward_cost()
    assert only(page["stages"]["prefill"]) == values(prefill.cost)
    model.start_decode()
    steps = []
    for _ in range(TOKENS):
        steps.append(model.get_forward_cost())
        model.decode_one_token()
    assert only(page["stages"]["decode"]) == values(steps[0].cost)
    run = page["stages"]["run"]
    assert only(run) == values(reduce(add, [step.cost for step in steps], prefill.cost))
    assert run["activation_peak_bytes"] == max(stage.activations_bytes for stage in (prefill, *steps))


def test_vision_is_counted_once(asked):
    _, data = asked
    for page in data["pages"]:
        vision, prefill, decode, run = (page["stages"][name]["parts"] for name in STAGES)
        for part in ("sam", "clip", "projector"):
            assert only(vision[part]) == only(prefill[part]) == only(run[part])
            assert not any(only(decode[part]).values())
        for part in ("embedding", "decoder", "lm_head"):
            assert not any(only(vision[part]).values())


def test_memory_of_each_stage(asked):
    options, data = asked
    batch = options.get("batch_size", 1)
    for page in data["pages"]:
        held = {name: stage["kv_cache_bytes"] for name, stage in page["stages"].items()}
        context = page["context_len"]
        cached = {"vision": 0, "prefill": context, "decode": context, "run": context + TOKENS}
        assert held == {name: TOKEN * batch * tokens for name, tokens in cached.items()}
        assert {stage["weights_resident_bytes"] for stage in page["stages"].values()} == {weights(options)}
    assert (data["model"]["parameters"] * 2, data["model"]["weights_resident_bytes"]) == (weights(options),) * 2


def test_totals_are_sums_over_pages_and_the_largest_memory(asked):
    _, data = asked
    pages, totals = data["pages"], data["totals"]
    for name in STAGES:
        of_pages = [page["stages"][name] for page in pages]
        total = totals["stages"][name]
        assert only(total) == summed(of_pages)
        assert only(total, MEMORY) == {field: max(stage[field] for stage in of_pages) for field in MEMORY}
        for part, numbers in total["parts"].items():
            of_parts = [stage["parts"][part] for stage in of_pages]
            assert only(numbers) == summed(of_parts)
            assert only(numbers, MEMORY) == {field: max(row[field] for row in of_parts) for field in MEMORY}
        for path, numbers in total["layers"].items():
            rows = [stage["layers"][path] for stage in of_pages if path in stage["layers"]]
            assert only(numbers, LAYER_FIELDS) == summed(rows, LAYER_FIELDS)
    assert totals["pages"] == len(pages) == 3
    assert totals["image_tokens"] == sum(page["image_tokens"] for page in pages)
    assert totals["context_tokens"] == sum(page["context_len"] for page in pages)
    assert totals["decode_tokens"] == 3 * TOKENS


def test_pages_of_the_same_views_cost_the_same(asked):
    _, data = asked
    first, _, again = data["pages"]
    assert first["stages"] == again["stages"]


def test_image_tokens(analysed):
    a4, receipt = analysed(A4, RECEIPT).pages
    tiles = (2 * 10 + 1) * 3 * 10  # 2 x 3 tiles of 10 x 10 features, a newline a row
    overview = 16 * (16 + 1) + 1  # 16 x 16 features, a newline a row, a separator
    assert (a4.views.image_tokens, receipt.views.image_tokens) == (tiles + overview, overview)
    assert (a4.context_len, receipt.context_len) == (tiles + overview + 10, overview + 10)


def test_a_run_of_no_tokens_is_the_prefill(analysed):
    stages = analysis_data(analysed(RECEIPT, decode_tokens=0, by_layer=2))["pages"][0]["stages"]
    assert stages["run"] == stages["prefill"]
    assert stages["decode"]["tensor_flops"] > 0  # what a first token would cost


def test_a_page_without_prompt(analysed):
    (page,) = analysed(RECEIPT, prompt_tokens=0).pages
    assert page.context_len == page.views.image_tokens


def test_every_depth_adds_up_to_the_same(analysed):
    whole = [analysis_data(analysed(RECEIPT, by_layer=depth))["totals"]["stages"]["run"] for depth in (1, 2, 5, 10**9)]
    assert {tuple(summed(stage["layers"].values(), LAYER_FIELDS).items()) for stage in whole} == {
        tuple(only(whole[0]).items())
    }
    paths = [set(stage["layers"]) for stage in whole]
    assert all(len(coarse) <= len(fine) for coarse, fine in pairwise(paths))
