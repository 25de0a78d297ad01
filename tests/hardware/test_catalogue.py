"""Devices by name: built in, in the user's file, in files given; how they override; what a wrong file says."""

import sys

import attrs
import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware import catalogue
from modelmeter.hardware.catalogue import devices, get_device
from modelmeter.hardware.device import Link

THREE_LINES = '[my-h200]\nbase = "h200"\nbandwidth = "4.2 TB/s"\n'
WHOLE = """
[mine]
title = "Mine"
tensor = { bf16 = "100 TFLOP/s" }
memory = "10 GB"
bandwidth = "1 TB/s"
"""


def test_by_name():
    h200 = get_device("h200")
    assert (h200.name, h200.title, h200.vendor) == ("h200", "NVIDIA H200 SXM 141 GB", "NVIDIA")
    assert (h200.memory_bytes, h200.bandwidth) == (141 * 10**9, 4.8e12)
    assert h200.link == Link(name="NVLink 4", bandwidth=900e9)
    assert devices()["h200"] == h200
    assert get_device(h200) is h200


def test_three_lines_make_a_device(device_file):
    mine, h200 = get_device("my-h200", device_file(THREE_LINES)), get_device("h200")
    path = str(device_file(THREE_LINES))
    sources = {**h200.sources, "bandwidth": path}
    assert mine == attrs.evolve(h200, name="my-h200", bandwidth=4.2e12, sources=sources, verified=mine.verified)
    assert mine.verified == h200.verified | {"bandwidth"}


def test_a_file_overrides_a_device_of_its_name(device_file):
    path = device_file('[h200]\nbandwidth = "4.2 TB/s"\ntensor.bf16 = "900 TFLOP/s"\n')
    mine, h200 = get_device("h200", path), get_device("h200")
    assert (mine.bandwidth, mine.memory_bytes) == (4.2e12, h200.memory_bytes)
    assert mine.tensor == {**h200.tensor, "bf16": 900e12}  # by dtype: the other rates stay
    assert mine.sources["tensor.bf16"] == str(path) and mine.sources["tensor.fp8"] == h200.sources["tensor.fp8"]
    assert list(devices(path)) == list(devices())


def test_later_files_override_earlier_ones_and_the_users_own(device_file, own_devices):
    device_file('[h200]\npower = "600 W"\nmemory = "100 GB"\n[mine]\nbase = "h200"\n', own_devices)
    first = device_file('[h200]\npower = "500 W"\n', "first.toml")
    second = device_file('[h200]\npower = "400 W"\n[next]\nbase = "mine"\nlaunch = "4 us"\n', "second.toml")
    assert [get_device("h200", *files).power_watts for files in ([], [first], [first, second])] == [600, 500, 400]
    assert get_device("h200", first, second).memory_bytes == 100 * 10**9
    assert get_device("mine").power_watts == 600  # its base as it was where it stands
    assert get_device("next", first, second).launch_seconds == 4e-6
    assert list(devices(first, second))[-2:] == ["mine", "next"]


def test_the_users_file_is_where_the_system_keeps_settings(monkeypatch, tmp_path):
    monkeypatch.undo()
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        assert catalogue.user_file() == tmp_path / "modelmeter" / "devices.toml"
    assert catalogue.user_file().parts[-2:] == ("modelmeter", "devices.toml")


def test_a_file_with_one_device_is_a_device(device_file):
    path = device_file(WHOLE)
    assert get_device(path) == get_device(str(path)) == devices(path)["mine"]
    assert get_device(device_file(THREE_LINES)).bandwidth == 4.2e12


def test_calibration_passes_through_and_is_inherited(device_file):
    table = "[mine.calibration]\nversion = 1\nmatmul = { efficiency = 0.8 }\n"
    mine = get_device(device_file(WHOLE + table))
    assert mine.calibration == {"version": 1, "matmul": {"efficiency": 0.8}}
    mixed = device_file(WHOLE + table + '[other]\nbase = "mine"\npower = "9 W"\n')
    assert get_device("other", mixed).calibration == mine.calibration
    assert get_device("h200").calibration is None


