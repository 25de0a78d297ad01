"""Kernel summaries of Nsight Systems: the columns of several versions, what nsys says around them, and damaged ones."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.profiles.profile import Total
from modelmeter.profiles.read import read_profile

HEAD = "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name"
GEMV = '62.5,5000000,1000,5000.0,4900.0,4000,9000,120.5,"void gemvNSP_kernel<__nv_bfloat16, float, 1>(int, float)"'
COPY = '37.5,3000000,750,4000.0,3900.0,3000,8000,99.1,"void at::native::direct_copy_kernel_cuda(...)"'
SAID = """Generating SQLite file run.sqlite from run.nsys-rep
Processing [run.sqlite] with [/opt/nvidia/nsight-systems/2024.5.1/host-linux-x64/reports/cuda_gpu_kern_sum.py]...
"""


Summary: TypeAlias = Callable[..., Path]


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    """summary(text, encoding) writes a file and returns its path."""

    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "kernels.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


EXPECTED = {"gemm": Total(nanoseconds=5_000_000, launches=1000), "copy": Total(nanoseconds=3_000_000, launches=750)}


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}\n{GEMV}\n{COPY}\n",
        f"{SAID}{HEAD}\n{GEMV}\n{COPY}\n",
        f"NOTICE: Existing SQLite export found: run.sqlite\n\n{SAID}\n{HEAD}\n{GEMV}\n{COPY}\n\n",
        f"{HEAD}\r\n{GEMV}\r\n{COPY}\r\n",
        f"{HEAD}\n{GEMV}\n{COPY}\nProcessing [run.sqlite] with [cuda_api_sum.py]...\nTime (%),Num Calls,Name\n1,2,x\n",
        f"\ufeff{HEAD}\n{GEMV}\n{COPY}",
    ],
    ids=["plain", "what nsys says", "a notice", "Windows lines", "another report after it", "a byte order mark"],
)
def test_what_stands_around_the_table_is_passed_over(summary: Summary, text: str) -> None:
    profile = read_profile(summary(text))
    assert (profile.tool, profile.runs_on, profile.elapsed, profile.ranges) == ("nsys", "gpu", None, {})
    assert profile.by_kind() == EXPECTED
    assert set(profile.by_stage()) == {"unknown"}


def test_a_file_that_powershell_redirected(summary: Summary) -> None:
    assert read_profile(summary(f"{HEAD}\r\n{GEMV}\r\n{COPY}\r\n", "utf-16")).by_kind() == EXPECTED


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("Time(%),Total Time (ns),Instances,Average,Minimum,Maximum,Name", '62.5,5000000,1000,5000.0,4000,9000,"gemv"'),
        ("Time (%),Total Time (us),Instances,Avg (us),Name", "62.5,5000.0,1000,5.0,gemv"),
        ("Time (%),Total Time (ms),Instances,Name", "62.5,5.0,1000,gemv"),
        ("Time (%),Total Time (s),Instances,Name", "62.5,0.005,1000,gemv"),
        ("Time (%),Total Time (ns),Instances,GridXYZ,BlockXYZ,Name", '62.5,"5,000,000","1,000",1 1 1,64 1 1,gemv'),
        ("Time (%),Total Time (ns),Instances,Category,Operation", "62.5,5000000,1000,CUDA_KERNEL,gemv"),
    ],
)
def test_columns_of_other_versions_and_reports(summary: Summary, head: str, row: str) -> None:
    [kernel] = read_profile(summary(f"{head}\n{row}\n")).kernels
    assert (kernel.name, kernel.kind, kernel.launches, kernel.nanoseconds) == ("gemv", "gemm", 1000, 5_000_000)


def test_the_same_name_twice_is_one_kernel(summary: Summary) -> None:
    """cuda_gpu_kern_gb_sum has a row for each grid."""
    [kernel] = read_profile(summary(f"{HEAD}\n{GEMV}\n{GEMV}\n")).kernels
    assert (kernel.launches, kernel.nanoseconds) == (2 * 1000, 2 * 5_000_000)


def test_its_kernels_are_of_the_stage_that_is_named(summary: Summary) -> None:
    profile = read_profile(summary(f"{HEAD}\n{GEMV}\n{COPY}\n")).with_stage("decode")
    assert set(profile.by_stage()) == {"decode"}
    assert profile.by_kind(["decode"]) == EXPECTED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Time (%),Total Time (ns),Num Calls,Name\n1,2,3,cudaMalloc\n", "columns Total Time .ns., Instances and Name"),
        ("just words\n", "neither a Chrome trace nor a kernel summary"),
        (f"{HEAD}\n", "has no kernels below its columns"),
        (f"{HEAD}\n{GEMV}\n1,2,3\n", "line 3: 3 cells below 9 columns"),
        (f"{HEAD}\n62.5,soon,1000,1,1,1,1,1,gemv\n", "line 2: Total Time is 'soon', no number"),
        (f"{HEAD}\n62.5,nan,1000,1,1,1,1,1,gemv\n", "line 2: Total Time is 'nan'"),
        (f"{HEAD}\n62.5,-5,1000,1,1,1,1,1,gemv\n", "line 2: Total Time is '-5'"),
        (f"{HEAD}\n62.5,5,1e15,1,1,1,1,1,gemv\n", "line 2: Instances is '1e15': times and counts are from 0 to 1e.15"),
        ("Total Time (s),Instances,Name\n1e308,1,gemv\n", "line 2: Total Time is '1e308'"),
        (f"{HEAD}\n62.5,5,1.5,1,1,1,1,1,gemv\n", "line 2: Instances is '1.5', no whole number"),
        (f"{HEAD}\n{GEMV}\n\n{HEAD}\n{COPY}\n", "line 4: a second report begins"),
    ],
)
def test_a_damaged_summary_names_the_line_and_the_command(summary: Summary, text: str, said: str) -> None:
    with pytest.raises(ModelMeterError, match=said) as refused:
        read_profile(summary(text))
    assert "\n" not in str(refused.value)
    assert "nsys stats" in str(refused.value) or "--trace=cuda" in str(refused.value)
