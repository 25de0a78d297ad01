"""`modelmeter verify` of a small real model."""

import json

import pytest
from support.small import CONTEXT, VIEWS, small_config

SIZES = ("--views", VIEWS, "--context-len", CONTEXT)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The configuration file of a small model."""
    path = tmp_path_factory.mktemp("small") / "config.json"
    path.write_text(json.dumps(small_config()))
    return path


@pytest.fixture
def verify(program, config):
    """verify(*arguments): `modelmeter verify` of the small model."""
    return lambda *arguments: program("verify", "--config", config, *SIZES, *arguments)


@pytest.fixture
def verified(verify, tmp_path, valid):
    """verified(*arguments): the data of a run that must end well."""

    def run(*arguments):
        done = verify("-q", "--json", tmp_path / "verified.json", *arguments)
        assert (done.code, done.out, done.err) == (0, "", "")
        return valid((tmp_path / "verified.json").read_text(encoding="utf-8"))

    return run
