"""Writing results: whole or not at all."""

import os
import tempfile
from pathlib import Path

from modelmeter.core.errors import ModelMeterError


def write_text(path: str | Path, text: str, *, remedy: str = "choose another file") -> None:
    """Write `text` to `path` in UTF-8, making its folder. The file appears whole, or stays as it was.

    A link's target is replaced, not the link; a pipe or device is written to. Raises `ModelMeterError` naming the file,
    the system's reason and the remedy.
    """
    write_bytes(path, encoded(text), remedy=remedy)


def write_bytes(path: str | Path, content: bytes, *, remedy: str = "choose another file") -> None:
    """The same for what is no text."""
    try:
        _write(Path(path), content)
    except OSError as error:
        raise ModelMeterError(f"cannot write {path}: {error.strerror or error}: {remedy}") from error


def encoded(text: str) -> bytes:
    """UTF-8; what is no text (a byte of a file's name) becomes an escape, in JSON as in print."""
    return text.encode("utf-8", "backslashreplace")


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        raise IsADirectoryError(21, "is a directory")
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    target = target.resolve()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".modelmeter-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
