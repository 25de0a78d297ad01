"""What a report holds beside its tree: documents, kinds of pages, times, curves, formulas, what is verified."""

import math
import random

import attrs
import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import Page, PageError
from modelmeter.hardware.needs import Needs, Workload
from modelmeter.hardware.page_time import time_page
from modelmeter.models.deepseek_ocr.engine import Step
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.parts import PARTS
from modelmeter.models.deepseek_ocr.views import plan_views
from modelmeter.report.analysis import Workload as Run
from modelmeter.report.model_report.build import build_report
from modelmeter.report.model_report.closed_forms import ROUNDED, stage_formulas
from modelmeter.report.model_report.data import RUN_STAGES
from modelmeter.report.model_report.measured import with_measured
from modelmeter.report.model_report.profile import STANDARD, OCRWorkloadProfile, profile_named
from modelmeter.report.model_report.verification import BOUNDS, verification_statements

A4 = Page("a.pdf", 1, 1191, 1684, "a.pdf p1")
TOKEN = 2 * 12 * 10 * 128 * 2  # bytes that a token holds: keys and values, layers, heads, width, bf16


def test_pages_are_in_their_documents_and_kinds(timed):
    assert [(document.source, len(document.pages)) for document in timed.documents] == [
        ("a.pdf", 2),
        ("b<script>.png", 1),
    ]
    assert [(kind.grid, kind.views, kind.pages) for kind in timed.kinds] == [
        ((2, 3), ((6, 640), (1, 1024)), 2),
        ((1, 1), ((1, 1024),), 1),
    ]
    assert [page.kind for page in timed.pages] == [0, 0, 1]
    assert timed.kinds[1].image_tokens == 16 * 17 + 1  # rows of 16 with a newline each, a separator
    assert timed.kinds[1].context_len == 16 * 17 + 1 + 10
    assert [error.source for error in timed.errors] == ["c.pdf"]
    assert timed.profile.pages == 3


def test_stages_are_those_of_the_analysis_and_their_parts_add_up(timed):
    for kind in timed.kinds:
        assert tuple(kind.stages) == RUN_STAGES
        for stage in kind.stages.values():
            assert tuple(stage.parts) == PARTS
            assert sum(part.cost.flops for part in stage.parts.values()) == stage.cost.cost.flops
            assert sum(part.cost.io_bytes for part in stage.parts.values()) == stage.cost.cost.io_bytes
    for name in ("vision", "prefill", "run"):
        pages = [timed.kinds[page.kind].stages[name].cost for page in timed.pages]
        assert timed.totals[name].cost.cost.flops == sum(page.cost.flops for page in pages)
        assert timed.totals[name].cost.activations_bytes == max(page.activations_bytes for page in pages)


def test_times_are_those_of_the_page(timed):
    model = DeepseekOCRModel.from_config()
    page, kind = timed.pages[0], timed.kinds[0]
    host = page.time.host_seconds
    time = time_page(model, plan_views(1191, 1684), "h200", decode_tokens=40, host_seconds=host)
    assert (page.time.ttft, page.time.tpot, page.time.total) == (time.ttft, time.tpot, time.total)
    assert kind.stages["prefill"].time.levels == time.prefill.seconds
    assert kind.stages["decode"].time.mbu == time.decode.mbu
    assert kind.decode[-1].seconds.roofline == time.steps["roofline"][-1]
    assert timed.total_seconds == sum(page.time.total.predicted for page in timed.pages)
    assert [point.stage for point in kind.roofline[:3]] == ["vision", "prefill", "decode"]
    assert [point.is_stage for point in kind.roofline] == [True] * 3 + [False] * (len(kind.roofline) - 3)


def test_without_a_device_there_are_no_times(plain):
    assert (plain.device, plain.total_seconds, plain.kinds[0].roofline) == (None, None, ())
    assert all(stage.time is None for stage in plain.kinds[0].stages.values())
    assert plain.pages[0].time is None


