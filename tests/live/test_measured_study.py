"""The real model's counted FLOPs at a study's points are those of the study, number by number."""

import json

import attrs
import pytest
from support.small import small_config

from modelmeter import DeepseekOCRConfig, DeepseekOCRModel, ModelMeterError
from modelmeter.live.measured_study import MEASURED, measure_study
from modelmeter.report.study.data import study_data
from modelmeter.sweeps.shapes import Shape
from modelmeter.sweeps.studies import decoder, grids
from modelmeter.sweeps.studies.custom import custom
from modelmeter.sweeps.studies.setup import Setup

SIDES = {"base_size": 256, "tile_size": 128}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The configuration of a small model."""
    path = tmp_path_factory.mktemp("small") / "config.json"
    path.write_text(json.dumps(small_config()))
    return path


@pytest.fixture(scope="module")
def setup(file):
    """That model in the real code's conventions, on one device."""
    model = DeepseekOCRModel.from_config(DeepseekOCRConfig.from_hf(file), implementation="transformers")
    return Setup(model=model, devices=("h200",))


def check_equal(study):
    for dataset in study.datasets.values():
        assert dataset[MEASURED].dims == dataset["counted_flops"].dims
        assert (dataset[MEASURED] == dataset["counted_flops"]).all()


def test_pages_and_text(setup, file):
    shapes = [Shape.of(1, 1), Shape.of(2, 1)]
    check_equal(measure_study(grids.prefill(setup, shapes, prompt_tokens=3, sides=SIDES), config_file=file))
    page = {"page": ["300x200", "100x100"], "batch_size": 2, **SIDES}
    eager = attrs.evolve(setup, attention=("eager",))
    check_equal(measure_study(custom(eager, page, stage="vision"), config_file=file))


def test_all_decode_steps_are_run(setup, file):
    said = []
    study = measure_study(
        decoder.seq_len(setup, [7, 20], decode_steps=3, batch_size=2), config_file=file, say=said.append
    )
    check_equal(study)
    assert said[-1] == "decode, flash attention: point 2 of 2"
    cost = study_data(study)["points"][1]["decode_stagecost"]["decode_flash"]
    assert cost["measured_counted_flops"] == cost["counted_flops"]


@pytest.mark.parametrize(
    ("conventions", "over", "stage", "says"),
    [
        ({}, {"num_key_value_heads": [1, 2]}, "prefill", "not over num_key_value_heads"),
        ({}, {"decode_tokens": 2}, "run", "not in the stage run"),
        ({"logits": "last"}, {}, "prefill", "logits all, the study last"),
        ({"implementation": "vendor"}, {}, "decode", "the study vendor"),
        ({}, {"batch_size": 10**6}, "prefill", "at most"),
    ],
)
def test_what_is_not_run(file, conventions, over, stage, says):
    config = DeepseekOCRConfig.from_hf(file)
    model = DeepseekOCRModel.from_config(config, **{"implementation": "transformers", **conventions})
    study = custom(Setup(model=model, attention=("eager",)), {"context_len": 9, **over}, stage=stage)
    with pytest.raises(ModelMeterError, match=says):
        measure_study(study, config_file=file)
