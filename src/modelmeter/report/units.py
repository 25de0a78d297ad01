"""Numbers as people read them."""

_FLOP_STEPS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_TIME_STEPS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
_BYTE_STEPS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def flops(value: float) -> str:
    """FLOPs with a decimal prefix and three digits: 4568380069376 -> "4.57 T"."""
    return _scaled(value, _FLOP_STEPS, "")


def size(value: float) -> str:
    """Bytes with a binary prefix and three digits: 6672212480 -> "6.21 GiB"."""
    return _scaled(value, _BYTE_STEPS, "B")


def seconds(value: float) -> str:
    """A time with three digits: 0.0123 -> "12.3 ms"."""
    if value < 1e-13:  # what is left of adding up
        return "0"
    for step, unit in _TIME_STEPS:
        if value >= step * 0.9995:
            if value / step >= 1e5:  # beyond the largest unit
                return f"{value / step:.2e} {unit}"
            return _three_digits(value / step) + f" {unit}"
    return f"{value * 1e9:.3g} ns"


def ratio(value: float) -> str:
    """A ratio with three digits: 104.27 -> "104"."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def _scaled(value: float, steps: tuple[tuple[float, str], ...], unit: str) -> str:
    if value == 0:
        return "0"
    for step, prefix in steps:
        if value >= step * 0.9995:
            scaled = value / step
            if scaled >= 1e5:  # beyond the largest prefix
                return f"{scaled:.2e} {prefix}"
            return f"{_three_digits(scaled)} {prefix}"
    return f"{value:.0f} {unit}".rstrip()


def _three_digits(value: float) -> str:
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}"
