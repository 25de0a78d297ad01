"""Times by device, and the rates that a wanted time asks of a device."""

from typing import TYPE_CHECKING, Any, Final

from modelmeter.hardware.page_time import WANTED_TPOT, WANTED_TTFT
from modelmeter.report.plots.curves import curves_of
from modelmeter.report.plots.panel import Panel, curve_panel

if TYPE_CHECKING:
    import xarray as xr

_RATES: Final = (("flops", "FLOPs", "FLOP/s"), ("io_bytes", "bytes moved", "B/s"))
_TITLES: Final = {"seconds": "vision", "ttft_seconds": "TTFT, host's work left out", "tpot_seconds": "TPOT"}
_OF_STAGE: Final = {
    "vision": ("seconds", "time"),
    "prefill": ("ttft_seconds", "TTFT"),
    "decode": ("tpot_seconds", "TPOT"),
}


def latency_panels(datasets: "dict[str, xr.Dataset]") -> list[Panel]:
    """TTFT and TPOT (and vision's time) of the stages that have times; the host's work is left out.

    Decode's is the mean of its steps. A run has both.
    """
    panels: list[Panel] = []
    whole = "ttft_seconds" in datasets.get("run", {})
    for stage, dataset in datasets.items():
        if whole and stage in ("prefill", "decode"):
            continue  # the run has them
        for name, title, label, values in _times(stage, dataset):
            curves, fixed = curves_of(dataset.assign({name: values}), {name: title})
            if curves:
                panels.append(curve_panel(f"{title}{', ' * bool(fixed)}{fixed}", label, "s", curves))
    return panels


def _times(stage: str, dataset: "xr.Dataset") -> "list[tuple[str, str, str, Any]]":
    """(variable, title, label of the axis, seconds) of a stage."""
    if stage == "run":
        names = [name for name in ("ttft_seconds", "tpot_seconds") if name in dataset]
        return [(name, _TITLES[name], name[:4].upper(), dataset[name]) for name in names]
    if "seconds" not in dataset or stage not in _OF_STAGE:
        return []
    name, label = _OF_STAGE[stage]
    return [(name, _TITLES[name], label, per_step(dataset, "seconds") if stage == "decode" else dataset["seconds"])]


def per_step(dataset: "xr.Dataset", name: str) -> Any:
    """A decode quantity of one step: the mean of those that it sums."""
    if "decode_tokens" in dataset.coords:
        return dataset[name] / dataset.coords["decode_tokens"]
    return dataset[name]


def required_panels(
    datasets: "dict[str, xr.Dataset]", *, ttft: float = WANTED_TTFT, tpot: float = WANTED_TPOT
) -> list[Panel]:
    """FLOP/s and bytes/s that do the prefill in `ttft` seconds and a decode step in `tpot` (`required_rates`)."""
    panels = []
    for stage, wanted, seconds in (("prefill", "TTFT", ttft), ("decode", "TPOT", tpot)):
        if stage not in datasets:
            continue
        dataset = datasets[stage]
        for name, what, unit in _RATES:
            if name not in dataset:
                continue
            amount = per_step(dataset, name) if stage == "decode" else dataset[name]
            curves, fixed = curves_of(dataset.assign(rate=amount / seconds), {"rate": ""})
            if curves:
                title = ", ".join([f"{what} for a {wanted} of {seconds:g} s", *([fixed] if fixed else [])])
                panels.append(curve_panel(title, f"required {what} a second", unit, curves))
    return panels
