"""The blocks of docs/session.md print what they show, with a small model in the released one's place."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from modelmeter.live.session import load
from modelmeter.live.session.load import first_layers
from modelmeter.live.verification.real_run import SMALL

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```python\n(.*?)^```\n```text\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_page_prints_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "first_layers", lambda config, layers: first_layers(SMALL, layers))
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "session.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(page)
    assert len(blocks) == page.count("```python") == 4
    namespace: dict[str, Any] = {}
    for source, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(source, namespace)
        assert printed.getvalue() == shown, source
