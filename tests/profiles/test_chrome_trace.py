"""GPU traces made by hand: which events count, whose stage they are, how long each stage took."""

from pathlib import Path

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.profiles.profile import Total
from modelmeter.profiles.read import read_profile

from .conftest import Write, event, kernel, launch

ADD = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>"
GEMM = "ampere_bf16_s16816gemm_bf16_128x64_tn"


def rows(path: Path) -> set[tuple[str, str, int, int]]:
    """(name, stage, launches, nanoseconds) of each kernel."""
    found = read_profile(path).kernels
    return {(kernel.name, kernel.stage, kernel.launches, kernel.nanoseconds) for kernel in found}


def test_a_kernel_is_of_the_stage_that_launched_it(trace: Write) -> None:
    path = trace(
        event("user_annotation", "prefill", 0, 100),
        event("user_annotation", "sam", 10, 20),  # inside
        event("user_annotation", "decode", 200, 50),
        event("user_annotation", "ProfilerStep#1", 0, 1000),  # no stage
        launch(5, 1),
        launch(15, 2),
        launch(50, 3),
        launch(150, 4),
        launch(210, 5),
        # The device is behind: the kernels run after the ranges that launched them.
        *[kernel(GEMM, 1000 + 10 * i, 8, i) for i in (1, 2, 3, 4, 5)],
    )
    assert rows(path) == {
        (GEMM, "prefill", 2, 16_000),
        (GEMM, "sam", 1, 8_000),
        (GEMM, "decode", 1, 8_000),
        (GEMM, "unknown", 1, 8_000),
    }
    assert read_profile(path).ranges == {"sam": 1, "prefill": 1, "decode": 1}


def test_a_launch_on_another_thread_is_in_no_range(trace: Write) -> None:
    path = trace(event("user_annotation", "decode", 0, 100), launch(5, 1, thread=2), kernel(ADD, 10, 2, 1))
    assert rows(path) == {(ADD, "unknown", 1, 2_000)}


def test_without_its_launch_the_range_on_the_device_counts(trace: Write) -> None:
    annotation = {**event("gpu_user_annotation", "decode", 90, 50, thread=7), "pid": 0}
    path = trace(annotation, kernel(ADD, 100, 2, 17), kernel(ADD, 200, 2, 18))
    assert rows(path) == {(ADD, "decode", 1, 2_000), (ADD, "unknown", 1, 2_000)}
    assert read_profile(path).ranges == {"decode": 1}


def test_all_kernels_of_a_graph_are_of_the_stage_that_launched_it(trace: Write) -> None:
    path = trace(
        event("user_annotation", "decode", 0, 20),
        event("cuda_runtime", "cudaGraphLaunch", 5, 3, correlation=9),
        kernel(GEMM, 50, 10, 9),
        kernel(ADD, 60, 1, 9),
    )
    assert rows(path) == {(GEMM, "decode", 1, 10_000), (ADD, "decode", 1, 1_000)}


def test_copies_and_memsets_count_and_the_host_does_not(trace: Write) -> None:
    path = trace(
        event("cpu_op", "aten::add", 0, 50),
        event("python_function", "forward", 0, 60),
        event("overhead", "Command Buffer Full", 0, 60),
        kernel("Memcpy HtoD (Pageable -> Device)", 10, 3, 1, "gpu_memcpy"),
        kernel("Memset (Device)", 20, 1, 2, "gpu_memset"),
        kernel(ADD, 30, 2.5, 3),
    )
    profile = read_profile(path)
    assert profile.runs_on == "gpu"
    assert profile.total == Total(nanoseconds=3_000 + 1_000 + 2_500, launches=3)
    assert {kind: total.nanoseconds for kind, total in profile.by_kind().items()} == {
        "elementwise": 2_500,
        "copy": 3_000 + 1_000,
    }


def test_older_categories_have_capitals(trace: Write) -> None:
    path = trace(
        event("user_annotation", "prefill", 0, 20),
        event("Runtime", "cudaLaunchKernel", 1, 2, correlation=1),
        kernel(ADD, 10, 2, 1, "Kernel"),
        kernel("Memcpy DtoH (Device -> Pageable)", 20, 3, 2, "Memcpy"),
    )
    assert rows(path) == {(ADD, "prefill", 1, 2_000), ("Memcpy DtoH (Device -> Pageable)", "unknown", 1, 3_000)}


def test_waiting_for_a_kernel_is_its_stage_s(trace: Write) -> None:
    """Two kernels of prefill that overlap, one of decode after a gap, and one inside what ran before."""
    path = trace(
        event("user_annotation", "prefill", 0, 10),
        event("user_annotation", "decode", 10, 10),
        launch(1, 1),
        launch(2, 2),
        launch(11, 3),
        launch(12, 4),
        kernel(GEMM, 100, 40, 1),  # to 140
        kernel(ADD, 120, 30, 2),  # to 150: moves the end by 10
        kernel(GEMM, 170, 30, 3),  # waits 20, to 200
        kernel(ADD, 180, 10, 4),  # inside: moves nothing
    )
    profile = read_profile(path)
    assert profile.elapsed == {"prefill": 40_000 + 10_000, "decode": 20_000 + 30_000}
    assert sum(profile.elapsed.values()) == (200 - 100) * 1000  # first start to last end
    assert profile.total.nanoseconds == (40 + 30 + 30 + 10) * 1000


def test_events_without_an_end_are_counted_and_left_out(trace: Write) -> None:
    unfinished = kernel(ADD, 10, 5, 1)
    del unfinished["dur"]
    profile = read_profile(trace(unfinished, {**kernel(ADD, 20, 5, 2), "dur": -1}, kernel(ADD, 30, 5, 3)))
    assert (profile.total.launches, profile.unfinished) == (1, 2)


def test_the_device_is_named(trace: Write) -> None:
    device = [{"id": 0, "name": "NVIDIA H200", "totalGlobalMem": 150_000_000_000}]
    assert read_profile(trace(kernel(ADD, 1, 1, 1), deviceProperties=device)).device_name == "NVIDIA H200"
    assert read_profile(trace(kernel(ADD, 1, 1, 1), deviceProperties=[])).device_name is None


NO_TIMES = [{"ts": "soon"}, {"ts": None}, {"dur": "long"}, {"ts": True}]
BEYOND = [{"ts": 1e300}, {"ts": -1e300}, {"ts": 10**400}, {"dur": 10**400}, {"dur": 1e13}]
"""What does not fit 64 bits of nanoseconds, alone or added up."""


@pytest.mark.parametrize("field", [*NO_TIMES, *BEYOND])
def test_a_time_that_is_none_names_the_event(trace: Write, field: dict[str, object]) -> None:
    with pytest.raises(ModelMeterError, match=r"complete event 2 .*microseconds") as refused:
        read_profile(trace(kernel(ADD, 1, 1, 1), {**kernel(ADD, 1, 1, 1), **field}))
    assert len(str(refused.value)) < 400


def test_a_trace_without_work_says_what_to_record(trace: Write) -> None:
    with pytest.raises(ModelMeterError, match=r"among 1 complete events: profile with activities"):
        read_profile(trace(event("user_annotation", "decode", 0, 10)))


def test_names_are_kept_as_they_are(trace: Write) -> None:
    name = 'void k<"é\\n", 1>'
    assert rows(trace(kernel(name, 1, 1, 1))) == {(name, "unknown", 1, 1_000)}
