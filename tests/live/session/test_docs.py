"""The blocks of docs/session.md print what they show, with a small model in the released one's place."""

import pytest
from support.doc_blocks import ROOT, check_page

from modelmeter.live.session import load
from modelmeter.live.session.load import first_layers
from modelmeter.live.verification.real_run import SMALL


def test_the_page_prints_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "first_layers", lambda config, layers: first_layers(SMALL, layers))
    monkeypatch.chdir(ROOT)
    check_page("session.md")
