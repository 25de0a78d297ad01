"""Real modules: record one, verify a twin against it. The only code that imports torch (the extra `live`)."""

from importlib.util import find_spec

from modelmeter.core.errors import ModelMeterError

if find_spec("torch") is None:
    raise ModelMeterError("modelmeter.live needs torch and transformers: pip install 'modelmeter[live]'")

from modelmeter.live.recording.flops import FLOP_FORMULAS
from modelmeter.live.recording.record import record, record_call

__all__ = ["FLOP_FORMULAS", "record", "record_call"]
