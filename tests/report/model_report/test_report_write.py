"""The folder of a report: what is in it, and that it appears whole, replaces reports and nothing else."""

import json
import re

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.model_report import write
from modelmeter.report.model_report.convert import to_json, to_yaml
from modelmeter.report.model_report.layers import layer_kinds, layer_pages
from modelmeter.report.model_report.render import to_markdown
from modelmeter.report.model_report.write import check_folder, read_report, write_report

LINK = re.compile(r"\]\(([^)]+)\)")


@pytest.fixture(scope="module")
def folder(timed, tmp_path_factory):
    place = tmp_path_factory.mktemp("reports") / "deep" / "report"
    names = write_report(timed, place, html=False)
    assert sorted(names) == sorted(p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file())
    return place


def test_the_files_are_the_report(folder, timed):
    assert (folder / "report.json").read_text(encoding="utf-8") == to_json(timed)
    assert (folder / "report.yaml").read_text(encoding="utf-8") == to_yaml(timed)
    assert (folder / "report.md").read_text(encoding="utf-8") == to_markdown(timed)
    assert read_report(folder) == timed == read_report(folder / "report.json")


def test_every_layer_has_a_page_and_every_link_a_file(folder, timed):
    index = (folder / "layers" / "index.md").read_text(encoding="utf-8")
    tree = timed.kinds[0].tree
    kinds = layer_kinds(tree)
    assert sum(kind.times for kind in kinds) == sum(times for times, _ in tree.walk())
    assert len({kind.file for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert f"]({kind.file})" in index
        text = (folder / "layers" / kind.file).read_text(encoding="utf-8")
        assert all(place.path in text for _, place in kind.places)
    for page in [folder / "report.md", *(folder / "layers").iterdir()]:
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            assert (page.parent / link).is_file(), (page.name, link)


def test_a_page_says_what_a_layer_costs(timed):
    pages, kind = layer_pages(timed), timed.kinds[0]
    text = pages["model.layers.1.mlp.experts.down_proj.md"]
    assert "# ExpertLinear: model.layers.1.mlp.experts.down_proj" in text
    assert "| weight | [64 1280 896] | bf16 | 146,800,640 |" in text  # 64 * 1280 * 896 * 2 bytes
    rows = kind.context_len * 6  # each token goes through 6 experts
    assert f"| tensor FLOPs | {2 * rows * 1280 * 896:,} | {2 * 6 * 1280 * 896:,} |" in text
    assert f"- tensor_flops(decode) = `{2 * 6 * 1280 * 896}*B`" in text
    assert "## Time of one on NVIDIA H200" in text
    # A folder has one model.md: the backbone's. The whole model's page has a name that no path has.
    assert "# Backbone" in pages["model.md"]
    assert "# DeepseekOCRForCausalLM" in pages["whole-model.md"]


def test_markdown_shows_names_as_text(timed):
    text = to_markdown(timed)
    assert "b&lt;script>.png" in text and "<script" not in text
    for heading in ("## Pages", "## Not read", "## What is verified", "## Conventions"):
        assert heading in text
    assert "c.pdf: the PDF is damaged" in text


def test_a_report_without_a_device_has_no_times(plain):
    text = to_markdown(plain)
    assert "TTFT" not in text and "time on" not in text
    assert "## Time of one" not in "".join(layer_pages(plain).values())


def test_a_report_is_replaced(folder, plain, tmp_path):
    place = tmp_path / "report"
    place.mkdir()  # an empty folder is no one's
    write_report(plain, place, html=False)
    (place / "layers" / "old.md").write_text("of an older version", encoding="utf-8")
    write_report(plain, place, html=False)
    assert not (place / "layers" / "old.md").exists()
    older = {**json.loads(to_json(plain)), "schema": "modelmeter.report/0"}
    (place / "report.json").write_text(json.dumps(older), encoding="utf-8")
    write_report(plain, place, html=False)
    assert read_report(place) == plain


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.txt": "mine"},
        {"report.json": "{}"},
        {"report.json": '{"schema": "modelmeter.report/1"}', "notes.txt": "mine"},
        {"report.json": '{"schema": "modelmeter.report/1"}', "layers/picture.png": "mine"},
    ],
    ids=str,
)
def test_another_folder_is_replaced_by_force_alone(plain, tmp_path, files):
    place = tmp_path / "mine"
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    with pytest.raises(ModelMeterError, match="holds more than a report: choose another folder, or --force"):
        write_report(plain, place, html=False)
    assert {name: (place / name).read_text(encoding="utf-8") for name in files} == files
    write_report(plain, place, html=False, force=True)
    assert read_report(place) == plain
    assert not any((place / name).exists() for name in ("thesis.txt", "notes.txt", "layers/picture.png"))


def test_what_breaks_off_leaves_everything_as_it_was(plain, tmp_path, monkeypatch):
    place = tmp_path / "report"
    write_report(plain, place, html=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "layer_pages", stop)
    for target in (place, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            write_report(plain, target, html=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_folders_that_cannot_be_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ModelMeterError, match="it is a file: name a folder"):
        check_folder(tmp_path / "file")
    monkeypatch.chdir(tmp_path)
    for place in (".", "..", tmp_path):
        with pytest.raises(ModelMeterError, match="the folder you are in: name a folder for the report alone"):
            check_folder(place, force=True)
    (tmp_path / "scans").mkdir()
    for given in ("scans", "scans/page.png"):
        with pytest.raises(ModelMeterError, match=rf"it is, or holds, {given}: name a folder"):
            check_folder("scans", force=True, inputs=[given])
    check_folder("scans", inputs=["1654x2339", "file"])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("report.json", b"{", "this is no JSON"),
        ("report.yaml", b"a: [", "this is no YAML"),
        ("report.yaml", b"a: 2026-99-99", "this is no YAML: month must be in"),
        ("report.yaml", b"[" * 5000, "this is no YAML"),
        ("report.json", b"\xff\xfe", "it is no text"),
        ("report.json", b'{"schema": "modelmeter.time/1"}', "schema 'modelmeter.time/1' where modelmeter.report/1"),
        ("other.txt", None, "No such file"),
    ],
)
def test_files_that_are_no_report_are_named(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelMeterError, match=reason) as refused:
        read_report(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)


def test_the_page_and_its_plots(timed, tmp_path):
    """With the page come the stages by part and the layers, of the kind of page that is met most."""
    place = tmp_path / "report"
    names = write_report(timed, place)
    plots = sorted(path.name for path in (place / "plots").iterdir())
    assert plots == ["layers-decode-bytes.svg", "layers-prefill-flops.svg", "parts-by-stage.svg"]
    assert {"report.html", *(f"plots/{name}" for name in plots)} <= set(names)
    most = max(timed.kinds, key=lambda kind: kind.pages)
    assert f"{most.context_len:,} tokens of context" in (place / "plots" / "parts-by-stage.svg").read_text("utf-8")
    write_report(timed, place)  # it is ours to replace, plots and all
