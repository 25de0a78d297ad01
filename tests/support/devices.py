"""Made-up devices whose times can be worked out by hand."""

from modelmeter.hardware.device import Device


def made_up(**changed) -> Device:
    """100 TFLOP/s tensor, 10 TFLOP/s vector, 1 TB/s; no multiprocessors, so no quantisation."""
    sheet = {
        "name": "made-up",
        "title": "Made up",
        "tensor": {"bf16": 100e12},
        "vector": {"fp32": 10e12},
        "memory_bytes": 80 * 10**9,
        "bandwidth": 1e12,
    }
    return Device(**{**sheet, **changed})
