"""The file of a shadow run against its published JSON Schema, and the schema against what it must refuse."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.schema import at, check_schema, places, validator_of, with_more, without
from support.shadow_runs import conventions_of, run, small_model

from modelmeter.live.shadow.export import SCHEMA, json_text, run_data
from modelmeter.live.shadow.stats import AnalyticRunStats

NAMED = ("by_layer", "by_stage", "by_document", "not_hooked")
"""Objects whose keys are names of the run."""


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """The schema of a shadow run."""
    return validator_of("analytic-run-1")


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    """What a file has of a short run with experts."""
    ran = run(small_model(), conventions_of(), steps=1, experts=True)
    found: dict[str, Any] = json.loads(json_text(run_data(ran.stats)))
    return found


def test_runs_are_valid(schema: Draft202012Validator, data: dict[str, Any]) -> None:
    check_schema(schema)
    schema.validate(data)
    schema.validate(json.loads(json_text(run_data(AnalyticRunStats()))))
    assert data["schema"] == SCHEMA == schema.schema["title"]


def test_every_field_is_required_and_no_other_is_allowed(schema: Draft202012Validator, data: dict[str, Any]) -> None:
    found = [path for path in places(data) if path[-1:] not in {(name,) for name in NAMED}]
    assert len(found) >= 8  # the file, its sums, both records, cost, total, token, observed, experts
    for path in found:
        assert (path, schema.is_valid(with_more(data, path, extra=1))) == (path, False)
        for name in at(data, path):
            assert (path, name, schema.is_valid(without(data, path, name))) == (path, name, False)


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ((), "schema", "modelmeter.analytic-run/2"),
        (("decoder_steps", 0), "flops", 1.5),
        (("decoder_steps", 0), "kv_len", 0),
        (("decoder_steps", 0), "stage", ""),
        (("vision_steps", 0), "module", "sam"),
        (("vision_steps", 0), "view", "all"),
        (("vision_steps", 0), "shape", [1, 3, 0, 0]),
        (("aggregates",), "whole", 1),
    ],
)
def test_wrong_values_are_invalid(
    schema: Draft202012Validator, data: dict[str, Any], path: tuple[str | int, ...], name: str, value: Any
) -> None:
    assert not schema.is_valid(with_more(data, path, **{name: value}))
