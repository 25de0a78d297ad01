"""The numbers of the derived tables, written out: KV bytes, required rates, memory, FLOPs of engines and parts."""

import attrs
import pytest
from support import arithmetic

import modelmeter as mm
from modelmeter.core.precision import Precision
from modelmeter.hardware.catalogue import get_device
from modelmeter.hardware.fit import fit
from modelmeter.hardware.page_time import time_page
from modelmeter.report.derived.derive import TABLES

from .conftest import GRIDS

TOKEN = 2 * 12 * 10 * 128 * 2  # keys and values, layers, heads, width, bf16
H200, RTX = get_device("h200"), get_device("rtx-4090")
MATRIX = {"elementwise": False}
"""Without elementwise FLOPs all FLOPs are those of matrix products, which `support.arithmetic` writes out."""


def image_tokens(grid, base=1024, tile=640):
    """16 rows of 16 features and a newline, a separator, and as much of the tiles: rows run through all of them."""
    (w, h), q, t = grid, base // 64, tile // 64
    return q * (q + 1) + 1 + (0 if grid == (1, 1) else (w * t + 1) * h * t)


def views(grid):
    """(count, side) of the views."""
    w, h = grid
    return ((1, 1024),) if grid == (1, 1) else ((w * h, 640), (1, 1024))


