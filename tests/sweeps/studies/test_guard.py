"""The guard: silent on what the model gives, loud on each kind of result that cannot be."""

import pytest

from modelmeter.sweeps.guard import find_absurd
from modelmeter.sweeps.shapes import Shape
from modelmeter.sweeps.studies import decoder, grids


@pytest.fixture(scope="module")
def sound(timed):
    """Vision, prefill and decode steps of the same pages."""
    shapes = [Shape.of(1, 1), Shape.of(2, 3)]
    return {**grids.prefill(timed, shapes).datasets, **grids.decode(timed, shapes).datasets}


def broken(datasets, stage, name, factor, **place):
    """The datasets with one number of a stage made `factor` times as large."""
    changed = datasets[stage].copy(deep=True)
    changed[name].loc[place] = (changed[name].loc[place] * factor).astype(changed[name].dtype)
    return {**datasets, stage: changed}


def test_what_the_model_gives_is_sound(sound):
    assert find_absurd(sound) == ()


PLACE = {"grid": "2x3", "attention": "flash"}


@pytest.mark.parametrize(
    ("stage", "name", "factor", "place", "says"),
    [
        ("decode", "activation_peak_bytes", 10_000, PLACE, "decode: a higher peak of activations than the prefill"),
        ("decode", "flops", 10_000, PLACE, "decode: a step has more FLOPs than the prefill"),
        ("prefill", "flops", 0, PLACE, "prefill: fewer FLOPs than its vision alone"),
        ("prefill", "io_bytes", 2, PLACE, "prefill: flash attention moves more bytes than eager"),
        ("vision", "cuda_flops", -1, PLACE, "vision: cuda_flops is negative or no finite number"),
        ("vision", "mfu", float("inf"), {**PLACE, "device": "h200"}, "vision: mfu is negative or no finite number"),
        ("decode", "seconds", 0.001, {**PLACE, "device": "h200"}, "decode: seconds is below the time"),
    ],
)
def test_it_fires(sound, stage, name, factor, place, says):
    lines = find_absurd(broken(sound, stage, name, factor, **place))
    told = [line for line in lines if line.startswith(says)]
    assert len(told) == 1
    assert "1 of " in told[0] and "first at grid 2x3" in told[0]


def test_a_study_carries_the_warning(setup, monkeypatch):
    """Steps that cost as a prefill do are seen when the study is made."""
    real = type(setup).sweep
    exchanged = {"prefill": "decode", "decode": "prefill"}
    monkeypatch.setattr(type(setup), "sweep", lambda self, over, stage: real(self, over, exchanged[stage]))
    study = decoder.kv_heads(setup, context_lens=[64])
    assert [line.split(" (")[0] for line in study.warnings] == [
        "decode: a step has more FLOPs than the prefill before it",
        "decode: a higher peak of activations than the prefill before it",
    ]


def test_a_prompt_of_one_token_is_left_alone(setup):
    """Its decode step attends to two tokens, its prefill to one: more is right there."""
    datasets = decoder.seq_len(setup, [1], decode_steps=1).datasets
    assert bool((datasets["decode"]["flops"] > datasets["prefill"]["flops"]).all())
    assert find_absurd(datasets) == ()


def test_it_fires_where_more_is_decoded_than_was_prefilled(timed):
    datasets = grids.decode(timed, [Shape.of(1, 1)], decode_steps=400).datasets  # after 283 tokens of a page
    place = {"grid": "1x1", "attention": "flash"}
    assert find_absurd(datasets) == ()
    assert len(find_absurd(broken(datasets, "decode", "flops", 100_000, **place))) == 1
