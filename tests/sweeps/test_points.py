"""Every number of a sweep is the one that its point gives when the model is asked alone, with plain ints."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.alone import alone

import modelmeter as mm

BATCHES, CONTEXTS = [1, 2, 7, 64], [1, 2, 63, 64, 913, 5000, 100_000]
SIZES = {  # the sizes of a stage: one choice of names each
    "vision": [{"batch_size": BATCHES}],
    "prefill": [{"batch_size": BATCHES, "context_len": CONTEXTS}, {"prompt_tokens": [0, 10, 512]}],
    "decode": [
        {"batch_size": BATCHES, "cache_len": CONTEXTS},
        {"batch_size": BATCHES, "context_len": CONTEXTS, "decode_tokens": [1, 2, 5]},
    ],
    "run": [{"batch_size": BATCHES, "context_len": CONTEXTS, "decode_tokens": [1, 2, 5]}],
}
VIEWS = [
    {"grid": ["1x1", "2x3", "3x3", "10x2"], "base_size": [1024, 1280], "tile_size": [640, 1024]},
    {"page": ["500x600", "1654x2339", "4000x1000"], "max_tiles": [2, 6, 32]},
    {"page": ["500x600", "1654x2339"], "mode": ["tiny", "base", "gundam", "gundam-m"]},
]
MODELS = {
    "attention": ["eager", "flash"],
    "implementation": ["vendor", "transformers"],
    "cache": ["concat", "in_place"],
    "experts": ["loop", "grouped"],
    "position_ids": ["shared", "batch"],
    "logits": ["all", "last"],
    "causal": ["full", "triangle"],
    "coverage": ["expected", "max", "min"],
    "elementwise": [True, False],
    "precision": ["bf16", "fp16", "int8", "int4"],
    "num_key_value_heads": [1, 2, 10],
    "num_hidden_layers": [1, 2, 24],
    "n_routed_experts": [32, 64],
    "num_experts_per_tok": [1, 6, 32],
    "window_size": [7, 14],
}


def check(stage, dataset, point):
    """The numbers at a point of labels."""
    # `.item()`: of NumPy's labels plain ones
    plain = {name: np.asarray(value).item() for name, value in point.items()}
    expected = alone(stage, plain)
    assert set(expected) <= set(dataset.data_vars)
    here = dataset.sel(plain) if plain else dataset
    assert {name: here[name].item() for name in expected} == expected, plain


def points_of(dataset):
    """Every point, by the labels of its dimensions, in order."""
    names = list(dataset.sizes)
    return [
        dict(zip(names, labels, strict=True)) for labels in itertools.product(*[dataset[name].values for name in names])
    ]


@st.composite
def questions(draw, stage):
    """Some values of the sizes of the stage, of views where it needs them, and of up to two of the model's choices."""
    sizes = draw(st.sampled_from(SIZES[stage]))
    needs_views = stage == "vision" or "prompt_tokens" in sizes
    views = draw(st.sampled_from(VIEWS)) if needs_views else {}
    chosen = draw(st.lists(st.sampled_from(list(MODELS)), max_size=2, unique=True))
    offered = {**sizes, **views, **{name: MODELS[name] for name in chosen}}
    names = draw(st.permutations(list(offered)))
    return {name: draw(st.lists(st.sampled_from(offered[name]), min_size=1, max_size=3, unique=True)) for name in names}


@pytest.mark.parametrize("stage", SIZES)
@settings(max_examples=15)
@given(data=st.data())
def test_a_point_is_the_model_asked_alone(stage, data):
    over = data.draw(questions(stage))
    over = {name: values for name, values in over.items() if name != "tile_size" or "1x1" not in over.get("grid", [])}
    found = mm.sweep(mm.DeepseekOCRModel.from_config(), over, stage=stage)
    assert dict(found.sizes) == {name: len(values) for name, values in over.items()}
    points = points_of(found)
    for i in data.draw(st.lists(st.integers(0, len(points) - 1), min_size=1, max_size=4, unique=True)):
        check(stage, found, points[i])