def by_grid(table, **where):
    """The rows that have these values, by grid as (w, h); each grid has one."""
    rows = [row for row in table.rows if all(row[name] == value for name, value in where.items())]
    found = {tuple(int(side) for side in row["grid"].split("x")): row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("name", TABLES)
def test_every_row_says_what_its_shape_is(derived, name):
    table = derived(name, prompt_tokens=7, decode_tokens=2)
    assert {row["grid"] for row in table.rows} == {f"{w}x{h}" for w, h in GRIDS}
    for row in table.rows:
        w, h = (int(side) for side in row["grid"].split("x"))
        assert (row["num_tiles"], row["vendor"]) == (w * h if w * h > 1 else 0, w * h <= 9)
        assert row["image_tokens"] == image_tokens((w, h))
        assert row["context_len"] == image_tokens((w, h)) + 7


@pytest.mark.parametrize(("batch", "prompt", "steps"), [(1, 10, 512), (3, 0, 1), (2, 25, 0)])
def test_prefilled_tokens_are_held_once_and_decoded_ones_once(derived, batch, prompt, steps):
    sizes = {"batch_size": batch, "prompt_tokens": prompt, "decode_tokens": steps}
    for grid, row in by_grid(derived("kvcache-by-shape", **sizes)).items():
        context = image_tokens(grid) + prompt
        assert row["kv_bytes_per_token"] == TOKEN
        assert row["prefill_kv_bytes"] == TOKEN * context * batch
        assert row["decode_kv_bytes"] == TOKEN * steps * batch
        assert row["kv_cache_bytes"] == TOKEN * (context + steps) * batch
        assert row["kv_block_bytes"] == TOKEN * batch * 16 * -(-(context + steps) // 16)


def test_the_cache_is_that_of_the_model_after_as_many_steps(derived):
    model = mm.DeepseekOCRModel.from_config()
    for grid, row in by_grid(derived("kvcache-by-shape", batch_size=2, decode_tokens=5)).items():
        model.set_views(mm.ViewPlan.from_grid(grid))
        model.start_prefill(row["context_len"], 2)
        assert model.kv_cache_bytes() == row["prefill_kv_bytes"]
        model.start_decode()
        for _ in range(5):
            model.decode_one_token()
        assert model.kv_cache_bytes() == row["kv_cache_bytes"]


@pytest.mark.parametrize(("kind", "row_bytes"), [("fp8", 128), ("int8", 128 + 2)])  # int8 has an fp16 scale a row
def test_a_quantised_cache(derived, kind, row_bytes):
    (row,) = derived("kvcache-by-shape", [(2, 3)], precision=Precision(kv=kind), decode_tokens=100).rows
    assert row["kv_cache_bytes"] == 2 * 12 * 10 * row_bytes * (903 + 10 + 100)


def test_other_sides_of_views(derived):
    table = derived("kvcache-by-shape", base_size=1280, tile_size=1024, decode_tokens=0)
    for grid, row in by_grid(table).items():
        assert row["image_tokens"] == image_tokens(grid, 1280, 1024)


def test_required_flops_are_the_stage_s_over_the_wanted_time(derived):
    table = derived("required-throughput", batch_size=2, decode_tokens=20, ttft=0.25, tpot=0.01, **MATRIX)
    for grid in GRIDS:
        context = image_tokens(grid) + 10
        flops = {
            "prefill": arithmetic.vision(views(grid), 2) + arithmetic.decoder(context, 2, 0),
            "first decode step": arithmetic.decoder(1, 2, context),
            "last decode step": arithmetic.decoder(1, 2, context + 20 - 1),
        }
        for stage, expected in flops.items():
            row = by_grid(table, stage=stage)[grid]
            target, seconds = ("ttft", 0.25) if stage == "prefill" else ("tpot", 0.01)
            assert (row["target"], row["seconds"], row["flops"]) == (target, seconds, expected)
            assert row["tflop_per_second"] == pytest.approx(expected / seconds / 1e12, rel=1e-15)
            assert row["gb_per_second"] == pytest.approx(row["io_bytes"] / seconds / 1e9, rel=1e-15)
    assert len(table.rows) == 3 * len(GRIDS)


def test_required_bytes_are_those_that_the_stage_moves(derived):
    model = mm.DeepseekOCRModel.from_config()
    table = derived("required-throughput", decode_tokens=3)
    for grid in GRIDS:
        model.set_views(mm.ViewPlan.from_grid(grid))
        model.start_prefill(image_tokens(grid) + 10)
        moved = [model.cost().io_bytes]
        model.start_decode()
        for _ in range(3):
            moved.append(model.cost().io_bytes)
            model.decode_one_token()
        stages = ("prefill", "first decode step", "last decode step")
        assert [by_grid(table, stage=stage)[grid]["io_bytes"] for stage in stages] == [moved[0], moved[1], moved[3]]


def test_the_defaults_are_a_second_and_a_twentieth(derived):
    table = derived("required-throughput", [(2, 3)])
    assert {(row["target"], row["seconds"]) for row in table.rows} == {("ttft", 1.0), ("tpot", 0.05)}


def test_required_rates_are_those_of_a_timed_page(derived):
    views_of_page = mm.plan_views(1654, 2339)  # 2 x 3 tiles
    page = time_page(mm.DeepseekOCRModel.from_config(), views_of_page, "h200", decode_tokens=4)
    table = derived("required-throughput", [(2, 3)], ttft=0.5, tpot=0.02, decode_tokens=4)
    for stage, rates in (("prefill", page.required(ttft=0.5)), ("first decode step", page.required(tpot=0.02))):
        (row,) = by_grid(table, stage=stage).values()
        assert row["tflop_per_second"] == rates.flops / 1e12
        assert row["gb_per_second"] == rates.num_bytes / 1e9


@pytest.mark.parametrize("steps", [0, 1])
def test_one_decode_step_is_first_and_last(derived, steps):
    stages = [row["stage"] for row in derived("required-throughput", [(2, 3)], decode_tokens=steps).rows]
    assert stages == ["prefill", "first decode step"]


def test_shares_of_a_device(derived):
    table = derived("required-throughput", [(2, 3)], [H200, RTX], ttft=0.001)
    for device in (H200, RTX):
        for row in by_grid(table, device=device.name, target="ttft").values():
            assert row["peak_share"] == pytest.approx(row["tflop_per_second"] * 1e12 / device.tensor["bf16"])
            assert row["bandwidth_share"] == pytest.approx(row["gb_per_second"] * 1e9 / device.bandwidth)
            assert table.kind.over(row)  # a page in a millisecond: 4.6 TFLOP are beyond any of them
    assert not any(table.kind.over(row) for row in table.rows if row["target"] == "tpot")


@pytest.mark.parametrize("options", [{}, {"cache": "in_place"}, {"attention": "flash", "logits": "last"}])
@pytest.mark.parametrize("batch", [1, 4])
def test_memory_is_that_of_fit(derived, options, batch):
    devices, grids, sizes = [H200, RTX], [(1, 1), (3, 2)], {"batch_size": batch, "decode_tokens": 30, "reserve": "2GiB"}
    table = derived("vram-by-shape", grids, devices, **sizes, **options)
    model = mm.DeepseekOCRModel.from_config(**options)
    for device in (H200, RTX):
        for grid, row in by_grid(table, device=device.name).items():
            plan = mm.ViewPlan.from_grid(grid)
            found = fit(model, device, views=plan, **sizes)
            own = found.caches[0]
            assert row["weights_bytes"] == found.budget.weights_bytes == 3_336_106_240 * 2
            assert (row["kv_cache_bytes"], row["run_bytes"]) == (own.kv_bytes, own.run_bytes)
            assert row["held_at_once_bytes"] == row["weights_bytes"] + own.run_bytes
            assert row["memory_bytes"] == device.memory_bytes
            assert row["free_bytes"] == found.budget.free_bytes
            assert row["left_bytes"] == found.left_bytes(own)
            assert row["activation_peak_bytes"] == max(stage.activations_bytes for stage in found.stages)


def test_all_three_are_weights_activations_and_cache(derived):
    model = mm.DeepseekOCRModel.from_config()
    for grid, row in by_grid(derived("vram-by-shape", batch_size=2, decode_tokens=9)).items():
        model.set_views(mm.ViewPlan.from_grid(grid))
        model.start_prefill(image_tokens(grid) + 10, 2)
        total = model.simulate_run(9).total
        kv = TOKEN * (image_tokens(grid) + 10 + 9) * 2
        assert row["vram_bytes"] == 3_336_106_240 * 2 + total.activations_bytes + kv
        assert row["run_bytes"] >= row["activation_peak_bytes"]


def test_what_does_not_fit_is_marked(derived):
    small = attrs.evolve(RTX, name="small", memory_bytes=8 * 2**30)
    table = derived("vram-by-shape", [(1, 1), (4, 8)], [small], batch_size=4, decode_tokens=1)
    for row in table.rows:
        # what is left is as written in docs/memory.md: 10% reserve, 500 MiB context, 8,320 KiB workspace
        free = small.memory_bytes - small.memory_bytes // 10 - 500 * 2**20 - 8320 * 2**10 - 3_336_106_240 * 2
        assert abs(row["free_bytes"] - free) <= 1  # the reserve is rounded to a byte
        assert row["fits"] == (row["left_bytes"] >= 0)
    assert [table.kind.over(row) for row in table.rows] == [True, True]


def test_flops_by_part_are_written_out(derived):
    table = derived("flops-by-part", decode_tokens=3, **MATRIX)
    for grid in GRIDS:
        context, seen = image_tokens(grid) + 10, views(grid)
        sam = sum(count * arithmetic.sam(side) for count, side in seen)
        clip = sum(count * arithmetic.clip(side) for count, side in seen)
        projector = sum(count * arithmetic.projector(side) for count, side in seen)
        prefill, decode = arithmetic.decoder(context, 1, 0), arithmetic.decoder(1, 1, context)
        steps = arithmetic.decode_steps(3, 1, context)
        head = arithmetic.head(1, 1)
        expected = {
            "vision": (sam, clip, projector, 0, 0, 0),
            "prefill": (sam, clip, projector, 0, prefill - context * head, context * head),
            "decode": (0, 0, 0, 0, decode - head, head),
            "run": (sam, clip, projector, 0, prefill + steps - (context + 3) * head, (context + 3) * head),
        }
        for stage, parts in expected.items():
            row = by_grid(table, stage=stage)[grid]
            names = ("sam", "clip", "projector", "embedding", "decoder", "lm_head")
            assert tuple(row[f"{name}_flops"] for name in names) == parts
            assert row["flops"] == sum(parts)


def test_parts_and_engines_add_up_with_elementwise_work(derived):
    options = {"decode_tokens": 11, "batch_size": 2, "implementation": "transformers"}
    parts, split = derived("flops-by-part", **options), derived("tensor-cuda-split", **options)
    intensity = derived("intensity-by-stage", **options)
    for part, engine, whole in zip(parts.rows, split.rows, intensity.rows, strict=True):
        assert (part["grid"], part["stage"]) == (engine["grid"], engine["stage"]) == (whole["grid"], whole["stage"])
        by_part = [value for name, value in part.items() if name.endswith("_flops")]
        assert sum(by_part) == part["flops"] == engine["tensor_flops"] + engine["cuda_flops"] == whole["flops"]
        assert engine["tensor_share"] + engine["cuda_share"] == pytest.approx(1, rel=1e-15)
        assert whole["io_bytes"] == whole["weight_bytes"] + whole["activation_bytes"] + whole["kv_bytes"]
        assert whole["arithmetic_intensity"] == whole["flops"] / whole["io_bytes"]


def test_without_elementwise_work_cuda_cores_do_the_gate_and_the_rotary_table(derived):
    table = derived("tensor-cuda-split", decode_tokens=2, **MATRIX)
    for grid in GRIDS:
        context = image_tokens(grid) + 10
        for stage, tokens in (("prefill", context), ("decode", 1)):
            row = by_grid(table, stage=stage)[grid]
            assert row["cuda_flops"] == 11 * arithmetic.gate(tokens, 1) + 12 * arithmetic.rotary(tokens)  # both in fp32
        assert by_grid(table, stage="vision")[grid]["cuda_flops"] == 0


def test_the_side_of_the_ridge(derived):
    table = derived("intensity-by-stage", [(2, 3)], [H200], batch_size=1, decode_tokens=1)
    ridge = H200.tensor["bf16"] / H200.bandwidth
    for row in table.rows:
        assert row["ridge"] == ridge
        assert row["bound_by"] == ("FLOPs" if row["arithmetic_intensity"] >= ridge else "bytes")
    slow = attrs.evolve(H200, name="slow", tensor={"bf16": H200.bandwidth}, vector={})  # a FLOP a byte
    sides = {row["stage"]: row["bound_by"] for row in derived("intensity-by-stage", [(2, 3)], [slow]).rows}
    assert (sides["prefill"], sides["decode"]) == ("FLOPs", "bytes")
