"""Shared by the tests of measured scaling: a small session, a short request, and a count of what runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmeter.live.measuring import measure
from modelmeter.live.measuring.measure import measure_session
from modelmeter.live.measuring.request import MeasureRequest
from modelmeter.live.measuring.store import Store
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL
from modelmeter.report.scaling_compare.measured import MeasuredPoint, MeasuredScaling

Measured = Callable[..., MeasuredScaling]


@pytest.fixture(scope="package")
def session() -> DeepSeekOCRSession:
    """Eager attention, bf16, on the CPU."""
    return DeepSeekOCRSession.from_config(SMALL)


@pytest.fixture
def run(session: DeepSeekOCRSession, tmp_path: Path) -> Measured:
    """run(*lengths, ...): a measurement into the test's folder."""

    def measured(*lengths: int, **options: Any) -> MeasuredScaling:
        sizes = {name: options.pop(name) for name in list(options) if name in MeasureRequest.__annotations__}
        request = MeasureRequest(**{"seq_lens": lengths, "decode_steps": 2, "warm_up": 0, "repeats": 1, **sizes})
        store = Store(options.pop("folder", tmp_path), replace=options.pop("replace", False))
        return measure_session(options.pop("session", session), request, store, **options)

    return measured


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths whose points were really measured, in order."""
    lengths: list[int] = []
    before = measure.measure_point

    def counted(session: DeepSeekOCRSession, inputs: Any, **options: Any) -> MeasuredPoint:
        lengths.append(inputs.context_len)
        return before(session, inputs, **options)

    monkeypatch.setattr(measure, "measure_point", counted)
    return lengths


def stop_at(monkeypatch: pytest.MonkeyPatch, length: int, error: BaseException) -> Callable[[], None]:
    """Measuring this length raises an error; the function takes that back."""
    before = measure.measure_point

    def stopping(session: DeepSeekOCRSession, inputs: Any, **options: Any) -> Any:
        if inputs.context_len == length:
            raise error
        return before(session, inputs, **options)

    monkeypatch.setattr(measure, "measure_point", stopping)
    return lambda: monkeypatch.setattr(measure, "measure_point", before)
