"""Numbers as people read them."""

_FLOP_STEPS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BYTE_STEPS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def flops(value: float) -> str:
    """FLOPs with a decimal prefix and three digits: 4568380069376 -> "4.57 T"."""
    return _scaled(value, _FLOP_STEPS, "")


def size(value: float) -> str:
    """Bytes with a binary prefix and three digits: 6672212480 -> "6.21 GiB"."""
    return _scaled(value, _BYTE_STEPS, "B")


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
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f} {prefix}"
    return f"{value:.0f} {unit}".rstrip()
