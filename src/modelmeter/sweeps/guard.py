"""Results that cannot be: a sweep that shows one is wrong, whatever else it says."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

_ROUNDING: Final = 1e-9
"""Share by which one time may miss another that is summed in another order."""


def find_absurd(datasets: "Mapping[str, xr.Dataset]") -> tuple[str, ...]:
    """One line for each kind of absurd result in a study's datasets, with the first point that shows it; none: empty.

    Held: no number is negative or infinite; flash attention moves no more than eager; prefill costs no less than its
    vision; a decode step has no more FLOPs and no higher peak of activations than the prefill before it; no time is
    below its bound.
    """
    return tuple(line for lines in (_alone(datasets), _together(datasets)) for line in lines)


def _alone(datasets: "Mapping[str, xr.Dataset]") -> Iterator[str]:
    """What a stage's own numbers show."""
    for stage, data in datasets.items():
        for name, values in data.data_vars.items():
            yield from _report(
                f"{stage}: {name} is negative or no finite number", ~((values >= 0) & np.isfinite(values))
            )
        if {"eager", "flash"} <= set(
            np.atleast_1d(data.coords["attention"]).tolist() if "attention" in data.coords else ()
        ):
            moved = data.get("io_bytes")
            if moved is not None:
                flash, eager = (moved.sel(attention=kind, drop=True) for kind in ("flash", "eager"))
                yield from _report(f"{stage}: flash attention moves more bytes than eager", flash > eager)
        for name in ("roofline_seconds", "seconds"):
            if name in data and "bound_seconds" in data:
                below = data[name] < data["bound_seconds"] * (1 - _ROUNDING)
                yield from _report(f"{stage}: {name} is below the time that nothing can beat", below)


def _together(datasets: "Mapping[str, xr.Dataset]") -> Iterator[str]:
    """What one stage's numbers show beside another's."""
    vision, prefill, decode = (datasets.get(name) for name in ("vision", "prefill", "decode"))
    if vision is not None and prefill is not None and "flops" in vision and "flops" in prefill:
        yield from _report("prefill: fewer FLOPs than its vision alone", prefill["flops"] < vision["flops"])
    if prefill is None or decode is None or "context_len" not in decode.coords:
        return
    comparable = _comparable(decode)
    if "flops" in prefill and "flops" in decode:
        step = decode["flops"] / decode.coords.get("decode_tokens", 1)
        yield from _report(
            "decode: a step has more FLOPs than the prefill before it", (step > prefill["flops"]) & comparable
        )
    if "activation_peak_bytes" in prefill and "activation_peak_bytes" in decode:
        more = decode["activation_peak_bytes"] > prefill["activation_peak_bytes"]
        yield from _report("decode: a higher peak of activations than the prefill before it", more & comparable)


def _comparable(decode: "xr.Dataset") -> Any:
    """Where a step sees fewer pairs of tokens than the prefill did: elsewhere it may rightly cost more."""
    context = decode.coords["context_len"]
    return decode.coords.get("decode_tokens", 1) <= context * (context - 1)


def _report(what: str, where: "xr.DataArray") -> Iterator[str]:
    """`what`, if it holds anywhere: at how many points, and the first of them."""
    found = np.argwhere(where.values)
    if len(found):
        first = dict(zip(where.dims, found[0], strict=True))
        labels = [f"{name} {where.coords[name].values[i]}" for name, i in first.items()]
        point = f", first at {', '.join(labels)}" if labels else ""
        yield f"{what} ({len(found):,} of {where.size:,} points{point})"
