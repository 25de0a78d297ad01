"""Files that are no result: one clear line each. Folders of results."""

import json

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.compare.layouts import LAYOUTS
from modelmeter.report.compare.read import IN_FOLDERS, read_result

from .conftest import HEAD, analysis

GOOD = json.dumps(analysis(("a.pdf", 1, {"run": {"io_bytes": 1}})))
DEEP = '{"a":' * 3000 + "1" + "}" * 3000


def header(**more):
    """The beginning of a result, as text."""
    return json.dumps({"schema": "modelmeter.time/1", **HEAD, **more})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        (GOOD[:-1], "is not JSON"),
        ("schema: modelmeter.analysis/1", "is not JSON"),
        (GOOD.replace(": 1}", ": NaN}"), "is not JSON .*NaN is no number"),
        (GOOD.replace(": 1}", ": -Infinity}"), "is not JSON .*-Infinity is no number"),
        (GOOD.replace(": 1}", ": 1e999}"), "is not JSON .*1e999 is no number"),
        (GOOD.replace(": 1}", f": {'9' * 5000}}}"), "is not JSON"),
        (DEEP, "is not JSON|nested too deeply|names no schema"),
        (f'{header()[:-1]}, "pages": [{{"source": "a", "in": {DEEP}}}]}}', "is not JSON|nested too deeply"),
        ("[]", "names no schema: give a JSON file that modelmeter wrote"),
        ("3", "names no schema"),
        ("null", "names no schema"),
        ("{}", "names no schema"),
        ('{"schema": 3}', "names no schema"),
        ('{"schema": "modelmeter.analysis/2"}', "analysis/2, and this modelmeter reads version 1 of it"),
        ('{"schema": "modelmeter.devices/1"}', "modelmeter.devices/1, which is not compared: give .*an analysis"),
        ('{"schema": "gpu_probe/1"}', "gpu_probe/1, which is not compared"),
        ('{"schema": "modelmeter.time/1"}', "has no analytic_model_version"),
        ('{"schema": "modelmeter.time/1", "analytic_model_version": 2}', "has no analytic_model_version"),
        (header(pages=[3]), r"pages\[0\] is no object"),
        (header(pages=[{"source": "a", "page": 1}, {}]), r"pages\[1\] has no source or page"),
        (header(schema="modelmeter.table/1", rows=[{}]), "names no keys"),
        (header(schema="modelmeter.table/1", keys=[], rows=[{}]), "names no keys"),
        (header(schema="modelmeter.table/1", keys=["grid"], rows=[{}]), r"rows\[0\] has no grid"),
        (header(schema="modelmeter.analysis/1", time=[]), "a result in it is no object"),
    ],
)
def test_a_file_that_is_no_result_is_one_line(written, content, said):
    path = written(content)
    with pytest.raises(ModelMeterError, match=said) as error:
        read_result(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 10, b'{"schema": "\xff"}', b"\x89PNG\r\n"])
def test_bytes_that_are_no_text(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ModelMeterError, match="is not JSON"):
        read_result(tmp_path / "a.json")


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelMeterError, match=r"cannot read .*none\.json: No such file or directory: check the name"):
        read_result(tmp_path / "none.json")


def test_a_mark_of_the_byte_order_is_no_fault(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert len(read_result(tmp_path / "a.json").rows) == 1


@pytest.mark.parametrize("name", IN_FOLDERS)
def test_a_folder_stands_for_the_result_in_it(written, tmp_path, name):
    path = written(GOOD, f"folder/{name}")
    written("{}", "folder/other.json")
    assert read_result(tmp_path / "folder").name == str(path)


def test_a_folder_without_a_result(tmp_path):
    with pytest.raises(
        ModelMeterError, match=r"is a folder without report\.json, sweep\.json or measured_scaling\.json: name"
    ):
        read_result(tmp_path)


@pytest.mark.parametrize("schema", sorted(LAYOUTS))
def test_the_least_of_each_kind_is_read(written, schema):
    path = written(header(schema=schema, keys=["grid"], rows=[]))
    found = read_result(path)
    assert (found.schema, found.title, found.analytic_model_version) == (
        schema,
        LAYOUTS[schema].title,
        HEAD["analytic_model_version"],
    )


def test_a_name_too_long_is_told():
    with pytest.raises(ModelMeterError, match="too long: check the name"):
        read_result("a" * 300)
