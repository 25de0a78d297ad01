"""What DeepSeek-OCR costs on a document and a GPU: FLOPs, bytes, memory, exactly.

Names are loaded when first used (PEP 562), so that `import modelmeter` and `modelmeter --version` cost nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from modelmeter._version import __version__

if TYPE_CHECKING:
    from modelmeter.core.cost import Cost, StageCost
    from modelmeter.core.errors import ModelMeterError
    from modelmeter.core.kv_cache import SyntheticKVCache, estimate_kv_cache_size_gb
    from modelmeter.core.layer import Layer
    from modelmeter.core.precision import Precision
    from modelmeter.core.pricing import fused
    from modelmeter.core.trace import Trace
    from modelmeter.documents import read_pages
    from modelmeter.formulas import formula
    from modelmeter.hardware.catalogue import devices, get_device
    from modelmeter.hardware.device import Device
    from modelmeter.hardware.fit import fit
    from modelmeter.hardware.page_time import PageTime, time_page
    from modelmeter.hardware.roofline import machine_of
    from modelmeter.hardware.timeline import Timeline
    from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
    from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
    from modelmeter.models.deepseek_ocr.run import RunCost
    from modelmeter.models.deepseek_ocr.stages import get_decode_cost_per_token, get_prefill_cost, get_vision_cost
    from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views
    from modelmeter.report.analysis import analyze
    from modelmeter.sweeps.sweep import sweep

_HOMES = {
    "analyze": "report.analysis",
    "Conventions": "models.deepseek_ocr.config",
    "Cost": "core.cost",
    "DeepseekOCRConfig": "models.deepseek_ocr.config",
    "DeepseekOCRModel": "models.deepseek_ocr.model",
    "Device": "hardware.device",
    "devices": "hardware.catalogue",
    "estimate_kv_cache_size_gb": "core.kv_cache",
    "fit": "hardware.fit",
    "formula": "formulas",
    "fused": "core.pricing",
    "get_decode_cost_per_token": "models.deepseek_ocr.stages",
    "get_device": "hardware.catalogue",
    "get_prefill_cost": "models.deepseek_ocr.stages",
    "get_vision_cost": "models.deepseek_ocr.stages",
    "Layer": "core.layer",
    "machine_of": "hardware.roofline",
    "ModelMeterError": "core.errors",
    "PageTime": "hardware.page_time",
    "plan_views": "models.deepseek_ocr.views",
    "Precision": "core.precision",
    "read_pages": "documents",
    "RunCost": "models.deepseek_ocr.run",
    "StageCost": "core.cost",
    "sweep": "sweeps.sweep",
    "SyntheticKVCache": "core.kv_cache",
    "time_page": "hardware.page_time",
    "Timeline": "hardware.timeline",
    "Trace": "core.trace",
    "ViewPlan": "models.deepseek_ocr.views",
}

__all__ = [
    "Conventions",
    "Cost",
    "DeepseekOCRConfig",
    "DeepseekOCRModel",
    "Device",
    "Layer",
    "ModelMeterError",
    "PageTime",
    "Precision",
    "RunCost",
    "StageCost",
    "SyntheticKVCache",
    "Timeline",
    "Trace",
    "ViewPlan",
    "__version__",
    "analyze",
    "devices",
    "estimate_kv_cache_size_gb",
    "fit",
    "formula",
    "fused",
    "get_decode_cost_per_token",
    "get_device",
    "get_prefill_cost",
    "get_vision_cost",
    "machine_of",
    "plan_views",
    "read_pages",
    "sweep",
    "time_page",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelmeter' has no attribute {name!r}")
    value = getattr(import_module(f"modelmeter.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
