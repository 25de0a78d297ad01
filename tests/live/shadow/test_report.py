"""A shadow run as a report: observed tokens, snapshots by class of module, files and back."""

import json
from pathlib import Path

import attrs
import pytest
from support.schema import validator_of
from support.shadow_runs import CONTEXT, STEPS, TEXT, Ran, conventions_of, run, small_model

from modelmeter import ModelMeterError
from modelmeter.core.cost import Cost
from modelmeter.documents import Page
from modelmeter.live.shadow.report import observed_report, observed_run
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.live.verification.real_run import SMALL, VIEWS
from modelmeter.report.analysis import Workload
from modelmeter.report.model_report.convert import from_data, from_json, from_yaml, to_data, to_json, to_yaml
from modelmeter.report.model_report.data import AnalyticModelReport
from modelmeter.report.model_report.write import read_report, write_report

LAYERS = SMALL.decoder.num_hidden_layers
NAMES = ("vision/image_encoder_vit", "vision/vit_model", "vision/mlp_projector", "decoder/deepseek_v2_decoder_layer")
PAGE = Page("page.png", 1, 600, 300, "page.png")


@pytest.fixture(scope="module")
def ran() -> Ran:
    """One sequence, eight decode steps."""
    return run(small_model(), conventions_of())


@pytest.fixture(scope="module")
def report(ran: Ran) -> AnalyticModelReport:
    """Its report, with a measured time."""
    seconds = {"vision/vit_model": 0.25}
    return observed_report(
        ran.stats,
        [PAGE],
        workload=Workload(mode="tiny", prompt_tokens=TEXT, decode_tokens=STEPS),
        seconds=seconds,
        config=SMALL,
        conventions=ran.conventions,
    )


def test_observed_tokens(report: AnalyticModelReport) -> None:
    assert report.observed is not None
    (page,) = report.observed.pages
    assert (page.image_tokens, page.context_len, page.decode_tokens) == (VIEWS.image_tokens, CONTEXT, STEPS)


def test_snapshots_are_sums_over_their_calls(report: AnalyticModelReport, ran: Ran) -> None:
    assert report.observed is not None
    snapshots = report.observed.snapshots
    assert tuple(snapshots) == NAMES
    assert [snapshot.calls for snapshot in snapshots.values()] == [2, 2, 2, LAYERS * (STEPS + 1)]
    decoder = snapshots[NAMES[3]].cost
    assert decoder.cost == sum((step.cost.cost for step in ran.stats.decoder_steps), Cost())
    token = 2 * SMALL.decoder.num_key_value_heads * SMALL.decoder.head_dim * 2  # keys and values of a layer in bf16
    assert decoder.kv_cache_bytes == LAYERS * (CONTEXT + STEPS) * token
    vision = snapshots[NAMES[1]]
    real = small_model().model.vision_tower.vision_encoder
    assert vision.cost.weights_bytes == sum(parameter.nbytes for parameter in real.parameters())
    assert vision.measured_seconds == 0.25
    assert vision.cost.activations_bytes == max(
        step.activations_peak_bytes for step in ran.stats.vision_steps if step.module == "vision_model"
    )


def test_files_and_back(report: AnalyticModelReport, tmp_path: Path) -> None:
    assert from_json(to_json(report)) == report
    assert from_yaml(to_yaml(report)) == report
    validator_of("report-1").validate(json.loads(to_json(report)))
    write_report(report, tmp_path / "report", html=False)
    assert read_report(tmp_path / "report") == report
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "## Observed: all calls of the run" in text
    assert all(f"| {name} |" in text for name in (*NAMES, "not hooked"))


def test_a_report_of_before_is_read(report: AnalyticModelReport) -> None:
    """It has no observed run in it."""
    data = to_data(report)
    del data["observed"]
    assert from_data(data) == attrs.evolve(report, observed=None)


def test_the_workload_is_the_observed_one(ran: Ran) -> None:
    page = Page("page.png", 1, 60, 60, "page.png")
    found = observed_report(ran.stats, [page], config=SMALL, conventions=ran.conventions)
    assert (found.profile.text_tokens, found.profile.new_tokens, found.profile.batch_size) == (TEXT, STEPS + 1, 1)


def test_seconds_of_what_is_not_there(ran: Ran) -> None:
    with pytest.raises(ModelMeterError, match="'vision/vit'"):
        observed_run(ran.stats, {"vision/vit": 1.0})


def test_nothing_observed() -> None:
    with pytest.raises(ModelMeterError, match=r"run under hooked\(\), then flush\(\)"):
        observed_report(AnalyticRunStats(), [PAGE])


def test_image_tokens_of_a_file_are_a_number_or_nothing(report: AnalyticModelReport) -> None:
    data = json.loads(to_json(report))
    data["observed"]["pages"][0]["image_tokens"] = None
    read = from_json(json.dumps(data))
    assert read.observed is not None and read.observed.pages[0].image_tokens is None
    data["observed"]["pages"][0]["image_tokens"] = -5
    with pytest.raises(ModelMeterError, match="image_tokens must be an int of at least 0, not -5"):
        from_json(json.dumps(data))
