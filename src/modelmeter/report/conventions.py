"""The conventions behind the numbers, in words: every output prints them."""

from modelmeter.models.deepseek_ocr.config import Conventions

_FLOPS = (
    "a multiply-add is 2 FLOPs; tensor cores: matrix products in bf16; CUDA cores: those in fp32 and elementwise work"
)


ONE_STEP = "decode is one token at the first step; prefill includes vision; run is prefill and all decode steps"
"""What a report of pages calls decode."""


def convention_notes(conventions: Conventions) -> list[str]:
    """One line a convention that shapes the numbers."""
    return [
        _FLOPS if conventions.elementwise else f"{_FLOPS.replace(' and elementwise work', '')}; no elementwise FLOPs",
        f"code: {conventions.implementation}; attention: {conventions.attention}{_vision(conventions)}; "
        f"experts: {conventions.experts}; KV cache: {conventions.cache}; position ids: {conventions.position_ids}",
        f"logits: {conventions.logits}; causal scores: {conventions.causal}",
        _coverage(conventions),
        ONE_STEP,
        "activation peaks are the most bytes alive at once, the stage's inputs included; weights held are all parts",
    ]


def _vision(conventions: Conventions) -> str:
    return " (vision: SDPA)" if conventions.vision_sdpa and conventions.attention == "eager" else ""


def _coverage(conventions: Conventions) -> str:
    if conventions.coverage == "expected":
        masks = ", and what their masks are searched for" if conventions.implementation == "transformers" else ""
        return f"expert weights read{masks}: the expected number that uniform routing reaches, rounded once an operator"
    return f"expert weights read: coverage {conventions.coverage}"
