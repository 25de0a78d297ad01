"""The page put together: template, style, scripts, Plotly and the report's data, in one file without a single link."""

import base64
import hashlib
import html
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.files import write_text
from modelmeter.report.html_page.data import page_data
from modelmeter.report.model_report.data import AnalyticModelReport

STYLES: Final = ("colours.css", "page.css")
SCRIPTS: Final = (
    "dom.js",
    "numbers.js",
    "formula.js",
    "terms.js",
    "state.js",
    "overview.js",
    "documents.js",
    "tree.js",
    "sizes.js",
    "table.js",
    "notes.js",
    "charts.js",
    "curves.js",
    "main.js",
)
"""In this order: they share one scope, and the last one starts the page."""


def write_html(report: AnalyticModelReport, path: str | Path) -> None:
    """Write the page to `path`; it appears whole, or the file stays as it was. Raises as `render_html` does."""
    write_text(path, render_html(report))


def render_html(report: AnalyticModelReport) -> str:
    """The page as text. Raises `ModelMeterError` where plotly is not installed (extra `plot`)."""
    data = page_data(report)
    plotly, program = _plotly(), _program()
    # Names of files come from anywhere. They are in the JSON alone, which the page shows as text, never as HTML.
    return Template(_read("page.html")).substitute(
        title=html.escape(data["title"]),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; "
        f"script-src {_hash(program)} {_hash(plotly)}; base-uri 'none'; form-action 'none'",
        style="\n".join(_read(name) for name in STYLES),
        data=embedded_json(data),
        program=program,
        plotly=plotly,
    )


def embedded_json(data: Any) -> str:
    """JSON that can stand inside a <script> of HTML: no "<" in it ends the script or opens a comment."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII: odd bytes of a file's name are escapes
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ModelMeterError("the HTML page draws with plotly: pip install 'modelmeter[plot]'") from error
    text: str = get_plotlyjs()
    return _script(text)


@cache
def _program() -> str:
    parts = "\n".join(_read(name) for name in SCRIPTS)
    return _script(f'(() => {{\n"use strict";\n{parts}}})();')


def _script(text: str) -> str:
    """Script text as a browser sees it between the tags: its line breaks count in the hash."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "</script" in text.lower() or "<!--" in text:
        raise AssertionError("a script that would end its own tag")
    return text


def _hash(script: str) -> str:
    """The source of a content security policy that allows this very script and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (files("modelmeter.report.html_page") / "web" / name).read_text(encoding="utf-8")
