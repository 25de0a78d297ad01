"""Real modules: record one, verify a twin against it, run it with its shadow. The only code that imports torch (the
extra `live`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from modelmeter.live.installed import check_import

check_import("torch", "pip install 'modelmeter[live]'")

if TYPE_CHECKING:
    from modelmeter.live.analyser.analyser import DeepseekOCRStaticAnalyzer
    from modelmeter.live.recording.flops import FLOP_FORMULAS
    from modelmeter.live.recording.record import record, record_call
    from modelmeter.live.session.inputs import PreparedInputs
    from modelmeter.live.session.result import RunResult
    from modelmeter.live.session.session import DeepSeekOCRSession
    from modelmeter.live.shadow.hooks import hooked
    from modelmeter.live.shadow.process import (
        get_analytic_run_stats,
        reset_analytic_run_stats,
        write_analytic_run_stats,
    )
    from modelmeter.live.shadow.shadow import Shadow
    from modelmeter.live.shadow.stage import analytic_stage, current_stage
    from modelmeter.live.shadow.stats import AnalyticRunStats

_HOMES: Final = {
    "AnalyticRunStats": "shadow.stats",
    "DeepSeekOCRSession": "session.session",
    "DeepseekOCRStaticAnalyzer": "analyser.analyser",
    "FLOP_FORMULAS": "recording.flops",
    "PreparedInputs": "session.inputs",
    "RunResult": "session.result",
    "Shadow": "shadow.shadow",
    "analytic_stage": "shadow.stage",
    "current_stage": "shadow.stage",
    "get_analytic_run_stats": "shadow.process",
    "hooked": "shadow.hooks",
    "record": "recording.record",
    "record_call": "recording.record",
    "reset_analytic_run_stats": "shadow.process",
    "write_analytic_run_stats": "shadow.process",
}
"""Each public name and the module it lives in: loaded when it is asked for, as some need transformers and some not."""

__all__ = [
    "AnalyticRunStats",
    "DeepSeekOCRSession",
    "DeepseekOCRStaticAnalyzer",
    "FLOP_FORMULAS",
    "PreparedInputs",
    "RunResult",
    "Shadow",
    "analytic_stage",
    "current_stage",
    "get_analytic_run_stats",
    "hooked",
    "record",
    "record_call",
    "reset_analytic_run_stats",
    "write_analytic_run_stats",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelmeter.live' has no attribute {name!r}")
    value = getattr(import_module(f"modelmeter.live.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
