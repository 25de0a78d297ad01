"""Views, stages and sizes of the command as forward passes, and names of layers as rows."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter import ModelMeterError, ViewPlan, plan_views
from modelmeter.live.verification.points import DEFAULT_VIEWS, Sizes, describe, parse_views, points_of, squarest_grid
from modelmeter.live.verification.selection import PARTS, select
from modelmeter.live.verification.verify import Point

A4 = 1654, 2339  # pixels at 200 dots an inch: six tiles
PAGE = 903  # image tokens


@pytest.mark.parametrize(
    ("text", "grid", "base", "tile"),
    [
        (DEFAULT_VIEWS, (2, 3), 1024, 640),
        ("1024x1024", (1, 1), 1024, None),
        ("64x64", (1, 1), 64, None),
        ("1280x1280, 1024x1024*4", (2, 2), 1280, 1024),
        ("1024x1024,640x640*2", (1, 2), 1024, 640),
        ("1024x1024,640x640*7", (1, 7), 1024, 640),
        ("1024x1024,640x640*12", (3, 4), 1024, 640),
        ("1024x1024,640x640*1024", (32, 32), 1024, 640),
    ],
)
def test_views(text, grid, base, tile):
    assert parse_views(text) == ViewPlan("custom", None, None, None, grid, base, tile)


def test_the_default_views_are_those_of_an_a4_page():
    assert parse_views(DEFAULT_VIEWS).views == plan_views(*A4).views
    assert parse_views(DEFAULT_VIEWS).image_tokens == PAGE


def test_no_views():
    assert parse_views("none") is None


def test_views_of_another_patch_size():
    assert parse_views("512x512", patch_size=32).image_tokens == (512 // 32 // 4) * (512 // 32 // 4 + 1) + 1


@pytest.mark.parametrize(
    "text",
    ["", "1024", "1024x", "x", "1024x1024*2", "1024x1024,", "1024x1024,640x640", "1024x1024,640x640*2,640x640*2",
     "None", "-64x-64", "1024x1024,640x640*-2", "1024x1024,640x640*x", "1e3x1e3", "64 x 64", "9999999x9999999",
     "\u0664x\u0664"],
)  # fmt: skip
def test_views_that_are_not_understood(text):
    with pytest.raises(ModelMeterError, match=re.escape(f"views {text!r} are not understood: give SIDExSIDE")):
        parse_views(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1024x512", "1024x512 is not square"),
        ("1024x1024,640x320*2", "640x320 is not square"),
        ("0x0", "the side 0 must be a positive multiple of 64"),
        ("1000x1000", "the side 1000 must be a positive multiple of 64"),
        ("1024x1024,600x600*2", "the side 600 must be a positive multiple of 64"),
        ("1024x1024,640x640*0", "COUNT must be from 2 to 1024 tiles, not 0"),
        ("1024x1024,640x640*1", "COUNT must be from 2 to 1024 tiles, not 1"),
        ("1024x1024,640x640*1025", "COUNT must be from 2 to 1024 tiles, not 1025"),
    ],
)
def test_views_that_cannot_be(text, words):
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        parse_views(text)


@given(st.integers(1, 5000))
def test_the_squarest_grid(count):
    w, h = squarest_grid(count)
    assert w * h == count and w <= h
    assert not any(count % wider == 0 and count // wider >= wider for wider in range(w + 1, h))


def stages(**sizes):
    return [describe(point) for point in points_of(Sizes(**sizes))]


def test_every_stage_by_default():
    assert stages() == ["vision", f"prefill {PAGE + 10}", f"page {PAGE + 10}", f"decode {PAGE + 10}"]


def test_without_views_there_is_text_alone():
    assert stages(views="none") == [f"prefill {PAGE + 10}", f"decode {PAGE + 10}"]
    assert all(point.views is None for point in points_of(Sizes(views="none")))


def test_the_context_is_that_of_the_views():
    assert stages(views="512x512", stage="prefill") == [f"prefill {8 * (8 + 1) + 1 + 10}"]


@pytest.mark.parametrize("stage", ["vision", "prefill", "page", "decode"])
def test_one_stage(stage):
    (point,) = points_of(Sizes(stage=stage))
    assert point.stage == stage
    assert (point.views is None) == (stage in ("prefill", "decode"))


def test_every_size_with_every_other():
    assert stages(context_len=(1000, 2000), batch_size=(1, 3), decode_steps=2) == [
        "vision", "vision, batch 3",
        "prefill 1000", "prefill 2000", "prefill 1000, batch 3", "prefill 2000, batch 3",
        "page 1000", "page 2000", "page 1000, batch 3", "page 2000, batch 3",
        "decode 1000", "decode 1000+1", "decode 2000", "decode 2000+1",
        "decode 1000, batch 3", "decode 1000+1, batch 3", "decode 2000, batch 3", "decode 2000+1, batch 3",
    ]  # fmt: skip


def test_backward_is_of_every_point():
    assert all(point.backward for point in points_of(Sizes(backward=True)))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"stage": "vission"}, "stage 'vission' is unknown: choose vision, prefill, page, decode or all"),
        ({"stage": "vision", "views": "none"}, "stage vision needs views"),
        ({"stage": "page", "views": "none"}, "stage page needs views"),
        ({"context_len": (902,)}, "does not hold the 903 image tokens"),
        ({"stage": "page", "context_len": (2000, 5)}, "a context of 5 tokens"),
        ({"context_len": (0,)}, "context_len must be positive"),
        ({"batch_size": (1, 0)}, "batch_size must be positive"),
        ({"decode_steps": 0}, "decode_steps must be positive"),
        ({"views": "x"}, "not understood"),
        ({"backward": True, "decode_steps": 2}, "backward is of one decode step"),
    ],
)
def test_sizes_that_cannot_be(sizes, words):
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        points_of(Sizes(**sizes))


def test_a_context_without_room_for_the_page_is_fine_where_no_page_is():
    assert stages(stage="decode", context_len=(5,)) == ["decode 5"]


def test_points_in_words():
    assert describe(Point(stage="decode", context_len=9, step=2, batch=4)) == "decode 9+2, batch 4"


# Names of layers


def shown(verification, *names, **more):
    """Paths of the rows that names select."""
    return {row.path for each in select(verification, names, **more).comparisons for row in each.rows}


def test_without_a_name_everything_is_shown(verification):
    report = select(verification)
    for each, comparison in zip(report.comparisons, verification.comparisons, strict=True):
        assert each.rows == comparison.rows
    assert report.ok == verification.ok


def test_only_layers(verification):
    assert shown(verification, only_layers=True) == shown(verification) - {""}


@pytest.mark.parametrize("name", PARTS)
def test_a_part(verification, name):
    for spelling in (name, name.lower(), name.upper()):
        paths = shown(verification, spelling, only_layers=True)
        assert paths == {path for path in shown(verification) if path.startswith(PARTS[name])} != set()


def test_a_class_a_path_and_both(verification):
    attention = shown(verification, "LlamaAttention", only_layers=True)
    assert attention == {"model.layers.0.self_attn"}
    head = shown(verification, "lm_head", only_layers=True)
    assert head == {"lm_head"}
    assert shown(verification, "lm_head", "LlamaAttention", only_layers=True) == attention | head
    assert shown(verification, "lm_head") == head | {""}


def test_a_path_ends_at_a_dot(verification):
    with pytest.raises(ModelMeterError, match=re.escape("'lm_hea'")):
        select(verification, ["lm_hea"])


def test_layers_of_one_row_are_found_by_any_of_their_paths(sound):
    assert shown(sound, "model.sam_model.blocks.7", only_layers=True) == {"model.sam_model.blocks.0"}


def test_stages_without_a_selected_layer_are_left_out(verification):
    stages = [each.point.stage for each in select(verification, ["SAM"], only_layers=True).comparisons]
    assert stages == ["vision", "page"]


def test_a_name_that_selects_nothing_lists_what_there_is(verification):
    with pytest.raises(
        ModelMeterError, match=r"'Sam2'.*choose SAM, CLIP, projector, decoder, .*MoEGate.* path such as"
    ):
        select(verification, ["SAM", "Sam2"])


def test_what_is_not_shown_does_not_count(broken):
    assert not select(broken).ok
    assert select(broken, ["lm_head"], only_layers=True).ok
    assert not select(broken, ["Attention"], only_layers=True).ok
    assert not select(broken, ["lm_head"]).ok  # the whole is shown, and is wrong


def test_what_nobody_prices_counts_where_it_is(broken):
    neck = select(broken, ["model.sam_model"], only_layers=True).comparisons[0]
    assert [each.name for each in neck.unpriced] == ["fft"]
    assert select(broken, ["model.splice"], only_layers=True).comparisons[0].unpriced == ()


@pytest.mark.parametrize(
    "sizes",
    [
        {"context_len": (10**10,)},
        {"batch_size": (10**11,)},
        {"decode_steps": 10**8},
        {"context_len": (900_000,), "batch_size": (2,)},
    ],
)
def test_sizes_that_no_real_model_is_asked_for(sizes):
    with pytest.raises(ModelMeterError, match="at most"):
        Sizes(**sizes)
