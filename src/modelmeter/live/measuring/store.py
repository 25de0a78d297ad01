"""The file of a measurement: written after every point, whole, and gone on with."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.files import write_text
from modelmeter.report.scaling_compare.measured import (
    CONFIG,
    FILE,
    MeasuredPoint,
    MeasuredScaling,
    Skipped,
    read_measured,
    to_json,
)

_ELSEWHERE = "choose another folder"
_REMEDY = "--replace measures anew, or choose another folder"


class Store:
    """`measured_scaling.json` in a folder. Points that are there are kept, whoever wrote them.

    With `replace` what is there counts for nothing, and goes when the first point is finished. Raises
    `ModelMeterError` where the folder cannot be written, or its file not be read.
    """

    def __init__(self, folder: Path, *, replace: bool = False) -> None:
        self.file = folder / FILE
        self._replace = replace
        _check_writable(folder)
        self._held()  # an unreadable file is told before a model is loaded

    def begin(self, fresh: MeasuredScaling) -> MeasuredScaling:
        """`fresh` with the points that are there already. Raises where these were measured under other circumstances.

        What was skipped is not kept: there may be room for it now.
        """
        return self._joined(fresh)

    def write(self, found: MeasuredScaling, config: str | None = None) -> MeasuredScaling:
        """Write it, with what another run has put there meanwhile; returns what stands in the file.

        `config` is the text of the configuration, for a model that is not the released one.
        """
        with _locked(self.file.parent):
            joined = self._joined(found)
            if config is not None:
                write_text(self.file.with_name(CONFIG), config, remedy=_ELSEWHERE)
            write_text(self.file, to_json(joined), remedy=_ELSEWHERE)
        self._replace = False
        return joined

    def _held(self) -> MeasuredScaling | None:
        if self._replace or not self.file.exists():
            return None
        try:
            return read_measured(self.file)
        except ModelMeterError as error:
            raise ModelMeterError(f"{error}; {_REMEDY}") from None

    def _joined(self, mine: MeasuredScaling) -> MeasuredScaling:
        held = self._held()
        if held is None:
            return mine
        differing = _differing(held, mine)
        if differing:
            raise ModelMeterError(f"{self.file} holds another measurement ({', '.join(differing)}): {_REMEDY}")
        for point in held.points:
            if point.seq_len_prefill not in mine.lengths:
                mine = with_more(mine, point=point)
        return mine


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """No other measurement writes between our reading and writing, where the system has such locks."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with ExitStack() as stack:
        with suppress(OSError):  # a network's file system may have none; of a folder that cannot be, writing tells
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def with_more(
    measured: MeasuredScaling, *, point: MeasuredPoint | None = None, skipped: Skipped | None = None
) -> MeasuredScaling:
    """With one more length, finished or skipped, in order; one that was skipped before and is finished now was not."""
    points = {each.seq_len_prefill: each for each in (*measured.points, *([point] if point else []))}
    left_out = {each.seq_len_prefill: each for each in (*measured.skipped, *([skipped] if skipped else []))}
    return attrs.evolve(
        measured,
        points=tuple(points[length] for length in sorted(points)),
        skipped=tuple(left_out[length] for length in sorted(left_out) if length not in points),
    )


def _differing(held: MeasuredScaling, mine: MeasuredScaling) -> list[str]:
    """What the two were not measured alike in, in words."""
    a, b = held.circumstances(), mine.circumstances()
    names = [name for name in a if not name.endswith("notes") and a[name] != b.get(name)]
    return [f"{name} {_word(a[name])}, now {_word(b.get(name))}" for name in names]


def _word(value: Any) -> str:
    return "none" if value is None else str(value)


def _check_writable(folder: Path) -> None:
    """Raise before minutes of measuring, not after. Makes no folder: the nearest one that exists is tried."""
    try:
        if folder.exists() and not folder.is_dir():
            raise ModelMeterError(f"--output {folder} is a file: name a folder")
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ModelMeterError(f"cannot write {folder}: {error.strerror or error}: choose another folder") from error
