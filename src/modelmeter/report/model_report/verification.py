"""What `modelmeter verify` holds, in words: statements with the command that shows each, no claim about a report."""

from typing import Final

from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.report.model_report.data import VerificationStatement

EXACT: Final = {
    "counted_flops": "FLOPs of matrix products, convolutions and attention cores, as FlopCounterMode counts them in "
    "the real model",
    "parameters": "number of weights and the bytes they are held in",
    "kv_cache_bytes": "bytes of the KV cache held after the pass",
    "kv_bytes": "bytes read and written in the KV cache",
    "weight_bytes": "bytes of weights read, for the experts that were reached",
}
"""Equal as integers in every stage and every module."""
BOUNDED: Final = {
    "activation_bytes": "bytes of activations read and written",
    "activation_peak_bytes": "the most bytes of activations alive at once",
}
BOUNDS: Final = {
    "activation_bytes": {"vision": 0.02, "prefill": 0.02, "decode": 0.05},
    "activation_peak_bytes": {"vision": 0.05, "prefill": 0.05, "decode": 0.05},
}
"""As shares of what was measured, in a stage; docs/verification.md has those of single layers. A test holds them equal
to the command's own."""
DECLARED: Final = (
    "elementwise FLOPs: a declared number an element (docs/conventions.md); no counter of the real model counts them"
)
_STAGES: Final = ("vision", "prefill", "decode")


def verification_statements(
    views: ViewPlan, context_len: int, batch_size: int, conventions: Conventions
) -> tuple[VerificationStatement, ...]:
    """What is exact, what is bounded (a statement a bound), what is declared; the command takes the page's sizes."""
    sides = ",".join(f"{side}x{side}" + (f"*{count}" if count > 1 else "") for count, side in reversed(views.views))
    command = f"modelmeter verify --views {sides} --context-len {context_len}"
    command += f" --batch-size {batch_size}" if batch_size > 1 else ""
    command += f" --attention {conventions.attention}" if conventions.attention != "eager" else ""
    found = [
        VerificationStatement(quantity=name, stages=_STAGES, exact=True, meaning=meaning, command=command)
        for name, meaning in EXACT.items()
    ]
    for name, meaning in BOUNDED.items():
        for bound in sorted(set(BOUNDS[name].values())):
            within = tuple(stage for stage in _STAGES if BOUNDS[name][stage] == bound)
            found.append(
                VerificationStatement(
                    quantity=name, stages=within, exact=False, bound=bound, meaning=meaning, command=command
                )
            )
    shown = "modelmeter formula deepseek-ocr prefill --quantity cuda_flops"
    return (
        *found,
        VerificationStatement(
            quantity="elementwise_flops", stages=_STAGES, exact=False, meaning=DECLARED, command=shown
        ),
    )
