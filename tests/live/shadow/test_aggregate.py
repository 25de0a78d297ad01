"""Sums over records add up, whichever way they are cut; what is not known is None."""

import json
from pathlib import Path

import pytest
from support.shadow_runs import CONTEXT, STEPS, TEXT, Ran, conventions_of, run, small_model

from modelmeter.core.cost import Cost
from modelmeter.live.shadow.aggregate import aggregate
from modelmeter.live.shadow.export import run_data, write_stats
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.live.verification.real_run import SMALL, VIEWS

LAYERS = SMALL.decoder.num_hidden_layers


@pytest.fixture(scope="module")
def ran() -> Ran:
    """Two sequences, eight decode steps."""
    return run(small_model(), conventions_of(), batch=2)


def test_columns_sum_to_the_total(ran: Ran) -> None:
    sums = aggregate(ran.stats)
    for parts in (sums.by_layer, sums.by_stage, sums.by_document):
        assert sum((part.cost for part in parts.values()), Cost()) == sums.hooked.cost
        assert sum(part.calls for part in parts.values()) == sums.hooked.calls
    assert sums.hooked.calls == 2 * 3 + LAYERS * (1 + STEPS)
    assert set(sums.by_stage) == {"prefill", "decode"}
    assert set(sums.by_document) == {""}
    assert sums.not_hooked is not None
    assert sum(sums.not_hooked.values(), sums.hooked.cost) == sums.whole


def test_tokens(ran: Ran) -> None:
    sums = aggregate(ran.stats)
    assert [(token.step, token.kv_len, token.batch_size) for token in sums.tokens] == [
        (step, CONTEXT + step + 1, 2) for step in range(STEPS)
    ]
    assert sum((token.cost for token in sums.tokens), Cost()) == sums.by_stage["decode"].cost
    assert sums.mean_token is not None
    assert sums.mean_token.counted_flops == round(sums.by_stage["decode"].cost.counted_flops / STEPS)


def test_tokens_observed(ran: Ran) -> None:
    (seen,) = aggregate(ran.stats).observed
    assert (seen.image_tokens, seen.context_len, seen.decode_tokens) == (VIEWS.image_tokens, CONTEXT, STEPS)
    assert seen.context_len - VIEWS.image_tokens == TEXT
    assert seen.batch_size == 2


def test_several_pages_are_several_sequences(ran: Ran) -> None:
    twice = AnalyticRunStats(passes=[*ran.stats.passes, *ran.stats.passes[:3]])
    assert [seen.decode_tokens for seen in aggregate(twice).observed] == [STEPS, 2]


def test_nothing_recorded() -> None:
    sums = aggregate(AnalyticRunStats())
    assert (sums.hooked.calls, sums.whole, sums.not_hooked, sums.mean_token) == (0, None, None, None)
    assert (sums.tokens, sums.observed, sums.experts) == ((), (), ())


def test_a_record_that_belongs_to_no_pass_leaves_the_whole_unknown(ran: Ran) -> None:
    """A decoder layer called on its own."""
    more = AnalyticRunStats(
        decoder_steps=[*ran.stats.decoder_steps, ran.stats.decoder_steps[1]],
        vision_steps=ran.stats.vision_steps,
        passes=ran.stats.passes,
    )
    assert aggregate(more).whole is None
    assert aggregate(more).not_hooked is None


def test_the_file_is_the_data(ran: Ran, tmp_path: Path) -> None:
    write_stats(ran.stats, tmp_path / "run.json")
    data = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert data == json.loads(json.dumps(run_data(ran.stats)))
    assert len(data["decoder_steps"]) == LAYERS * (1 + STEPS)
    total = data["aggregates"]["hooked"]
    assert total["io_bytes"] == sum(step["io_bytes"] for step in (*data["decoder_steps"], *data["vision_steps"]))
    assert total["io_tb"] == total["io_bytes"] * 8 / 10**12
    assert data["aggregates"]["whole"]["counted_flops"] == ran.flops.get_total_flops()
    assert [token["step"] for token in data["aggregates"]["tokens"]] == list(range(STEPS))