EVERY_ROLE = {
    "vision": {"batch_size": [1, 3], "grid": ["1x1", "2x3"], "attention": ["eager", "flash"]},
    "prefill": {"page": ["500x600", "1654x2339"], "prompt_tokens": [0, 10], "elementwise": [True, False]},
    "decode": {"attention": ["eager", "flash"], "context_len": [1, 913], "batch_size": [1, 7]},
    "run": {"context_len": [1, 913], "num_key_value_heads": [2, 10], "decode_tokens": [1, 3]},
}


@pytest.mark.parametrize("stage", EVERY_ROLE)
def test_every_point_of_every_role_of_dimension(stage):
    found = mm.sweep(mm.DeepseekOCRModel.from_config(), EVERY_ROLE[stage], stage=stage)
    for point in points_of(found):
        check(stage, found, point)


def test_one_kv_head_for_all_is_copied_out_to_several_sequences_alone():
    over = {"batch_size": [1, 2], "cache_len": [913], "num_key_value_heads": [1]}
    found = mm.sweep(mm.DeepseekOCRModel.from_config(), over, stage="decode")
    for point in points_of(found):
        check("decode", found, point)


def test_more_points_than_are_recorded_at_once():
    contexts = np.arange(1, 20_002)  # 20,001 points: three blocks of 8,192, the last one odd
    found = mm.sweep(mm.DeepseekOCRModel.from_config(), {"context_len": contexts}, stage="prefill")
    for context in (1, 8192, 8193, 16_384, 16_385, 20_001):
        check("prefill", found, {"context_len": context})


def test_what_is_named_once_is_fixed():
    over = {"context_len": 913, "attention": "flash", "batch_size": [2, 3]}
    found = mm.sweep(mm.DeepseekOCRModel.from_config(), over, stage="decode")
    assert dict(found.sizes) == {"batch_size": 2}
    assert found.context_len.item() == 913 and found.attention.item() == "flash"
    for batch in (2, 3):
        expected = alone("decode", {"context_len": 913, "attention": "flash", "batch_size": batch})
        assert found.flops.sel(batch_size=batch).item() == expected["flops"]


def test_what_is_not_named_is_the_models():
    model = mm.DeepseekOCRModel.from_config(attention="flash", precision=mm.Precision(weights="int4"))
    found = mm.sweep(model, {"context_len": [913]}, stage="decode")
    expected = alone("decode", {"context_len": 913, "attention": "flash", "precision": "int4"})
    assert {name: found[name].item() for name in expected} == expected


def test_the_models_views_hold_where_over_does_not_name_them():
    model = mm.DeepseekOCRModel.from_config()
    model.set_views(mm.plan_views(1654, 2339, max_tiles=4, base_size=1280))
    same = mm.sweep(model, {"page": ["1654x2339", "640x500"]}, stage="vision")
    whole = 20 * 21 + 1  # 1280 px: 20 features a side, 20 rows of 21 and a separator
    tiles = (10 * 1 + 1) * 10 * 2  # 0.707 is nearer to 1 x 2 tiles than to 2 x 2 or 1 x 3
    assert same.image_tokens.values.tolist() == [whole + tiles, whole]
    other = mm.sweep(model, {"mode": ["gundam", "base"]}, stage="vision")
    assert other.image_tokens.sel(mode="base").item() == 273  # the mode's own 1024 px: 16 * 17 + 1
    grids = mm.sweep(model, {"grid": ["1x1", "2x2"]}, stage="vision")
    assert grids.image_tokens.values.tolist() == [whole, whole + (10 * 2 + 1) * 10 * 2]


def test_asking_leaves_the_model_where_it_was():
    model = mm.DeepseekOCRModel.from_config()
    model.start_prefill(700, 2)
    before = model.get_forward_cost()
    mm.sweep(model, {"context_len": [5, 6], "attention": ["eager", "flash"]}, stage="decode")
    assert model.get_forward_cost() == before and model.operation_mode == "prefill"