def test_curves_over_decode_are_the_steps(timed):
    model, kind = DeepseekOCRModel.from_config(), timed.kinds[0]
    points = {point.step: point for point in kind.decode}
    assert (min(points), max(points), len(points)) == (1, 40, 33)
    model.set_views(plan_views(1191, 1684))
    model.start_prefill(kind.context_len)
    model.start_decode()
    for step in range(1, 41):
        if step in points:
            point, cost = points[step], model.get_forward_cost()
            assert point.cached_tokens == kind.context_len + step - 1
            assert point.kv_cache_bytes == TOKEN * point.cached_tokens == cost.kv_cache_bytes
            assert (point.flops, point.io_bytes) == (cost.cost.flops, cost.cost.io_bytes)
            assert point.activation_peak_bytes == cost.activations_bytes
        model.decode_one_token()
    run = Workload(views=plan_views(1191, 1684), context_len=kind.context_len, decode_tokens=40)
    held = Needs(model.engine, run).peak_bytes("decode", 1)
    assert points[40].memory_bytes == model.parameter_bytes() + held


def value(formula, **sizes):
    above = {f"{name}_above_1": int(size > 1) for name, size in sizes.items()}
    names = {"Max": max, "Min": min, "ceiling": math.ceil, "floor": math.floor, **above, **sizes}
    assert set(formula.symbols) <= set(names)
    return eval(formula.expression, {"__builtins__": {}}, names)  # our own text


@pytest.mark.parametrize(
    "conventions",
    [
        {},
        {"attention": "flash", "cache": "in_place", "coverage": "max"},
        {"implementation": "transformers", "logits": "last", "coverage": 17.5},
        {"causal": "triangle", "experts": "grouped", "coverage": "min"},
    ],
    ids=str,
)
def test_formulas_give_what_the_model_gives(conventions):
    pytest.importorskip("sympy")
    model = DeepseekOCRModel.from_config(**conventions)
    views = plan_views(1191, 1684)
    found = stage_formulas(model, views)
    draw = random.Random(1)
    for batch, tokens, cached in [(1, 903, 1), *[(draw.randint(1, 40), draw.randint(903, 5000), 7) for _ in range(4)]]:
        steps = {
            "vision": Step(mode="vision", batch=batch).with_views(views),
            "prefill": Step(mode="prefill", batch=batch, queries=tokens).with_views(views),
            "decode": Step(mode="decode", batch=batch, queries=1, past=cached * tokens),
        }
        for formula in found:
            got = value(formula, B=batch, S=tokens, T=cached * tokens)
            if formula.quantity == "kv_cache_bytes":
                assert got == TOKEN * batch * (tokens if formula.stage == "prefill" else cached * tokens)
                continue
            cost, _ = model.engine.stage(steps[formula.stage], 0)
            whole = getattr(cost.cost, formula.quantity)
            if formula.limits:  # 11 layers: 3 products and a mask rounded, a list of 8 bytes an expert rounded up
                assert formula.limits == (ROUNDED,)
                assert got == pytest.approx(whole, abs=11 * (4 * 0.5 + 8) + 1e-6)
            else:
                assert (formula.stage, formula.quantity, got) == (formula.stage, formula.quantity, whole)


def test_formulas_of_layers_are_those_of_the_model(timed):
    pytest.importorskip("sympy")
    found = {(one.layer, one.stage, one.quantity): one for one in timed.layer_formulas}
    query = found["model.layers.1.self_attn.q_proj", "decode", "tensor_flops"]
    assert value(query, B=7) == 2 * 7 * 1280 * 1280
    kind = timed.kinds[0]
    for path in ("model.layers.0.self_attn", "model.layers.1.mlp.gate", "lm_head"):
        cost = kind.tree.find(path).snapshots["decode"].cost.cost
        for quantity in ("tensor_flops", "cuda_flops", "activation_bytes", "kv_bytes"):
            one = found.get((path, "decode", quantity))
            got = 0 if one is None else value(one, B=1, T=kind.context_len)
            assert (path, quantity, got) == (path, quantity, getattr(cost, quantity))
    sam = found["model.sam_model", "vision", "tensor_flops"]
    model = DeepseekOCRModel.from_config()
    for side in (256, 640, 1280):
        trace = model.engine.stage(Step(mode="vision", batch=2, images=((1, side),)), 0)[1]["sam"]
        assert value(sam, B=2, R=side // 64) == trace.cost.tensor_flops


def test_the_standard_profile():
    assert attrs.asdict(STANDARD) == {
        "name": "dsocr-standard-v1",
        "text_tokens": 512,
        "base_size": 1024,
        "tile_size": 640,
        "crops": True,
        "max_tiles": 9,
        "new_tokens": 512,
        "pages": 1,
        "batch_size": 1,
    }
    assert profile_named("dsocr-standard-v1") is STANDARD
    work = Run(
        mode="gundam", max_tiles=9, prompt_tokens=512, decode_tokens=511, batch_size=1
    )  # prefill gives the first
    assert STANDARD.workload == work
    assert OCRWorkloadProfile.of(work, pages=1, name=STANDARD.name) == STANDARD
    report = build_report([A4], profile=STANDARD)
    assert report.profile == STANDARD
    assert report.kinds[0].context_len == 903 + 512
    assert report.kinds[0].decode[-1].step == 511


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"base_size": 1000}, "no mode has a base of 1000 and tiles of 640 pixels: choose among 512, 640, 1024, 1280"),
        ({"base_size": 640, "tile_size": 640}, "no mode has"),
        ({"crops": False, "base_size": 1000}, "a base of 1000 and no tiles"),
        ({"text_tokens": -1}, "text_tokens"),
        ({"text_tokens": 1.0}, "text_tokens"),
        ({"new_tokens": 0}, "new_tokens"),
        ({"pages": 0}, "pages"),
        ({"name": ""}, "name"),
    ],
)
def test_profiles_that_cannot_be_are_refused(options, reason):
    with pytest.raises((ModelMeterError, TypeError), match=reason):
        OCRWorkloadProfile(**options)


