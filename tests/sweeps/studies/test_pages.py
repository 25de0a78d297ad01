"""The study of real pages: grouped by their views, none lost, each at its own cost."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter import DeepseekOCRModel, ModelMeterError, plan_views
from modelmeter.sweeps.studies.pages import pages

SIZES = [(1654, 2339)] * 3 + [(1654, 2338), (600, 600), (2339, 1654), (600, 600)]


@pytest.fixture(scope="module")
def eager(setup):
    return attrs.evolve(setup, attention=("eager",))


def test_pages_of_the_same_views_are_one_point(eager):
    datasets = pages(eager, SIZES, decode_steps=7).datasets
    assert list(datasets) == ["vision", "prefill", "decode", "run"]
    for dataset in datasets.values():
        assert dataset["grid"].values.tolist() == ["1x1", "2x3", "3x2"]
        assert dataset["pages"].values.tolist() == [2, 4, 1]


def test_the_sum_over_pages_is_that_of_each_alone(eager):
    dataset = pages(eager, SIZES, decode_steps=7, mode="gundam-m", max_tiles=4, prompt_tokens=3).datasets["run"]
    whole = int((dataset["flops"] * dataset["pages"]).sum())
    model, alone = DeepseekOCRModel.from_config(), 0
    for width, height in SIZES:
        views = plan_views(width, height, mode="gundam-m", max_tiles=4)
        model.set_views(views)
        model.start_prefill(views.image_tokens + 3)
        alone += model.simulate_run(7).total.cost.flops
    assert whole == alone


def test_a_mode_without_tiles_is_one_point(eager):
    dataset = pages(eager, SIZES, mode="tiny").datasets["vision"]
    assert dataset["pages"].values.tolist() == [len(SIZES)]
    assert dataset["image_tokens_total"].values.tolist() == [8 * 9 + 1]  # 512 px: 8 features a side


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=30))
def test_no_page_is_lost(eager, sizes):
    dataset = pages(eager, sizes, decode_steps=1).datasets["vision"]
    assert int(dataset["pages"].sum()) == len(sizes)
    tokens = sum(plan_views(*size).image_tokens for size in sizes)
    assert int((dataset["pages"] * dataset["image_tokens_total"]).sum()) == tokens


def test_no_pages(eager):
    with pytest.raises(ModelMeterError, match="no pages"):
        pages(eager, [])
