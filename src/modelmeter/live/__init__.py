"""Real modules: record one, verify a twin against it. The only code that imports torch (the extra `live`)."""

from modelmeter.live.installed import check_import

check_import("torch", "pip install 'modelmeter[live]'")

from modelmeter.live.recording.flops import FLOP_FORMULAS  # noqa: E402 - only after the check
from modelmeter.live.recording.record import record, record_call  # noqa: E402

__all__ = ["FLOP_FORMULAS", "record", "record_call"]
