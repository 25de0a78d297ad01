"""The roofs of a device: what its memory and its units let through (Williams, Waterman, Patterson, 2009)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelmeter.hardware.device import Device
from modelmeter.report import units
from modelmeter.report.plots.scale import plain, scale_for
from modelmeter.report.plots.style import SMALL, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_roofs(axes: "Axes", device: Device, intensities: Sequence[float], rates: Sequence[float]) -> None:
    """Both axes, logarithmic and with their labels, and the roofs over points (FLOPs per byte, FLOP/s)."""
    from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

    top = max(device.peaks.values())
    left = min(intensities) / 3
    right = max(top / device.bandwidth * 10, max(intensities) * 2)
    x = np.geomspace(left, right, 200)
    for rate, name in _roofs(device).items():
        axes.plot(x, np.minimum(x * device.bandwidth, rate), color=TEXT, linewidth=1.2)
        _write(axes, f"{name}: {units.flops(rate)}FLOP/s", (right, rate), (-4, 2))
    slope = scale_for("B/s", [np.array([device.bandwidth])])
    beside = left * (right / left) ** 0.24
    _write(axes, f"{device.bandwidth / slope.factor:.3g} {slope.unit}", (beside, beside * device.bandwidth), (-7, 2))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(min(rates) / 3, top * 2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.yaxis.set_major_formatter(EngFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("arithmetic intensity (FLOP per byte moved)")
    axes.set_ylabel("FLOPs a second (FLOP/s)")


def _write(axes: "Axes", text: str, place: tuple[float, float], offset: tuple[float, float]) -> None:
    """Text that ends above a place of a roof; no line crosses it."""
    axes.annotate(
        text,
        place,
        offset,
        textcoords="offset points",
        fontsize=SMALL,
        ha="right",
        va="bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.9},
        zorder=3.5,
    )


def _roofs(device: Device) -> dict[float, str]:
    """The flat roofs by rate; formats of one rate are one roof."""
    names: dict[float, str] = {}
    for unit, rates, formats in (
        ("tensor", device.tensor, ("bf16", "fp16", "fp8")),
        ("vector", device.vector, ("fp32",)),
    ):
        for name in formats:
            if name in rates:
                rate = rates[name]
                names[rate] = f"{name}, {names[rate]}" if rate in names else f"{name} {unit}"
    return names or {max(device.peaks.values()): "peak"}
