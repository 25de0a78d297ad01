"""Writing results: whole or not at all."""

import os
import tempfile
from pathlib import Path

from modelmeter.core.errors import ModelMeterError


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path`, making its folder. The file appears whole, or stays as it was.

    Raises `ModelMeterError` naming the file and the system's reason.
    """
    target = Path(path)
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(21, "is a directory")
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        os.chmod(temporary, mode)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise ModelMeterError(f"cannot write {target}: {error.strerror or error}: choose another file") from error
    finally:
        if temporary is not None:
            os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
