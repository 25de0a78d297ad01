"""Shared by the tests of the report's page: real reports, their files, and a headless Chromium."""

import json
import os
import shutil
import time
from importlib.util import find_spec

import pytest

from modelmeter.documents import Page, PageError
from modelmeter.hardware.roofline import machine_of
from modelmeter.report.analysis import Workload
from modelmeter.report.html_page import write_html
from modelmeter.report.model_report.build import build_report

NEEDED = "MODELMETER_NEED_BROWSER"
"""Set where a browser has to be there: then its tests fail without one."""
HOSTILE = "</script><script>window.broken=1</script><img src=x onerror=window.broken=2>&amp;.png"


def page(source, number, width, height):
    """A page as `read_pages` gives it."""
    return Page(source=source, number=number, width=width, height=height, label=f"{source} p{number}")


@pytest.fixture(scope="session")
def report():
    """On a device: a document of two kinds of page, one with a hostile name, and a file that cannot be read."""
    pages = [
        page("scan.pdf", 1, 1191, 1684),
        page("scan.pdf", 2, 600, 620),
        page(HOSTILE, 1, 1191, 1684),
        PageError(f"broken {HOSTILE}", "the PDF is damaged"),
    ]
    return build_report(pages, workload=Workload(decode_tokens=40, batch_size=2), machine=machine_of("h200"))


@pytest.fixture(scope="session")
def bare_report():
    """One page, no device, one decode step."""
    return build_report([page("600x620", 1, 600, 620)], workload=Workload(decode_tokens=1))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("html")


@pytest.fixture(scope="session")
def page_file(report, folder):
    """The report's page."""
    write_html(report, folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="session")
def browser(folder):
    """A headless Chromium that keeps its console and its network log, and downloads into `folder`."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chromedriver")}
    driver = programs.pop("chromedriver")
    program = next((path for path in programs.values() if path), None)
    if program is None or driver is None or find_spec("selenium") is None:
        missing = "a Chromium, its driver (Debian: chromium, chromium-driver) and selenium are needed, not all are here"
        if os.environ.get(NEEDED):
            pytest.fail(f"{missing}, and {NEEDED} is set")
        pytest.skip(missing)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--force-prefers-reduced-motion",
        "--window-size=1400,1000",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield opened
    opened.quit()


@pytest.fixture
def shown(browser, page_file):
    """The page, freshly opened; what was logged before is dropped."""
    open_file(browser, page_file)
    return browser


def open_file(browser, path):
    """Open a file and wait until all of it is there: where the same file is open, get() may come back too early."""
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())
    end = time.monotonic() + 20
    while browser.execute_script("return document.documentElement.dataset.drawn") != "true":
        assert time.monotonic() < end, f"not drawn: {browser.get_log('browser')}"
        time.sleep(0.02)


@pytest.fixture
def show(browser, folder):
    """show(report): the page of another report, freshly opened."""

    def run(report):
        write_html(report, folder / "other.html")
        open_file(browser, folder / "other.html")
        return browser

    return run


@pytest.fixture
def requests(shown):
    """requests(): the addresses that the page asked for."""

    def run():
        messages = [json.loads(entry["message"])["message"] for entry in shown.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    return run
