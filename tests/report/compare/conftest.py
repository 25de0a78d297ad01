"""Shared by the tests of comparisons: results written as files."""

import copy
import json

import pytest

from modelmeter.report.compare.compare import compare
from modelmeter.report.compare.read import read_result

HEAD = {"modelmeter_version": "0.1.0", "analytic_model_version": "2026.11.21"}


def analysis(*pages, **more):
    """The least of an analysis: pages of (source, number, {stage: {quantity: value}})."""
    listed = [{"source": source, "page": number, "stages": stages} for source, number, stages in pages]
    return {
        "schema": "modelmeter.analysis/1",
        **HEAD,
        "conventions": {"attention": "eager", "notes": ["eager attention"]},
        "model": {"name": "ocr", "parameters": 3, "weights_resident_bytes": 6},
        "precision": {"weights": "bf16", "description": "all bf16"},
        "pages": listed,
        "errors": [],
        **copy.deepcopy(more),
    }


@pytest.fixture
def written(tmp_path):
    """written(data, name): the path of a JSON file with it."""

    def write(data, name="result.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
        return path

    return write


@pytest.fixture
def rows(written):
    """rows(data): {what a row is of: its values}."""

    def read(data):
        return {dict_key(key): dict(values) for key, values in read_result(written(data)).rows.items()}

    return read


@pytest.fixture
def compared(written):
    """compared(a, b, options...): the comparison of two results."""

    def run(a, b, **options):
        return compare(written(a, "a.json"), written(b, "b.json"), **options)

    return run


def dict_key(key):
    """A key without its names: ("a.pdf", 1, "decode")."""
    return tuple(value for _, value in key)
