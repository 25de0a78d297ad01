"""One device file: its tables, checked, each value with where it stands and where it comes from."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.device import DTYPES

PEAKS = ("tensor", "vector")
TEXTS = ("title", "vendor", "architecture", "kind", "note")
NUMBERS = ("memory", "bandwidth", "l2", "l2_bandwidth", "multiprocessors", "link", "power", "launch")
_ABOUT_VALUES = ("base", "source", "sources", "unverified")
_KEYS = (*TEXTS, *PEAKS, *NUMBERS, "calibration", *_ABOUT_VALUES)


@attrs.frozen(kw_only=True)
class Entry:
    """A value as written, with its place (for errors), its source's title, and whether it was read there."""

    value: Any
    place: str
    source: str
    verified: bool


@attrs.frozen(kw_only=True)
class DeviceFile:
    """The devices and the sources of a file. `origin` is what errors call it."""

    origin: str
    tables: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, str]

    def base(self, device: str) -> str:
        """The device whose values are taken where this table has none; the same name: an earlier file's."""
        base = self.tables[device].get("base", device)
        if not isinstance(base, str):
            raise ModelMeterError(f"{self._place(device, 'base')}: {base!r} is no device's name")
        return base

    def entries(self, device: str) -> dict[str, Entry]:
        """The values of a device's table by field; peaks are fields of their own ("tensor.bf16")."""
        table = self.tables[device]
        unknown = [key for key in table if key not in _KEYS]
        if unknown:
            raise ModelMeterError(f"{self._place(device, unknown[0])}: unknown field: use one of {', '.join(_KEYS)}")
        where, unverified = self._sources_of(device), self._unverified(device)
        default = self._text(device, "source", table.get("source", self.origin))
        entries = {}
        for field, value in self._values(device):
            group = field.split(".")[0]
            source = where.get(field, where.get(group, default))
            entries[field] = Entry(
                value=value,
                place=self._place(device, field),
                source=self.sources.get(source, source),
                verified=unverified.isdisjoint({field, group, "*"}),
            )
        return entries

    def _values(self, device: str) -> Iterator[tuple[str, Any]]:
        for key, value in self.tables[device].items():
            if key in PEAKS:
                for dtype, rate in self._table(device, key, value).items():
                    if dtype not in DTYPES:
                        place = self._place(device, f"{key}.{dtype}")
                        raise ModelMeterError(f"{place}: unknown dtype: use one of {', '.join(DTYPES)}")
                    yield f"{key}.{dtype}", rate
            elif key not in _ABOUT_VALUES:
                yield key, value

    def _sources_of(self, device: str) -> dict[str, str]:
        sources = self._table(device, "sources", self.tables[device].get("sources", {}))
        for field, source in sources.items():
            self._known_field(device, "sources", field)
            self._text(device, f"sources.{field}", source)
        return sources

    def _unverified(self, device: str) -> set[str]:
        fields = self.tables[device].get("unverified", [])
        if not (isinstance(fields, list) and all(isinstance(field, str) for field in fields)):
            place = self._place(device, "unverified")
            raise ModelMeterError(f'{place}: {fields!r} is no list of fields: write it like ["l2", "power"]')
        for field in fields:
            self._known_field(device, "unverified", field)
        return set(fields)

    def _known_field(self, device: str, key: str, field: str) -> None:
        group, _, dtype = field.partition(".")
        if field == "*" or field in (*NUMBERS, *PEAKS) or (group in PEAKS and dtype in DTYPES):
            return
        known = f'{", ".join(NUMBERS)}, tensor, vector, or a peak like "tensor.bf16"'
        raise ModelMeterError(f"{self._place(device, key)}: {field!r} is no field: use one of {known}")

    def _table(self, device: str, key: str, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ModelMeterError(
                f"{self._place(device, key)}: {value!r} is no table: write it like {{ name = value }}"
            )
        return value

    def _text(self, device: str, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise ModelMeterError(f"{self._place(device, key)}: {value!r} is no text: write it in quotes")
        return value

    def _place(self, device: str, field: str) -> str:
        return f"{self.origin}: [{device}] {field}"


def read_device_file(path: Path, origin: str | None = None) -> DeviceFile:
    """Read a device file. Raises `ModelMeterError` naming the file where it is no TOML of tables."""
    origin = origin or str(path)
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise ModelMeterError(f"cannot read the device file {origin}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelMeterError(f"the device file {origin} is not TOML: {error}") from error
    for name, table in data.items():
        if not isinstance(table, dict):
            raise ModelMeterError(f"{origin}: {name} stands outside a device: write [name-of-the-device] above it")
    sources = data.pop("sources", {})
    for key, title in sources.items():
        if not isinstance(title, str):
            raise ModelMeterError(f"{origin}: [sources] {key}: {title!r} is no title: write it in quotes")
    return DeviceFile(origin=origin, tables=data, sources=sources)
