"""The events of a Chrome trace, one after another: a file of any size takes the memory of its largest event.

Trace Event Format (Google, "Trace Event Format", 2016): an object with a list `traceEvents`, or that list itself.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, TextIO

from modelmeter.core.errors import ModelMeterError

CHUNK: Final = 1 << 20  # characters read at a time
LONGEST: Final = 1 << 26  # characters: nothing in a trace is longer, and a file without an end is no trace
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder()


class TraceEvents:
    """The events of an open trace. `header` holds the other fields that came before the events."""

    def __init__(self, file: TextIO, source: str) -> None:
        self.header: dict[str, Any] = {}
        self._file, self._source = file, source
        self._text, self._at, self._read = "", 0, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every event. Raises `ModelMeterError` for what is no trace, and for one that is cut off."""
        if self._peek() == "[":
            yield from self._events()
            return
        self._expect("{")
        found = False
        while self._peek() != "}":
            name = self._value()
            self._expect(":")
            if name == "traceEvents":
                if self._peek() != "[":
                    raise self._error("its traceEvents are no list")
                found = True
                yield from self._events()
            else:
                self.header[str(name)] = self._value()
            if self._peek() != "}":
                self._expect(",")
        if not found:
            raise ModelMeterError(
                f"{self._source} has no traceEvents: give the file that torch.profiler's export_chrome_trace() wrote"
            )

    def _events(self) -> Iterator[dict[str, Any]]:
        self._expect("[")
        while self._peek() != "]":
            event = self._value()
            if not isinstance(event, dict):
                raise self._error(f"an event is {str(event)[:40]!r}, no object")
            yield event
            if self._peek() != "]":
                self._expect(",")
        self._at += 1

    def _value(self) -> Any:
        """The value that begins here, reading on until it is whole."""
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                refused = self._error(error.msg, error.pos)
                if len(self._text) - self._at > LONGEST or not self._more():
                    raise refused from None
            except RecursionError:
                raise self._error("nested too deeply") from None
            except ValueError:  # Python converts none of more than 4,300 digits
                raise self._error("a number is too long") from None
            else:
                if end < len(self._text) or not self._more():  # a number may go on
                    self._at = end
                    return value

    def _peek(self) -> str:
        """The next character that is no blank, which is not taken."""
        while True:
            match = _BLANK.match(self._text, self._at)
            self._at = self._at if match is None else match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise ModelMeterError(f"{self._source} is cut off after {self._read:,} characters: copy it whole")

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise self._error(f"{character!r} is missing")
        self._at += 1

    def _more(self) -> bool:
        """Read on, by as much as there is, so that what is long is not gone through too often."""
        left = self._text[self._at :]
        chunk = self._file.read(max(CHUNK, len(left)))
        self._text, self._at = left + chunk, 0
        self._read += len(chunk)
        return bool(chunk)

    def _error(self, reason: str, at: int | None = None) -> ModelMeterError:
        place = self._read - len(self._text) + (self._at if at is None else at)
        return ModelMeterError(
            f"{self._source} is not the JSON of a trace ({reason}, at character {place + 1:,}): export the trace again"
        )
