"""The built-in devices: the classic mistakes of data sheets, and rates as units times clocks.

A chip's peak is multiprocessors x FLOPs of one of them a clock x boost clock. A multiply-add is 2 FLOPs.
"""

import pytest

from modelmeter.hardware.catalogue import devices

ALL = devices()
# fmt: off
LISTED = [
    "t4", "v100", "a10", "a30", "a40", "a100-40g", "a100-40g-pcie", "a100-80g", "a100-80g-pcie", "l4", "l40", "l40s",
    "h20", "h100-pcie", "h100-sxm", "h100-nvl", "h200", "gh200", "b100", "b200", "gb200", "b300", "rtx-3080",
    "rtx-3090", "rtx-4080", "rtx-4090", "rtx-5080", "rtx-5090", "rtx-a6000", "rtx-6000-ada", "rtx-pro-6000",
    "dgx-spark", "jetson-agx-orin", "mi210", "mi250x", "mi300x", "mi325x", "mi355x", "rx-7900-xtx", "gaudi2",
    "gaudi3", "max-1550", "tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e", "m1-max", "m1-ultra", "m2-max", "m2-ultra",
    "m3-max", "m3-ultra", "m4-max", "cpu",
]
# fmt: on
HOPPER = ["h20", "h100-pcie", "h100-sxm", "h100-nvl", "h200", "h200-nvl", "gh200", "gh200-144g"]
BLACKWELL = ["b100", "b200", "gb200", "b300", "rtx-5080", "rtx-5090", "rtx-pro-6000", "dgx-spark"]
ADA = ["l4", "l40", "l40s", "rtx-4080", "rtx-4090", "rtx-6000-ada"]
CDNA_3_AND_4 = ["mi300x", "mi325x", "mi355x"]