def test_sources_and_unverified_values_of_a_file(device_file):
    about = 'source = "sheet"\nsources = { bandwidth = "measured by me" }\nunverified = ["memory"]\n'
    mine = get_device(device_file(WHOLE + about + '[sources]\nsheet = "The Sheet"\n'))
    assert mine.sources == {"tensor.bf16": "The Sheet", "memory_bytes": "The Sheet", "bandwidth": "measured by me"}
    assert mine.verified == {"tensor.bf16", "bandwidth"}
    assert get_device(device_file(WHOLE + 'unverified = ["*"]')).verified == frozenset()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("h20o", ["unknown device 'h20o': did you mean", "h200", "`modelmeter devices` lists all"]),
        ("H200", ["did you mean h200"]),
        ("a100", ["did you mean a100-40g"]),
        ("toaster", ["unknown device 'toaster': `modelmeter devices` lists all"]),
        ("", ["unknown device ''"]),
        ("sources", ["unknown device 'sources'"]),
    ],
)
def test_an_unknown_name_suggests_those_like_it(name, words):
    with pytest.raises(ModelMeterError) as error:
        get_device(name)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WHOLE.replace("title", "titel"), r"\[mine\] titel: unknown field: use one of title,"),
        (WHOLE.replace('title = "Mine"', ""), r'\[mine\] title is missing: add title = "NVIDIA'),
        (WHOLE.replace('memory = "10 GB"', ""), r'\[mine\] memory is missing: add memory = "141 GB"'),
        (WHOLE.replace('bandwidth = "1 TB/s"', ""), r"\[mine\] bandwidth is missing"),
        (WHOLE.replace('bf16 = "100 TFLOP/s"', ""), r"\[mine\] tensor is missing"),
        (WHOLE.replace("1 TB/s", "1 TB"), r"\[mine\] bandwidth: the unit 'TB' of '1 TB' is not of bytes a second"),
        (WHOLE.replace("100 TFLOP/s", "100 TOP/s"), r"\[mine\] tensor.bf16: the unit 'TOP/s'"),
        (WHOLE.replace('"10 GB"', "10"), r"\[mine\] memory: 10 has no unit"),
        (WHOLE.replace("10 GB", "-10 GB"), r"\[mine\] memory: '-10 GB' is not greater than zero"),
        (WHOLE.replace("bf16", "bf61"), r"\[mine\] tensor.bf61: unknown dtype: use one of fp32, tf32"),
        (WHOLE.replace('{ bf16 = "100 TFLOP/s" }', "1"), r"\[mine\] tensor: 1 is no table"),
        (WHOLE.replace('"Mine"', "7"), r"\[mine\] title: 7 is no text"),
        (WHOLE.replace('"Mine"', '" "'), r"\[mine\] title: ' ' is no text"),
        (WHOLE + 'kind = "toaster"', r"\[mine\] kind: unknown kind 'toaster': use one of gpu, accelerator"),
        (WHOLE + "kind = []", r"\[mine\] kind: unknown kind \[\]"),
        (WHOLE + "multiprocessors = 1.5", r"\[mine\] multiprocessors: 1.5 is no whole number"),
        (WHOLE + "multiprocessors = 0", r"\[mine\] multiprocessors: 0 is no whole number"),
        (WHOLE + "multiprocessors = true", r"\[mine\] multiprocessors: True is no whole number"),
        (WHOLE + 'link = "NVLink"', r"\[mine\] link: 'NVLink' is no link: write it like"),
        (WHOLE + 'link = { name = "NVLink" }', r"\[mine\] link: .* is no link"),
        (WHOLE + 'link = { name = 4, bandwidth = "1 GB/s" }', r"\[mine\] link.name: 4 is no text"),
        (WHOLE + 'link = { name = "a", bandwidth = "1 GB" }', r"\[mine\] link.bandwidth: the unit 'GB'"),
        (WHOLE + "calibration = 3", r"\[mine\] calibration: 3 is no table"),
        (WHOLE + "base = 3", r"\[mine\] base: 3 is no device's name"),
        (WHOLE + 'base = "h20o"', r"\[mine\] base: unknown device 'h20o': did you mean"),
        (WHOLE + 'base = "other"\n[other]\nbase = "mine"', r"base: mine -> other -> mine is a circle"),
        (WHOLE + 'unverified = "power"', r"\[mine\] unverified: 'power' is no list of fields"),
        (WHOLE + 'unverified = ["pover"]', r"\[mine\] unverified: 'pover' is no field: use one of memory,"),
        (WHOLE + 'sources = { pover = "me" }', r"\[mine\] sources: 'pover' is no field"),
        (WHOLE + "sources = { power = 1 }", r"\[mine\] sources.power: 1 is no text"),
        (WHOLE + "source = 1", r"\[mine\] source: 1 is no text"),
        (WHOLE + "[sources]\nsheet = 1", r"\[sources\] sheet: 1 is no title"),
        ('title = "Mine"', "title stands outside a device"),
        ("sources = 1", "sources stands outside a device"),
        ("[mine", "is not TOML: "),
    ],
)
def test_a_wrong_file_names_the_file_the_device_the_field_and_what_is_expected(device_file, text, message):
    path = device_file(text)
    with pytest.raises(ModelMeterError, match=message) as error:
        devices(path)
    assert str(path) in str(error.value)


def test_one_device_of_a_file_does_not_suffer_from_another(device_file):
    path = device_file(WHOLE + '[broken]\nbase = "mine"\nmemory = "none"\n')
    assert get_device("mine", path).title == "Mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [(WHOLE + THREE_LINES, r"holds 2 devices \(mine, my-h200\)"), ("", "holds no device")],
)
def test_a_path_needs_one_device(device_file, text, message):
    with pytest.raises(ModelMeterError, match=message):
        get_device(device_file(text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ModelMeterError, match=r"cannot read the device file .*gone\.toml: No such file"):
        get_device(tmp_path / "gone.toml")
    with pytest.raises(ModelMeterError, match="cannot read the device file"):
        devices(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'[mine]\ntitle = "\xe9"\n')
    with pytest.raises(ModelMeterError, match=r"latin\.toml is not TOML"):
        get_device(tmp_path / "latin.toml")
