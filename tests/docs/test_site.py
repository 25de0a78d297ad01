"""The web site of the documentation: it builds without a warning, holds together, and loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
from typer.core import TyperGroup

import modelmeter
from modelmeter import live
from modelmeter.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
LOADS = {"src", "srcset", "poster", "data"}  # attributes that make a browser load what they name
LINKS_THAT_LOAD = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "manifest", "preconnect"}


class Links(HTMLParser):
    """What a page loads, where it leads, and its anchors."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        self.loads += [value for name, value in given.items() if name in LOADS]
        if tag == "link" and LINKS_THAT_LOAD & set(given.get("rel", "").split()):
            self.loads.append(given["href"])
        elif tag == "a" and "href" in given:
            self.leads.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `make docs` builds it."""
    place = tmp_path_factory.mktemp("site")
    call = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    source = str(Path(modelmeter.__file__).parents[1])
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": source}
    done = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return place


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Links]:
    """Each page of the site."""
    return {page: Links(page) for page in sorted(site.rglob("*.html"))}


def loaded_by_styles(site: Path) -> Iterator[tuple[Path, str]]:
    """What each style sheet loads."""
    for path in site.rglob("*.css"):
        for address in re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)", path.read_text(encoding="utf-8")):
            yield path, address


def from_elsewhere(site: Path) -> list[str]:
    """What pages and style sheets load that is not a file of the site."""
    loaded = [(page, address) for page in site.rglob("*.html") for address in Links(page).loads]
    loaded += loaded_by_styles(site)
    return [
        f"{path.relative_to(site)}: {address}" for path, address in loaded if re.match(r"(?!data:)\w+:|//", address)
    ]


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site):
    assert from_elsewhere(site) == []


def test_what_is_loaded_from_elsewhere_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="https://a.org">leads there</a> <img src="b.png"> <img src="data:image/png;base64,">'
        '<script src="https://b.org/c.js"></script> <link rel="stylesheet" href="//d.org/e.css">'
    )
    (tmp_path / "f.css").write_text("@import 'https://g.org/h.css'; a { background: url(../i.svg) }")
    assert from_elsewhere(tmp_path) == [
        "a.html: https://b.org/c.js",
        "a.html: //d.org/e.css",
        "f.css: https://g.org/h.css",
    ]


@pytest.mark.slow
def test_every_address_inside_the_site_is_there(site, pages):
    lost = []
    for page, links in pages.items():
        if page.name == "404.html":
            continue  # its addresses are absolute: it may be shown anywhere
        for address in [*links.loads, *links.leads]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            known = target.exists() and (not parts.fragment or unquote(parts.fragment) in pages[target].anchors)
            lost += [] if known else [f"{page.relative_to(site)}: {address}"]
    assert lost == []


@pytest.mark.slow
def test_every_public_name_is_on_one_page_of_the_reference(site, pages):
    public = {f"modelmeter.{name}" for name in modelmeter.__all__ if name != "__version__"}
    public |= {f"modelmeter.live.{name}" for name in live.__all__}
    entries = [
        entry
        for page in ROOT.glob("docs/reference/*.md")
        for entry in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(entries) == len(set(entries))
    assert public <= set(entries)
    anchors = {anchor for page, links in pages.items() if page.parts[-3] == "reference" for anchor in links.anchors}
    assert public <= anchors


@pytest.mark.slow
def test_the_reference_has_every_command_and_option(site):
    text = (site / "reference" / "command-line" / "index.html").read_text(encoding="utf-8")
    waiting = [(("modelmeter", name), command) for name, command in typer.main.get_command(app).commands.items()]
    for path, command in waiting:
        _, heading, section = text.partition(f'id="{"-".join(path)}"')
        assert heading, path
        section = section.partition("</table>")[0]
        options = {option for param in command.params for option in param.opts if option.startswith("--")}
        assert {option for option in options if not re.search(rf"{option}\b(?!-)", section)} == set(), path
        waiting += [
            ((*path, name), child)
            for name, child in (command.commands if isinstance(command, TyperGroup) else {}).items()
        ]
    assert len(waiting) > len(typer.main.get_command(app).commands)  # groups too


@pytest.mark.slow
def test_the_notebooks_are_pages_with_their_pictures(site):
    for notebook in ROOT.glob("examples/*.ipynb"):
        text = (site / "notebooks" / notebook.stem / "index.html").read_text(encoding="utf-8")
        pictures = notebook.read_text(encoding="utf-8").count('"image/svg+xml": [')
        assert len(re.findall(rf'src="\.\./{notebook.stem}-\d+\.svg"', text)) == pictures
