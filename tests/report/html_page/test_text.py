"""The page as text: one file, no links, scripts that the policy names, data that cannot leave its tag."""

import base64
import hashlib
import json
import re
import sys
from importlib.resources import files

import attrs
import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.html_page import page as page_module
from modelmeter.report.html_page import render_html
from modelmeter.report.html_page.data import exact, page_data, rounded
from modelmeter.report.model_report.convert import from_json, to_json

WEB = files("modelmeter.report.html_page") / "web"
DATA = re.compile(r'<script id="report-data" type="application/json">(.*?)</script>', re.DOTALL)


@pytest.fixture(scope="module")
def text(page_file):
    return page_file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def plain(text):
    """The page without its scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)


def test_nothing_is_linked(plain):
    assert re.findall(r"\b(?:src|srcset|action|data)=", plain) == []
    addresses = re.findall(r'\bhref="([^"]*)"', plain)
    assert [address for address in addresses if not address.startswith(("#", "data:"))] == []
    for name in page_module.STYLES:
        style = (WEB / name).read_text()
        assert "@import" not in style and "url(" not in style


def test_there_are_no_inline_handlers(plain):
    assert re.findall(r"\son\w+=", plain) == []


def test_the_policy_names_exactly_the_scripts(text):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none';") and "unsafe-eval" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(hashes) == 2 and re.findall(r"'sha256-([^']*)'", policy) == hashes


def test_names_of_files_stay_in_the_data(text):
    assert "window.broken" in DATA.search(text)[1]
    assert "window.broken" not in DATA.sub("", text)
    assert not set("<>&") & set(DATA.search(text)[1])


def test_the_data_is_that_of_the_report(text, report):
    assert json.loads(DATA.search(text)[1]) == json.loads(json.dumps(page_data(report)))


def test_a_report_read_back_gives_the_same_page(text, report):
    assert render_html(from_json(to_json(report))) == text


def test_title_is_escaped(report):
    device = attrs.evolve(report.device, title="<b>H200</b>")
    assert "on &lt;b&gt;H200&lt;/b&gt;</title>" in render_html(attrs.evolve(report, device=device))


def test_size_is_a_few_megabytes(text):
    assert len(text.encode()) < 6e6


@pytest.mark.parametrize("script", [name for name in page_module.SCRIPTS])
def test_scripts_write_no_html_and_run_no_text(script):
    code = (WEB / script).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?:", code)


def test_every_file_of_the_page_is_used():
    names = {item.name for item in WEB.iterdir()}
    assert names == {*page_module.SCRIPTS, *page_module.STYLES, "page.html"}


def test_integers_beyond_a_float_are_strings():
    assert exact(2**53 - 1) == 2**53 - 1
    assert exact(2**53) == "9007199254740992"


def test_seconds_of_operators_have_six_digits():
    assert rounded(1.23456789e-6) == 1.23457e-6


def test_odd_bytes_of_a_name_are_escaped(report):
    odd = attrs.evolve(report.documents[0], source="scan\udcff.pdf")
    text = render_html(attrs.evolve(report, documents=(odd, *report.documents[1:])))
    assert r"scan\\udcff.pdf" in text


def test_without_plotly_one_error_names_the_extra(report, monkeypatch):
    page_module._plotly.cache_clear()
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ModelMeterError, match=r"pip install 'modelmeter\[plot\]'"):
        render_html(report)
    page_module._plotly.cache_clear()
