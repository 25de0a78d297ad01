"""The devices by name: the built-in ones, the user's own file, and files given."""

import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.device import Device
from modelmeter.hardware.device_file import DeviceFile, Entry, read_device_file
from modelmeter.hardware.sheet import make_device


def devices(*files: str | Path) -> dict[str, Device]:
    """Every device by name: built-in ones, then those of the user's file and of `files`, later ones overriding.

    Raises `ModelMeterError` naming file, device and field where a file is wrong.
    """
    layers = _layers(files)
    names = dict.fromkeys(name for layer in layers for name in layer.tables)
    return {name: _device(name, layers) for name in names}


def get_device(device: str | Path | Device, *files: str | Path) -> Device:
    """The device of this name, or the only one of a device file (a path that ends in .toml); a `Device` as it is.

    Only this device's values are checked. Raises `ModelMeterError` for an unknown name, with those like it.
    """
    if isinstance(device, Device):
        return device
    layers = _layers(files)
    if isinstance(device, Path) or device.endswith(".toml"):
        own = read_device_file(Path(device))
        return _device(_only(own), [*layers, own])
    if not any(device in layer.tables for layer in layers):
        raise ModelMeterError(_unknown(device, layers))
    return _device(device, layers)


def user_file() -> Path:
    """The file of a user's own devices, in the folder where the system keeps settings; it need not exist."""
    from platformdirs import user_config_path

    return user_config_path("modelmeter", appauthor=False) / "devices.toml"


@cache
def _built_in() -> DeviceFile:
    return read_device_file(Path(__file__).with_name("devices.toml"), origin="devices.toml")


def _layers(files: Sequence[str | Path]) -> list[DeviceFile]:
    own = user_file()
    return [
        _built_in(),
        *([read_device_file(own)] if own.is_file() else []),
        *[read_device_file(Path(f)) for f in files],
    ]


def _device(name: str, layers: Sequence[DeviceFile]) -> Device:
    origin = next(layer.origin for layer in reversed(layers) if name in layer.tables)
    return make_device(name, _entries(name, layers, ()), origin)


def _entries(name: str, layers: Sequence[DeviceFile], trail: tuple[str, ...]) -> dict[str, Entry]:
    """The values of a device: each file's over those of the files before it, or over those of its base."""
    merged: dict[str, Entry] = {}
    for count, layer in enumerate(layers, start=1):
        if name not in layer.tables:
            continue
        base = layer.base(name)
        if base != name:
            if base in (*trail, name):
                raise ModelMeterError(f"{layer.origin}: [{name}] base: {' -> '.join([*trail, name, base])} is a circle")
            if not any(base in earlier.tables for earlier in layers[:count]):
                raise ModelMeterError(f"{layer.origin}: [{name}] base: {_unknown(base, layers[:count])}")
            merged = _entries(base, layers[:count], (*trail, name))
        merged |= layer.entries(name)
    return merged


def _only(file: DeviceFile) -> str:
    """The one device of a file."""
    names = list(file.tables)
    if len(names) != 1:
        held = f"{len(names)} devices ({', '.join(names)})" if names else "no device"
        raise ModelMeterError(f"{file.origin} holds {held}: name a file with one, or give the file and a device's name")
    return names[0]


def _unknown(name: str, layers: Sequence[DeviceFile]) -> str:
    names = list(dict.fromkeys(known for layer in layers for known in layer.tables))
    asked = name.lower()
    begin = [known for known in names if asked and known.startswith(asked)]
    close = list(dict.fromkeys([*begin, *difflib.get_close_matches(asked, names, n=4, cutoff=0.5)]))
    meant = f"did you mean {', '.join(close[:4])}? " if close else ""
    return f"unknown device {name!r}: {meant}`modelmeter devices` lists all"
