"""A folder that appears whole or not at all."""

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from modelmeter.core.errors import ModelMeterError


def write_folder(target: str | Path, fill: Callable[[Path], None], *, replace: bool = False) -> None:
    """Let `fill` write into a new folder beside `target`, which becomes it when all is there.

    An existing folder is exchanged for it only with `replace`. Whatever goes wrong, an interrupt included, `target`
    stays as it was. Raises `ModelMeterError` naming it and the system's reason.
    """
    place = Path(target)
    partial = place.with_name(f".{place.name}-{secrets.token_hex(4)}.part")
    try:
        partial.mkdir(parents=True)
        fill(partial)
        _exchange(partial, place, replace=replace)
    except OSError as error:
        raise ModelMeterError(f"cannot write {place}: {error.strerror or error}: choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(partial: Path, place: Path, *, replace: bool) -> None:
    if not replace or not place.exists():
        partial.rename(place)  # fails where something is there by now, but for an empty folder
        return
    place = place.resolve()  # of a link the folder, not the link
    old = partial.with_name(f"{partial.name}.old")
    place.rename(old)
    try:
        partial.rename(place)
    except BaseException:
        if not place.exists():  # else somebody else's folder is there by now, and stays
            old.rename(place)
        raise
    finally:
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
