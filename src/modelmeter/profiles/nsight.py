"""`read_kernel_summary`: the CSV of `nsys stats --report cuda_gpu_kern_sum --format csv` as a profile.

Columns by name, as versions differ: "Total Time (ns)" (or in us, ms, s), "Instances", and "Name" ("Operation" in
`cuda_gpu_sum`, which has the copies as well). The 2021 versions call the report `gpukernsum`, and have no medians.
What nsys says before and after the table is passed over.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, NoReturn, TextIO

from modelmeter.core.errors import ModelMeterError
from modelmeter.profiles.kinds import kernel_kind, on_tensor_cores
from modelmeter.profiles.profile import KernelTime, Profile, merged

COMMAND: Final = "nsys stats --report cuda_gpu_kern_sum --format csv --output . REPORT.nsys-rep"
_TIME: Final = re.compile(r"Total Time ?\((ns|nsec|us|usec|ms|msec|s|sec)\)")
_NANOSECONDS: Final = {"n": 1, "u": 1_000, "m": 1_000_000, "s": 1_000_000_000}
_NAMES: Final = ("Name", "Operation")
_MOST: Final = 1e15  # eleven days of nanoseconds: more is no measurement, and exact in a float up to here
_SAID: Final = re.compile(r"\s*(Processing|Generating|Exporting|Generated|NOTICE|SKIPPED|WARNING|Using|\*\*|\[\d)")


class _Columns(NamedTuple):
    """Where the table has what is read, and what its times are in."""

    time: int
    instances: int
    name: int
    width: int
    nanoseconds: int


def read_kernel_summary(file: TextIO, source: str) -> Profile:
    """The profile in an open kernel summary: no stages, no timeline. Raises `ModelMeterError` for another file."""
    try:
        kernels = tuple(merged(_kernels(file, source)))
    except csv.Error as error:
        raise ModelMeterError(f"{source} is no CSV ({error}): export it again with `{COMMAND}`") from None
    if not kernels:
        raise ModelMeterError(f"{source} has no kernels below its columns: profile a run with --trace=cuda")
    return Profile(source=source, tool="nsys", runs_on="gpu", kernels=kernels)


def _kernels(lines: Iterable[str], source: str) -> Iterator[KernelTime]:
    reader = csv.reader(lines)
    columns = None
    ended = False
    for row in reader:
        head = _columns(row)
        if head is not None and columns is not None:
            raise ModelMeterError(f"{source}, line {reader.line_num}: a second report begins: name one, `{COMMAND}`")
        if head is not None or columns is None:
            columns = head
        elif not row or _SAID.match(row[0]):
            ended = True
        elif not ended:
            yield _kernel(row, columns, f"{source}, line {reader.line_num}")
    if columns is None:
        raise ModelMeterError(
            f"{source} is neither a Chrome trace nor a kernel summary: no line has the columns Total Time (ns), "
            f"Instances and Name: export it with `{COMMAND}`"
        )


def _columns(row: list[str]) -> _Columns | None:
    """Of the line that names the columns."""
    cells = [cell.strip() for cell in row]
    times = [(place, found[1]) for place, cell in enumerate(cells) if (found := _TIME.fullmatch(cell))]
    names = [cells.index(name) for name in _NAMES if name in cells]
    if not times or not names or "Instances" not in cells:
        return None
    place, unit = times[0]
    return _Columns(place, cells.index("Instances"), names[0], len(cells), _NANOSECONDS[unit[0]])


def _kernel(row: list[str], columns: _Columns, place: str) -> KernelTime:
    if len(row) != columns.width:
        _refuse(place, f"{len(row)} cells below {columns.width} columns")
    name = row[columns.name].strip()
    time = _number(row[columns.time], "Total Time", place)
    launches = _number(row[columns.instances], "Instances", place)
    if launches != int(launches):
        _refuse(place, f"Instances is {row[columns.instances]!r}, no whole number")
    kind = kernel_kind(name)
    return KernelTime(
        name=name,
        kind=kind,
        stage="unknown",
        launches=int(launches),
        nanoseconds=round(time * columns.nanoseconds),
        tensor_cores=on_tensor_cores(name, kind),
    )


def _number(cell: str, column: str, place: str) -> float:
    """A number, which may have commas between thousands."""
    try:
        value = float(cell.replace(",", ""))
    except ValueError:
        _refuse(place, f"{column} is {cell[:40]!r}, no number")
    if not 0 <= value < _MOST:
        _refuse(place, f"{column} is {cell[:40]!r}: times and counts are from 0 to {_MOST:g}")
    return value


def _refuse(place: str, reason: str) -> NoReturn:
    raise ModelMeterError(f"{place}: {reason}: export it again with `{COMMAND}`")
