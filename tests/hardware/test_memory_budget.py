"""What a device's memory holds before any page: sizes, shares, context, workspace."""

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.catalogue import get_device
from modelmeter.hardware.device import Device
from modelmeter.hardware.memory import memory_budget, parse_reserve, parse_size, workspace_bytes

MIB = 2**20
GIB = 2**30


def made_up(**fields):
    """A device of 10 GB."""
    given = {"name": "made-up", "title": "", "tensor": {"bf16": 1e12}, "memory_bytes": 10**10, "bandwidth": 1e12}
    return Device(**{**given, **fields})


@pytest.mark.parametrize(
    ("text", "number"),
    [("500 MiB", 500 * MIB), ("4GiB", 4 * GIB), ("1.5 GB", 1_500_000_000), ("0", 0), ("0 MiB", 0), (123, 123)],
)
def test_sizes(text, number):
    assert parse_size(text, "size") == number


@pytest.mark.parametrize("wrong", ["500", "4 GiBs", "-1 GiB", "half", "", 1.5, True, -1])
def test_what_is_no_size_names_itself(wrong):
    with pytest.raises(ModelMeterError, match=r"^size: "):
        parse_size(wrong, "size")


@pytest.mark.parametrize(
    ("reserve", "number"),
    [
        ("10%", 10**9),
        ("0%", 0),
        ("0", 0),
        (0.0, 0),
        (0.1, 10**9),  # the decimal number, not the float a little above it
        ("33.3%", 3_330_000_000),
        ("0.00000001%", 1),  # a share is rounded up
        ("4 GiB", 4 * GIB),
        (7, 7),
    ],
)
def test_reserves(reserve, number):
    assert parse_reserve(reserve, 10**10) == number


@pytest.mark.parametrize(
    "wrong", ["100%", "-1%", "110%", "nan%", 1.0, -0.1, float("nan"), float("inf"), "10 GB", 10**10, "much", "10"]
)
def test_what_is_no_reserve_is_an_error(wrong):
    with pytest.raises(ModelMeterError, match="reserve"):
        parse_reserve(wrong, 10**10)


def test_what_is_left_is_the_rest():
    budget = memory_budget(made_up(), 3 * 10**9, reserve="20%", cuda_context="1 GB")
    assert budget.free_bytes == 10**10 - 2 * 10**9 - 10**9 - (2 * 4096 + 8 * 16) * 1024 - 3 * 10**9
    assert budget.missing_bytes == 0


def test_weights_beyond_the_memory_are_missing_bytes():
    budget = memory_budget(made_up(kind="cpu"), 12 * 10**9, reserve="10%")
    assert (budget.free_bytes, budget.missing_bytes) == (-3 * 10**9, 3 * 10**9)  # 10 of 10 GB less 1, 12 wanted


def test_a_cpu_has_neither_context_nor_workspace():
    budget = memory_budget(made_up(kind="cpu"), 0)
    assert (budget.context_bytes, budget.workspace_bytes) == (0, 0)
    assert memory_budget(made_up(kind="cpu"), 0, cuda_context="1 MiB").context_bytes == MIB


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("a100-40g", (2 * 4096 + 8 * 16) * 1024),
        ("rtx-4090", (2 * 4096 + 8 * 16) * 1024),
        ("h200", 32 * MIB),
        ("b200", 32 * MIB),
        ("rtx-5090", 32 * MIB),
        ("mi210", 32 * MIB),
        ("mi300x", 128 * MIB),
        ("cpu", 0),
    ],
)
def test_the_workspace_of_each_architecture(name, size):
    assert workspace_bytes(get_device(name)) == size
