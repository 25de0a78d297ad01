"""The block of docs/run.md prints what it shows, with a small model in the released one's place."""

from pathlib import Path

import pytest
from support.doc_blocks import check_page

from modelmeter.live.session import load
from modelmeter.live.session.load import first_layers
from modelmeter.live.verification.real_run import SMALL


def test_the_page_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "first_layers", lambda config, layers: first_layers(SMALL, layers))
    monkeypatch.chdir(tmp_path)
    check_page("run.md")
