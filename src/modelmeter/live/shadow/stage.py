"""Which stage of a run the code is in: a name that hooks write into what they record."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from modelmeter.core.errors import ModelMeterError

UNKNOWN: Final = "unknown"
"""The stage outside every `analytic_stage`."""

_stage: ContextVar[str] = ContextVar("modelmeter_analytic_stage", default=UNKNOWN)


@contextmanager
def analytic_stage(name: str) -> Iterator[None]:
    """While this runs, `current_stage()` is `name`, in this thread or task alone. Stages nest: the inner one counts.

    Raises `ModelMeterError` for an empty name.
    """
    if not name:
        raise ModelMeterError(f"analytic_stage() takes a stage's name, such as 'prefill', not {name!r}")
    token = _stage.set(name)
    try:
        yield
    finally:
        _stage.reset(token)


def current_stage() -> str:
    """The stage that the code is in; "unknown" outside every `analytic_stage`."""
    return _stage.get()
