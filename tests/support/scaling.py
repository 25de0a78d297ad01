"""Predicted and measured scaling of made-up numbers, as files hold them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from modelmeter import Conventions, DeepseekOCRConfig
from modelmeter.report.model_report.convert import unstructure
from modelmeter.report.scaling_compare.measured import (
    MeasuredDecode,
    MeasuredOn,
    MeasuredPoint,
    MeasuredPrefill,
    MeasuredScaling,
    Spread,
    Versions,
    to_json,
)

STEPS = 4
TIMES = (80.0, 5.0)
"""Milliseconds of a prefill, and of a decode step."""
REAL = Conventions(implementation="transformers", logits="last")
"""How the real model of the tests runs."""


def spread(ms: float) -> Spread:
    """A tenth down and up to the quartiles, a fifth to the ends."""
    low, first, third, high = (ms * share for share in (0.8, 0.9, 1.1, 1.2))
    return Spread(low_ms=low, first_quartile_ms=first, third_quartile_ms=third, high_ms=high, repeats=3)


def measured_point(
    length: int, flops: tuple[int, int] | None, times: tuple[float, float] = TIMES, steps: int = STEPS
) -> MeasuredPoint:
    """A length with FLOPs of the prefill and of all decode steps together, or without."""
    prefill, decode = flops if flops is not None else (None, None)
    return MeasuredPoint(
        seq_len_prefill=length,
        prefill=MeasuredPrefill(flops=prefill, time_ms=times[0], spread=spread(times[0])),
        decode=MeasuredDecode(
            flops=decode,
            flops_per_token=None if decode is None else decode / steps,
            time_ms_per_token=times[1],
            spread=spread(times[1]),
        ),
    )


def measured(points: Mapping[int, tuple[int, int] | None], **changed: Any) -> MeasuredScaling:
    """A measurement of the released model: FLOPs by length."""
    times, steps = changed.pop("times", TIMES), changed.get("decode_steps", STEPS)
    settings: dict[str, Any] = {
        "command": "modelmeter measure --random-weights -o measured",
        "model": DeepseekOCRConfig().name,
        "config": DeepseekOCRConfig(),
        "conventions": REAL,
        "runs": "made up",
        "dtype": "bfloat16",
        "precision": "all weights bf16; KV cache bf16",
        "device": MeasuredOn(name="A chip", torch_device="cpu", memory_bytes=8 << 30, threads=2),
        "versions": Versions(python="3.12.1", torch="2.13.0", transformers="5.23.0", cuda=None, platform="Linux"),
        "batch_size": 1,
        "decode_steps": STEPS,
        "warm_up": 1,
        "repeats": 3,
        "counted": all(flops is not None for flops in points.values()),
        "points": tuple(measured_point(length, flops, times, steps) for length, flops in points.items()),
        "complete": True,
    }
    return MeasuredScaling(**settings | changed)


def analytic(points: Mapping[int, tuple[int, int]], **changed: Any) -> dict[str, Any]:
    """The least of an analytic_scaling.json that a comparison takes, of the same model in the same conventions."""
    conventions = changed.pop("conventions", REAL)
    return {
        "schema": "modelmeter.scaling/1",
        "modelmeter_version": "0.1.0",
        "analytic_model_version": "2026.11.21",
        "model": DeepseekOCRConfig().name,
        "conventions": unstructure(conventions),
        "precision": "all weights bf16; KV cache bf16",
        "batch_size": 1,
        "decode_steps": STEPS,
        "points": [
            {
                "seq_len_prefill": length,
                "prefill": {"counted_flops": prefill, "flops": prefill + 7},
                "decode": {"counted_flops": decode, "flops": decode + 7},
            }
            for length, (prefill, decode) in points.items()
        ],
        **changed,
    }


def write_pair(folder: Path, ours: Mapping[str, Any], theirs: MeasuredScaling) -> tuple[Path, Path]:
    """Both as files in a folder: analytic_scaling.json and measured_scaling.json."""
    paths = folder / "analytic_scaling.json", folder / "measured_scaling.json"
    paths[0].write_text(json.dumps(ours), encoding="utf-8")
    paths[1].write_text(to_json(theirs), encoding="utf-8")
    return paths


def without_counts(theirs: MeasuredScaling) -> MeasuredScaling:
    """The same measured with --no-flops."""
    points = tuple(measured_point(point.seq_len_prefill, None) for point in theirs.points)
    return attrs.evolve(theirs, points=points, counted=False)