# device -> multiprocessors, FLOPs of one a clock in bf16 (where there is none: fp16) with fp32 accumulation, boost GHz
TENSOR_UNITS = {
    "v100": (80, 1024, 1.530),  # 8 tensor cores of 64 multiply-adds
    "v100-pcie": (80, 1024, 1.380),
    "t4": (40, 1024, 1.590),  # 8 of 64
    "a100-40g": (108, 2048, 1.410),  # 4 of 256
    "a30": (56, 2048, 1.440),
    "a10": (72, 1024, 1.695),  # GA102 has half of GA100's: 4 of 128
    "a40": (84, 1024, 1.740),
    "rtx-a6000": (84, 1024, 1.800),
    "jetson-agx-orin": (16, 2048, 1.300),
    "l4": (58, 1024, 2.040),
    "l40s": (142, 1024, 2.490),
    "rtx-6000-ada": (142, 1024, 2.505),
    "rtx-pro-6000": (188, 1024, 2.617),
    "dgx-spark": (48, 1024, 2.540),
    "h100-sxm": (132, 4096, 1.830),  # 4 of 512
    "h100-pcie": (114, 4096, 1.620),
    "h100-nvl": (132, 4096, 1.545),
    "h200": (132, 4096, 1.830),
    # GeForce, and the L40: half the rate when sums are kept in fp32
    "rtx-3080": (68, 1024 // 2, 1.710),
    "rtx-3090": (82, 1024 // 2, 1.695),
    "rtx-4080": (76, 1024 // 2, 2.505),
    "rtx-4090": (128, 1024 // 2, 2.520),
    "rtx-5080": (84, 1024 // 2, 2.617),
    "rtx-5090": (170, 1024 // 2, 2.407),
    "l40": (142, 1024 // 2, 2.490),
    # compute units of AMD, Xe-cores of Intel
    "mi210": (104, 1024, 1.700),
    "mi250x": (220, 1024, 1.700),
    "mi300x": (304, 2048, 2.100),
    "mi355x": (256, 4096, 2.400),
    "rx-7900-xtx": (96, 512, 2.500),
    "max-1550": (128, 4096, 1.600),
}

# device -> multiprocessors, fp32 lanes of one, boost GHz
VECTOR_UNITS = {
    "t4": (40, 64, 1.590),
    "v100": (80, 64, 1.530),
    "a100-40g": (108, 64, 1.410),
    "a30": (56, 64, 1.440),
    "a10": (72, 128, 1.695),
    "a40": (84, 128, 1.740),
    "rtx-a6000": (84, 128, 1.800),
    "rtx-3080": (68, 128, 1.710),
    "rtx-3090": (82, 128, 1.695),
    "rtx-4080": (76, 128, 2.505),
    "rtx-4090": (128, 128, 2.520),
    "rtx-5080": (84, 128, 2.617),
    "rtx-5090": (170, 128, 2.407),
    "l4": (58, 128, 2.040),
    "l40": (142, 128, 2.490),
    "l40s": (142, 128, 2.520),
    "rtx-6000-ada": (142, 128, 2.505),
    "rtx-pro-6000": (188, 128, 2.617),
    "dgx-spark": (48, 128, 2.520),
    "jetson-agx-orin": (16, 128, 1.300),
    "h100-sxm": (132, 128, 1.980),
    "h100-pcie": (114, 128, 1.755),
    "h200": (132, 128, 1.980),
    "mi210": (104, 64, 1.700),
    "mi250x": (220, 64, 1.700),
    "mi300x": (304, 128, 2.100),
    "mi355x": (256, 128, 2.400),
    "rx-7900-xtx": (96, 128, 2.500),
    "max-1550": (128, 128, 1.600),
    "m1-max": (32, 128, 1.278),
    "m3-max": (40, 128, 1.398),
    "m4-max": (40, 128, 1.678),
    "cpu": (8, 2 * 8, 3.5),  # two units of 8 lanes
}

# device -> width of the memory bus in bits, Gbit/s of a pin
MEMORY = {
    "t4": (256, 10),
    "v100": (4096, 1.755),
    "a10": (384, 12.5),
    "a30": (3072, 2.43),
    "a40": (384, 14.5),
    "a100-40g": (5120, 2.43),
    "a100-80g": (5120, 3.186),
    "a100-80g-pcie": (5120, 3.024),
    "l4": (192, 12.5),
    "l40": (384, 18),
    "l40s": (384, 18),
    "h100-sxm": (5120, 5.23),
    "h200": (6144, 6.25),
    "b200": (8192, 7.8),
    "rtx-3080": (320, 19),
    "rtx-3090": (384, 19.5),
    "rtx-4080": (256, 22.4),
    "rtx-4090": (384, 21),
    "rtx-5080": (256, 30),
    "rtx-5090": (512, 28),
    "rtx-a6000": (384, 16),
    "rtx-6000-ada": (384, 20),
    "rtx-pro-6000": (512, 28),
    "dgx-spark": (256, 8.533),
    "jetson-agx-orin": (256, 6.4),
    "mi210": (4096, 3.2),
    "mi250x": (8192, 3.2),
    "mi300x": (8192, 5.2),
    "mi325x": (8192, 6.0),
    "mi355x": (8192, 8.0),
    "rx-7900-xtx": (384, 20),
    "max-1550": (8192, 3.2),
    "m1-max": (512, 6.4),
    "m4-max": (512, 8.533),
    "cpu": (2 * 64, 5.6),
}

# device -> the sparse bf16 TFLOP/s that the vendor prints first
SPARSE = {
    "a10": 250,
    "a30": 330,
    "a40": 299.4,
    "a100-40g": 624,
    "a100-80g": 624,
    "l4": 242,
    "l40": 362.1,
    "l40s": 733,
    "h20": 296,
    "h100-pcie": 1513,
    "h100-sxm": 1979,
    "h100-nvl": 1671,
    "h200": 1979,
    "h200-nvl": 1671,
    "gh200": 1979,
    "b100": 3500,
    "b200": 4500,
    "gb200": 5000,
    "b300": 4500,
    "rtx-3090": 142,
    "rtx-4090": 330.4,
    "rtx-5090": 419,
    "mi300x": 2614.9,
    "mi355x": 5033.2,
}


def half(device):
    """The matrix rate at 16 bits: bf16, or fp16 where there is no bf16."""
    return device.tensor.get("bf16", device.tensor.get("fp16"))


def test_every_listed_device_is_there():
    assert len(ALL) >= 45
    assert [name for name in LISTED if name not in ALL] == []


@pytest.mark.parametrize("name", SPARSE)
def test_rates_are_dense_not_sparse(name):
    assert ALL[name].tensor["bf16"] == pytest.approx(SPARSE[name] / 2 * 1e12, rel=0.015)  # sheets round


@pytest.mark.parametrize("name", TENSOR_UNITS)
def test_tensor_rates_are_units_times_clock(name):
    multiprocessors, flops, gigahertz = TENSOR_UNITS[name]
    assert half(ALL[name]) == pytest.approx(multiprocessors * flops * gigahertz * 1e9, rel=0.01)
    assert ALL[name].multiprocessors == multiprocessors


@pytest.mark.parametrize("name", VECTOR_UNITS)
def test_fp32_is_lanes_times_clock(name):
    multiprocessors, lanes, gigahertz = VECTOR_UNITS[name]
    assert ALL[name].vector["fp32"] == pytest.approx(multiprocessors * lanes * 2 * gigahertz * 1e9, rel=0.01)
    assert ALL[name].multiprocessors == multiprocessors


@pytest.mark.parametrize("name", MEMORY)
def test_bandwidth_is_bus_width_times_data_rate(name):
    bits, gigabits = MEMORY[name]
    assert ALL[name].bandwidth == pytest.approx(bits * gigabits * 1e9 / 8, rel=0.025)  # HBM clocks are rounded


@pytest.mark.parametrize("name", ["rtx-3080", "rtx-3090", "rtx-4080", "rtx-4090", "rtx-5080", "rtx-5090"])
def test_geforce_rates_are_with_fp32_accumulation(name):
    """int8, which has no such half rate, is four times bf16 here and twice bf16 on a full-rate board."""
    tensor = ALL[name].tensor
    assert tensor["int8"] == pytest.approx(4 * tensor["bf16"], rel=0.01)
    assert tensor["tf32"] == pytest.approx(tensor["bf16"] / 2, rel=0.01)
    assert tensor.get("fp8", 2 * tensor["bf16"]) == pytest.approx(2 * tensor["bf16"], rel=0.01)


@pytest.mark.parametrize("name", ["a10", "a40", "rtx-a6000", "l4", "l40s", "rtx-6000-ada", "rtx-pro-6000"])
def test_professional_boards_have_the_full_rate(name):
    tensor = ALL[name].tensor
    assert tensor["int8"] == pytest.approx(2 * tensor["bf16"], rel=0.015)


def test_formats_that_a_generation_lacks():
    assert [name for name in ("t4", "v100", "v100-16g", "v100-pcie") if "bf16" in ALL[name].peaks] == []
    nvidia = {name for name, device in ALL.items() if device.vendor == "NVIDIA"}
    assert {name for name in nvidia if "fp8" in ALL[name].peaks} == {*ADA, *HOPPER, *BLACKWELL}
    assert {name for name in nvidia if "fp4" in ALL[name].peaks} == set(BLACKWELL)
    others = set(ALL) - nvidia
    assert {name for name in others if "fp8" in ALL[name].peaks} == {*CDNA_3_AND_4, "gaudi2", "gaudi3"}
    assert {name for name in others if "fp4" in ALL[name].peaks} == {"mi355x"}


@pytest.mark.parametrize("name", [*HOPPER, *CDNA_3_AND_4])
def test_int8_is_as_fast_as_fp8(name):
    assert ALL[name].tensor["int8"] == ALL[name].tensor["fp8"]


@pytest.mark.parametrize("name", ALL)
def test_a_narrower_format_is_never_slower(name):
    tensor, vector = ALL[name].tensor, ALL[name].vector
    for rates in (tensor, vector):
        found = [rates[dtype] for dtype in ("fp32", "tf32", "fp16", "fp8", "fp4") if dtype in rates]
        assert found == sorted(found)
    if "int8" in tensor and name != "b300":  # which gave up its int8 units
        assert tensor["int8"] >= half(ALL[name])


@pytest.mark.parametrize("name", ALL)
def test_half_the_bits_are_twice_the_rate(name):
    tensor = ALL[name].tensor
    if "tf32" in tensor:
        assert tensor["tf32"] == pytest.approx(half(ALL[name]) / 2, rel=0.02)
    if "fp8" in tensor and name != "gaudi3":  # one rate for both, says Intel
        assert tensor["fp8"] == pytest.approx(2 * half(ALL[name]), rel=0.02)
    if "fp4" in tensor:
        more = {
            "rtx-5080": 4,
            "rtx-5090": 4,
            "b300": 3,
        }  # GeForce halves fp8, not fp4; Blackwell Ultra: 1.5
        assert tensor["fp4"] == pytest.approx(more.get(name, 2) * tensor["fp8"], rel=0.02)


@pytest.mark.parametrize("name", ALL)
def test_the_matrix_units_are_never_slower_than_the_others(name):
    tensor, vector = ALL[name].tensor, ALL[name].vector
    assert {dtype for dtype in tensor.keys() & vector.keys() if tensor[dtype] < vector[dtype]} == set()


@pytest.mark.parametrize("name", ALL)
def test_bf16_and_fp16_are_of_one_rate(name):
    tensor = ALL[name].tensor
    assert tensor.get("bf16", tensor.get("fp16")) == tensor.get("fp16", tensor.get("bf16"))


@pytest.mark.parametrize("name", ALL)
def test_every_value_has_a_source_with_a_title(name):
    device = ALL[name]
    values = {field.removesuffix(".bandwidth") for field in device.numbers}
    assert device.sources.keys() == values
    assert device.verified <= values
    assert [title for title in device.sources.values() if " " not in title] == []  # a key that [sources] lacks


def test_variants_share_their_chip():
    for one, other in (("h100-sxm", "h200"), ("h200", "gh200"), ("mi300x", "mi325x"), ("a100-40g", "a100-80g-pcie")):
        assert ALL[one].tensor == ALL[other].tensor
        assert ALL[one].multiprocessors == ALL[other].multiprocessors
    assert ALL["h200"].bandwidth > ALL["h100-sxm"].bandwidth
    for ultra, chip in (("m1-ultra", "m1-max"), ("m2-ultra", "m2-max"), ("m3-ultra", "m3-max")):
        assert ALL[ultra].vector["fp32"] == pytest.approx(2 * ALL[chip].vector["fp32"], rel=0.01)
        assert ALL[ultra].multiprocessors == 2 * ALL[chip].multiprocessors


def test_a_die_is_half_of_its_package():
    die, package = ALL["mi250x-gcd"], ALL["mi250x"]
    halves = {field: 2 * value for field, value in die.numbers.items() if field != "link.bandwidth"}
    assert {**package.numbers, **halves} == package.numbers


def test_what_is_verified_and_what_is_not_is_told():
    verified = sum(len(device.verified) for device in ALL.values())
    values = sum(len(device.sources) for device in ALL.values())
    assert 0 < verified < values
    assert ALL["h100-sxm"].verified == ALL["h100-sxm"].sources.keys()
    assert ALL["a30"].verified == frozenset()
