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
    from modelmeter.core.pricing import fused
    from modelmeter.core.trace import Trace
    from modelmeter.documents import read_pages
    from modelmeter.formulas import formula
    from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
    from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
    from modelmeter.models.deepseek_ocr.run import RunCost
    from modelmeter.models.deepseek_ocr.stages import get_decode_cost_per_token, get_prefill_cost, get_vision_cost
    from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views
    from modelmeter.report.analysis import analyze

_HOMES = {
    "analyze": "report.analysis",
    "read_pages": "documents",
    "Conventions": "models.deepseek_ocr.config",
    "Cost": "core.cost",
    "DeepseekOCRConfig": "models.deepseek_ocr.config",
    "DeepseekOCRModel": "models.deepseek_ocr.model",
    "Layer": "core.layer",
    "ModelMeterError": "core.errors",
    "RunCost": "models.deepseek_ocr.run",
    "StageCost": "core.cost",
    "SyntheticKVCache": "core.kv_cache",
    "Trace": "core.trace",
    "ViewPlan": "models.deepseek_ocr.views",
    "estimate_kv_cache_size_gb": "core.kv_cache",
    "formula": "formulas",
    "fused": "core.pricing",
    "get_decode_cost_per_token": "models.deepseek_ocr.stages",
    "get_prefill_cost": "models.deepseek_ocr.stages",
    "get_vision_cost": "models.deepseek_ocr.stages",
    "plan_views": "models.deepseek_ocr.views",
}

__all__ = [
    "Conventions",
    "Cost",
    "DeepseekOCRConfig",
    "DeepseekOCRModel",
    "Layer",
    "ModelMeterError",
    "RunCost",
    "StageCost",
    "SyntheticKVCache",
    "Trace",
    "ViewPlan",
    "__version__",
    "analyze",
    "estimate_kv_cache_size_gb",
    "formula",
    "fused",
    "get_decode_cost_per_token",
    "get_prefill_cost",
    "get_vision_cost",
    "plan_views",
    "read_pages",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelmeter' has no attribute {name!r}")
    value = getattr(import_module(f"modelmeter.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
