"""The blocks of docs/shadow.md print what they show: two layers of the released width, random weights."""

import pytest
from support.doc_blocks import ROOT, check_page


@pytest.mark.slow
def test_the_page_prints_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check_page("shadow.md")
