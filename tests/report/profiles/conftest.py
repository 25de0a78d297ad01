"""Profiles to report on: GPU kernels in all stages, made by hand, and a kernel summary."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.schema import validator_of

from modelmeter.documents import Page
from modelmeter.hardware.roofline import machine_of
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.report.analysis import Workload
from modelmeter.report.profiles.build import Expected

PAGE = Page("b.png", 1, 600, 620, "b.png")  # without tiles
ADD = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>"
GEMM = "ampere_bf16_s16816gemm_bf16_128x64_tn"
GEMV = "void gemvNSP_kernel<__nv_bfloat16>"
ODD = "void mine::frobnicate<|>(int)"
WORK: list[tuple[str, list[tuple[str, float]]]] = [
    ("sam", [(GEMM, 30.0), (ADD, 5.0)]),
    ("clip", [(GEMM, 20.0)]),
    ("projector", [(GEMM, 1.0)]),
    ("prefill", [(GEMM, 40.0), (ODD, 2.0)]),
    ("decode", [(GEMV, 9.0), (ADD, 1.0)]),
    ("decode", [(GEMV, 9.5), (ADD, 1.0)]),
    ("", [("Memcpy DtoH (Device -> Pageable)", 3.0)]),
]
"""Ranges, and the kernels launched in each with their microseconds."""
TOTAL = 30 + 5 + 20 + 1 + 40 + 2 + 9 + 1 + 9.5 + 1 + 3  # microseconds


def events() -> list[dict[str, Any]]:
    """A launch every 10 us, each kernel 100 us later or when the one before is done."""
    found: list[dict[str, Any]] = []
    number, now, done = 0, 0.0, 0.0

    def add(category: str, name: str, start: float, length: float, place: tuple[int, int], **args: Any) -> None:
        at = {"pid": place[0], "tid": place[1], "ts": start, "dur": length}
        found.append({"ph": "X", "cat": category, "name": name, **at, "args": args})

    for stage, kernels in WORK:
        if stage:
            add("user_annotation", stage, now, 10.0 * len(kernels), (1, 1))
        for name, length in kernels:
            number += 1
            add("cuda_runtime", "cudaLaunchKernel", now + 1, 4, (1, 1), correlation=number)
            start = max(done, now + 100)
            add("kernel", name, start, length, (0, 7), correlation=number, stream=7)
            now, done = now + 10, start + length
    return found


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of `WORK`."""
    path = tmp_path_factory.mktemp("traces") / "trace.json"
    header = {"schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "NVIDIA H200"}]}
    path.write_text(json.dumps({**header, "traceEvents": events()}), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel summary of decode steps."""
    path = tmp_path_factory.mktemp("summaries") / "kernels.csv"
    lines = [
        "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name",
        f'90.0,9000000,900,10000.0,9900.0,8000,20000,500.0,"{GEMV}"',
        f'10.0,1000000,400,2500.0,2400.0,2000,9000,99.0,"{ADD}"',
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def expected() -> Callable[..., Expected]:
    """expected(device, batch_size): the page on a device."""

    def build(device: str = "h200", **work: Any) -> Expected:
        chosen = Conventions(attention="flash", implementation="transformers")
        return Expected(page=PAGE, machine=machine_of(device), workload=Workload(**work), conventions=chosen)

    return build


@pytest.fixture(scope="session")
def validator() -> Draft202012Validator:
    """The published schema."""
    return validator_of("profile-1")
