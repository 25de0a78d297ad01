"""The folder of a run: its own from the start, its files whole or not there, its state always told."""

import json
import re
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core.errors import ModelMeterError
from modelmeter.report.files import write_bytes, write_text

State: TypeAlias = Literal["running", "complete", "incomplete"]
SCHEMA: Final = "modelmeter.run-status/1"
STATUS: Final = "status.json"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ROOM: Final = ".room"
_ROOM_BYTES: Final = 2**20
"""Kept aside on the disk: when it is full, this much is given back, and takes the last state and some pages."""
_ELSEWHERE: Final = "choose another folder with --output"
_REMEDY: Final = f"make room there, or {_ELSEWHERE}"


def now() -> str:
    """The time, UTC, to the second: 2026-11-21T16:05:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_run_id() -> str:
    """A name that sorts by time and that no other run has: 20261121-160500-3f9a1c."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class RunFolder:
    """`root`/`run_id`, made by this run and by no other; a state in status.json from the first moment.

    Raises `ModelMeterError` for a name that is none, where the folder exists, and where it cannot be made.
    """

    def __init__(self, root: str | Path, run_id: str | None = None) -> None:
        if run_id is not None and not _NAME.fullmatch(run_id):
            raise ModelMeterError(
                f"--run-id {run_id!r} is no name: a letter or digit, then letters, digits, '.', '_', '-', 100 at most"
            )
        self.run_id = run_id or new_run_id()
        self.path = Path(root) / self.run_id
        self.started = now()
        self._make()
        try:
            write_bytes(self.path / _ROOM, bytes(_ROOM_BYTES), remedy=_REMEDY)
            self.say("running")
        except BaseException:
            self.discard()
            raise

    def _make(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir()  # of two runs that ask at once one makes it, the other is refused
        except OSError as error:
            if isinstance(error, FileExistsError) and self.path.exists():
                raise ModelMeterError(
                    f"{self.path} is there already, and runs share no folder: choose another --run-id, or leave it out"
                ) from None
            raise ModelMeterError(f"cannot make {self.path}: {error.strerror or error}: {_ELSEWHERE}") from error

    def write(self, name: str, text: str) -> None:
        """A file of the run, whole or as it was. Raises `ModelMeterError` naming it and the system's reason."""
        write_text(self.path / name, text, remedy=_REMEDY)

    def say(self, state: State, *, reason: str | None = None, finished: int = 0, failed: int = 0) -> None:
        """Write the state: why a run is incomplete, how many pages are finished, how many could not be run."""
        status = {
            "schema": SCHEMA,
            "modelmeter_version": __version__,
            "analytic_model_version": ANALYTIC_MODEL_VERSION,
            "run_id": self.run_id,
            "state": state,
            "reason": reason,
            "pages_finished": finished,
            "pages_failed": failed,
            "started": self.started,
            "changed": now(),
        }
        self.write(STATUS, json.dumps(status, indent=1, ensure_ascii=False) + "\n")

    def close(self, state: State, *, reason: str | None = None, finished: int = 0, failed: int = 0) -> None:
        """Write the last state, with the room that was kept for it."""
        (self.path / _ROOM).unlink(missing_ok=True)
        self.say(state, reason=reason, finished=finished, failed=failed)

    def discard(self) -> None:
        """Remove the folder: nothing was run."""
        shutil.rmtree(self.path, ignore_errors=True)
