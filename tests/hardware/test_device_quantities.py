"""Numbers with units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.quantities import BANDWIDTH, BYTES, FLOP_RATE, OP_RATE, POWER, SECONDS, parse_quantity


@pytest.mark.parametrize(
    ("text", "quantity", "value"),
    [
        ("989.4 TFLOP/s", FLOP_RATE, 989.4e12),
        ("2.25 PFLOP/s", FLOP_RATE, 2.25e15),
        ("1979TOP/s", OP_RATE, 1979e12),
        ("80 GB", BYTES, 80 * 1000**3),
        ("80 GiB", BYTES, 80 * 1024**3),
        ("  50 MiB ", BYTES, 50 * 1024**2),
        ("4.8 TB/s", BANDWIDTH, 4.8e12),
        ("1.5e3 GB/s", BANDWIDTH, 1.5e12),
        ("700 W", POWER, 700),
        ("4 us", SECONDS, 4e-6),
        (".5 µs", SECONDS, 0.5e-6),
    ],
)
def test_values(text, quantity, value):
    assert parse_quantity(text, quantity, "here") == pytest.approx(value, rel=1e-15)


@given(st.integers(1, 10**6))
def test_whole_numbers_of_bytes_stay_exact(count):
    assert parse_quantity(f"{count} GB", BYTES, "here") == count * 10**9
    assert parse_quantity(f"{count} MiB", BYTES, "here") == count * 2**20


@pytest.mark.parametrize(
    ("value", "quantity", "message"),
    [
        ("141 GB/s", BYTES, "the unit 'GB/s' of '141 GB/s' is not of bytes: use B, kB,"),
        ("141 gb", BYTES, "the unit 'gb'"),
        ("989 TOP/s", FLOP_RATE, "not of FLOPs a second: .*'989.4 TFLOP/s'"),
        ("989 TFLOP/s", OP_RATE, "not of integer operations"),
        ("989 TFLOPS", FLOP_RATE, "the unit 'TFLOPS'"),
        ("4.8 Tbit/s", BANDWIDTH, "the unit 'Tbit/s'"),
        ("141", BYTES, "'141' has no unit"),
        (141, BYTES, '141 has no unit: write bytes like "80 GB"'),
        (4.8, BANDWIDTH, "4.8 has no unit"),
        (True, BYTES, "True has no unit"),
        ("", BYTES, "'' is not a number and a unit"),
        ("many GB", BYTES, "is not a number and a unit"),
        ("1 000 GB", BYTES, "the unit|is not a number and a unit"),
        ("0 GB", BYTES, "'0 GB' is not greater than zero"),
        ("-4 GB", BYTES, "'-4 GB' is not greater than zero"),
        ("nan GB", BYTES, "'nan GB' is not greater than zero"),
        ("inf GB", BYTES, "'inf GB' is not greater than zero"),
        ("1e999 GB", BYTES, "is not greater than zero"),
    ],
)
def test_wrong_values_name_the_place_and_what_is_expected(value, quantity, message):
    with pytest.raises(ModelMeterError, match=f"^here: .*({message})"):
        parse_quantity(value, quantity, "here")
