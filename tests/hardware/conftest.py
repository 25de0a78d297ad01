"""Shared by the tests of devices."""

import pytest

from modelmeter.hardware import catalogue


@pytest.fixture(autouse=True)
def own_devices(monkeypatch, tmp_path):
    """The user's device file, which does not exist yet: that of whoever runs the tests changes nothing."""
    path = tmp_path / "config" / "modelmeter" / "devices.toml"
    monkeypatch.setattr(catalogue, "user_file", lambda: path)
    return path


@pytest.fixture
def device_file(tmp_path):
    """device_file(text, name): the path of a file with that text."""

    def write(text, name="mine.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write
