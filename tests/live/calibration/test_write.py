"""Device files of a calibration: what is written is what is read, whole or not at all."""

import os
import tomllib
from pathlib import Path

import attrs
import pytest

from modelmeter import ModelMeterError
from modelmeter.hardware.catalogue import get_device
from modelmeter.hardware.efficiency import Efficiency
from modelmeter.hardware.roofline import machine_of
from modelmeter.live.calibration.calibrate import Calibrated
from modelmeter.live.calibration.fit import Fitted
from modelmeter.live.calibration.host import HostTime
from modelmeter.live.calibration.rates import rounded
from modelmeter.live.calibration.write import check_writable, name_of, to_toml, write_device_file

REACHED = {
    "matmul": Efficiency(tensor=0.912345, memory=0.5, overlap=0.25, seconds=1.5e-6),
    "broadcast": Efficiency(vector=0.01, row_seconds=2e-8),
    "attention": Efficiency(tensor=0.3, causal_block=512.0),
    "move": Efficiency(),
}


@pytest.fixture
def found(device):
    """A calibration of the made-up device."""
    fitted = {
        kind: Fitted(efficiency=one, operators=9, median_error=0.034567, worst_error=0.2, spread=0.01)
        for kind, one in REACHED.items()
    }
    return Calibrated(
        device=rounded(attrs.evolve(device, title='My "CPU"')),
        base=None,
        fitted=fitted,
        host=HostTime(1.25e-5, "a model", 1e-5, 2e-5),
        provenance={"date": "2026-01-02", "threads": 1, "load_before": 0.25, "keeps_memory": True},
    )


def test_what_is_written_is_read_back(found, tmp_path):
    path = tmp_path / "my cpu.toml"
    write_device_file(found, path)
    machine = machine_of(path)
    device, calibration = machine.device, machine.calibration
    assert (device.name, device.title, device.kind) == ("my-cpu", 'My "CPU"', "cpu")
    assert device.numbers == found.device.numbers
    assert calibration.classes == REACHED
    assert calibration.host_seconds == 1.25e-5
    provenance = calibration.provenance
    assert (provenance["date"], provenance["threads"], provenance["keeps_memory"]) == ("2026-01-02", 1, True)
    quality = {"operators": 9, "median_error": 0.0346, "worst_error": 0.2, "spread": 0.01}
    assert provenance["fit"]["matmul"] == quality


def test_a_catalogued_device_keeps_its_data_sheet(found):
    h200 = get_device("h200")
    table = tomllib.loads(to_toml(attrs.evolve(found, device=h200, base="h200"), "mine"))["mine"]
    assert {key for key in table if key != "calibration"} == {"base", "title", "source"}
    assert table["base"] == "h200"


def test_the_file_of_a_catalogued_device_has_its_rates(found, tmp_path):
    path = tmp_path / "mine.toml"
    write_device_file(attrs.evolve(found, device=get_device("h200"), base="h200"), path)
    assert get_device(path).peaks == get_device("h200").peaks
    assert machine_of(path).calibration.classes == REACHED


@pytest.mark.parametrize(
    ("file", "name"),
    [("cpu-device.toml", "cpu-device"), ("a b/my cpu (2).toml", "my-cpu-2"), ("sources.toml", "sources-device")],
)
def test_a_device_is_named_as_its_file(file, name):
    assert name_of(Path(file)) == name


def test_an_older_file_stays_when_writing_fails(found, tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text("# mine")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ModelMeterError, match=r"cannot write .*mine\.toml: No space left"):
        write_device_file(found, path)
    assert path.read_text() == "# mine"
    assert os.listdir(tmp_path) == ["mine.toml"]  # nothing half written beside it


def test_a_place_that_cannot_be_written_is_known_before(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelMeterError, match=r"cannot write .*: choose another file"):
        check_writable(tmp_path / "file" / "mine.toml")
    check_writable(tmp_path / "new" / "folder" / "mine.toml")
    assert os.listdir(tmp_path) == ["file"]  # nothing is left behind, not even a folder


def test_writing_makes_the_folder(found, tmp_path):
    write_device_file(found, tmp_path / "new" / "folder" / "mine.toml")
    assert machine_of(tmp_path / "new" / "folder" / "mine.toml").device.name == "mine"
