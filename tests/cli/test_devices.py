"""`modelmeter devices`."""

import json

import pytest

from modelmeter.hardware import catalogue
from modelmeter.hardware.catalogue import devices, get_device

MINE = '[my-h200]\nbase = "h200"\nbandwidth = "4.2 TB/s"\n'


@pytest.fixture(autouse=True)
def own_devices(monkeypatch, tmp_path):
    """The user's device file, which does not exist yet."""
    monkeypatch.setattr(catalogue, "user_file", lambda: tmp_path / "config" / "devices.toml")
    return tmp_path / "config" / "devices.toml"


@pytest.fixture
def mine(tmp_path):
    """A device file with one device."""
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return path


def test_the_table_has_every_device_and_fits_100_columns(program):
    done = program("devices")
    assert (done.code, done.err) == (0, "")
    rows = [line for line in done.out.splitlines() if line.startswith("| ")]
    assert [row.split()[1] for row in rows[2:]] == list(devices())
    assert max(len(line) for line in rows) <= 100


def test_a_row_and_its_marks(program):
    rows = {line.split()[1]: line for line in program("devices").out.splitlines() if line.startswith("| ")}
    cells = [cell.strip() for cell in rows["h200"].split("|")[1:-1]]
    assert cells == ["h200", "141 GB", "4.80 TB/s", "989 T", "1.98 P", "66.9 T", "60 MiB", "132", "700"]
    assert "*" in rows["a30"]  # nothing of it was read in its data sheet
    assert [cell.strip() for cell in rows["v100"].split("|")[4:6]] == ["125 T", ""]  # fp16, and no fp8


def test_a_name_gives_every_value_and_its_source(program):
    done = program("devices", "mi250x", "rtx-4090")
    assert (done.code, done.err) == (0, "")
    for name in ("mi250x", "rtx-4090"):
        device = get_device(name)
        assert f"{name}: {device.title}" in done.out
        assert [title for title in device.sources.values() if title not in done.out] == []
        assert device.note in done.out
    assert "h200" not in done.out
    assert "| no" in done.out and "| yes" in done.out


def test_json(program, valid, tmp_path):
    data = valid(program("devices", "--json", "-").out)
    assert [device["name"] for device in data["devices"]] == list(devices())
    h200 = next(device for device in data["devices"] if device["name"] == "h200")
    assert (h200["peaks"]["bf16"], h200["memory_bytes"], h200["bandwidth"]) == (989.4e12, 141 * 10**9, 4.8e12)
    assert set(h200["verified"]) <= set(h200["sources"])
    assert h200["link"] == {"name": "NVLink 4", "bandwidth": 900e9}
    done = program("devices", "h200", "--json", tmp_path / "h200.json", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert json.loads((tmp_path / "h200.json").read_text())["devices"] == [h200]


def test_devices_of_ones_own(program, valid, mine, own_devices):
    both = ("--device-file", mine, "--json", "-")
    assert valid(program("devices", *both).out)["devices"][-1]["name"] == "my-h200"
    (device,) = valid(program("devices", "my-h200", *both).out)["devices"]
    assert device["bandwidth"] == 4.2e12
    assert device["sources"]["bandwidth"] == str(mine)
    assert valid(program("devices", mine, "--json", "-").out)["devices"] == [device]
    own_devices.parent.mkdir()
    own_devices.write_text(MINE.replace("my-h200", "of-the-user"))
    assert valid(program("devices", "--json", "-").out)["devices"][-1]["name"] == "of-the-user"


def test_a_device_named_twice_is_shown_once(program, valid):
    assert len(valid(program("devices", "h200", "h200", "--json", "-").out)["devices"]) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINE.replace("4.2 TB/s", "4.2 TB"), "[my-h200] bandwidth: the unit 'TB' of '4.2 TB'"),
        (MINE.replace('base = "h200"', ""), "[my-h200] title is missing"),
        (MINE.replace("bandwidth", "bandwith"), "[my-h200] bandwith: unknown field"),
        ("[my-h200", "is not TOML"),
    ],
)
def test_a_wrong_file_is_one_line(refused, mine, text, words):
    mine.write_text(text)
    line = refused("devices", "--device-file", mine)
    assert str(mine) in line and words in line
    assert line.count("\n") == 1


def test_wrong_names_and_places(refused, mine):
    assert "did you mean h200" in refused("devices", "H200")
    assert "cannot read the device file gone.toml" in refused("devices", "--device-file", "gone.toml")
    assert "is also the input" in refused("devices", "--device-file", mine, "--json", mine)


def test_the_examples_in_the_help_work(program):
    text = program("devices", "--help").out
    examples = [line.split()[1:] for line in text.splitlines() if line.strip().startswith("modelmeter ")]
    assert len(examples) == 3
    assert [program(*example).code for example in examples] == [0, 0, 0]
