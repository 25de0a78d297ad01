"""`read_profile`: a file of another tool's profile, whichever of the two kinds it is, packed or not."""

import gzip
import io
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from modelmeter.core.errors import ModelMeterError
from modelmeter.profiles.chrome_trace import read_trace
from modelmeter.profiles.nsight import COMMAND, read_kernel_summary
from modelmeter.profiles.profile import Profile

_GZIP: Final = b"\x1f\x8b"
_SQLITE: Final = b"SQLite format 3\x00"
_REPORTS: Final = (".nsys-rep", ".qdrep", ".qdstrm", ".sqlite")
_MARKS: Final = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
"""Byte order marks: PowerShell writes one when it redirects."""
_HEAD: Final = 4096


def read_profile(path: str | Path) -> Profile:
    """A torch profiler's Chrome trace (JSON, also gzip) or Nsight Systems' kernel summary (CSV), by its content.

    Raises `ModelMeterError`, in one line, for a file that cannot be read or is neither.
    """
    source = str(path)
    try:
        with ExitStack() as stack:
            return _read(_unpacked(stack.enter_context(Path(path).open("rb")), stack), source)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ModelMeterError(f"{source} is a damaged or cut off gzip file ({error}): copy it whole") from None
    except UnicodeDecodeError:
        raise ModelMeterError(f"{source} is no text: give a Chrome trace, or a CSV of `{COMMAND}`") from None
    except OSError as error:
        raise ModelMeterError(f"cannot read {source}: {error.strerror or error}: check the name") from error


def _unpacked(file: IO[bytes], stack: ExitStack) -> BinaryIO:
    packed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    if not packed:
        return cast("BinaryIO", file)
    unpacked = gzip.GzipFile(fileobj=file)
    stack.callback(unpacked.close)
    return cast("BinaryIO", unpacked)


def _read(file: BinaryIO, source: str) -> Profile:
    head = file.read(_HEAD)
    file.seek(0)
    if not head.strip():
        raise ModelMeterError(f"{source} is empty: give a Chrome trace, or a CSV of `{COMMAND}`")
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), "utf-8")
    is_report = source.lower().endswith(_REPORTS) and b"\x00" in head
    if head.startswith(_SQLITE) or is_report:
        raise ModelMeterError(f"{source} is Nsight Systems' own report: export its kernel summary, `{COMMAND}`")
    if encoding != "utf-16" and b"\x00" in head:
        raise ModelMeterError(f"{source} is no text: give a Chrome trace, or a CSV of `{COMMAND}`")
    start = head.decode(encoding, "ignore").lstrip("\ufeff \t\r\n")
    with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
        return read_trace(text, source) if start.startswith(("{", "[")) else read_kernel_summary(text, source)