def test_wrong_questions_are_refused():
    with pytest.raises(ModelMeterError, match="a workload or a profile, not both"):
        build_report([A4], profile=STANDARD, workload=Run())
    with pytest.raises(ModelMeterError, match="no pages to report on: name files"):
        build_report([])
    with pytest.raises(ModelMeterError, match=r"no page could be read: c.pdf: damaged \(and 1 more\)"):
        build_report([PageError("c.pdf", "damaged"), PageError("d.pdf", "damaged")])
    with pytest.raises(ModelMeterError, match="unknown profile 'x': choose dsocr-standard-v1"):
        profile_named("x")


def test_bounds_are_those_that_the_command_holds():
    pytest.importorskip("torch")
    from modelmeter.live.verification.verify import STAGE_BOUNDS

    theirs = {"activation_bytes": "activation_bytes", "activation_peak_bytes": "peak_bytes"}
    for name, held in BOUNDS.items():
        assert held == {stage: STAGE_BOUNDS[stage][theirs[name]] for stage in held}


def test_statements_name_a_command_with_the_sizes_of_the_page(timed):
    found = timed.verification
    assert {one.command for one in found[:-1]} == {
        "modelmeter verify --views 1024x1024,640x640*6 --context-len 913",
    }
    assert {one.quantity for one in found if one.exact} >= {"counted_flops", "parameters", "kv_cache_bytes"}
    kind = timed.kinds[0]
    flash = attrs.evolve(timed.conventions, attention="flash")
    other = verification_statements(plan_views(1191, 1684), kind.context_len, 4, flash)
    assert other[0].command.endswith("--context-len 913 --batch-size 4 --attention flash")


def test_measured_times_stand_beside_the_predicted_ones(timed):
    predicted = timed.kinds[0].stages["prefill"].time.levels.predicted
    seconds = {"": 2 * predicted, "model.layers.3": 0.25, "model.layers.4": 0.75, "model.layers.4.mlp": 0.125}
    report = with_measured(timed, "prefill", seconds)
    kind = report.kinds[0]
    assert kind.stages["prefill"].time.ratio == pytest.approx(2)
    assert kind.tree.snapshots["prefill"].time.measured_seconds == 2 * predicted
    assert kind.tree.find("model.layers.1").snapshots["prefill"].time.measured_seconds == (0.25 + 0.75) / 2
    assert kind.tree.find("model.layers.1.mlp").snapshots["prefill"].time.measured_seconds == 0.125
    assert kind.tree.find("model.layers.0").snapshots["prefill"].time.ratio is None
    assert report.kinds[1] == timed.kinds[1]


def test_measured_times_of_nothing_are_refused(timed, plain):
    with pytest.raises(ModelMeterError, match=r"no predicted time of 'model.layers.12' in prefill"):
        with_measured(timed, "prefill", {"model.layers.12": 1.0})
    with pytest.raises(ModelMeterError, match="no predicted time of '' in decode"):
        with_measured(plain, "decode", {"": 1.0})
    with pytest.raises(ModelMeterError, match="no kind 2 of page, the report has 2"):
        with_measured(timed, "decode", {}, kind=2)
    with pytest.raises(ModelMeterError, match="measured_seconds"):
        with_measured(timed, "decode", {"": -1.0})
