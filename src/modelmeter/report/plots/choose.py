"""Which plots fit a study, and the figures of it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import numpy as np

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.plots.curves import MEASURED, Curve, curves_of
from modelmeter.report.plots.histogram import histogram_panels
from modelmeter.report.plots.latency import latency_panels, required_panels
from modelmeter.report.plots.panel import Panel, curve_panel, figure_of
from modelmeter.report.plots.roofline import roofline_panels
from modelmeter.report.plots.stacks import stack_panel
from modelmeter.report.plots.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, Look, styled
from modelmeter.sweeps.dimensions import PARAMETERS
from modelmeter.sweeps.quantities import STAGES
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

Datasets: TypeAlias = "dict[str, xr.Dataset]"

# name of the plot -> (title, variable, label, unit)
_LINES: Final = {
    "flops": ("FLOPs", "flops", "FLOPs", "FLOP"),
    "intensity": ("arithmetic intensity", "arithmetic_intensity", "arithmetic intensity", "FLOP/B"),
    "peak-activations": ("peak of activations", "activation_peak_bytes", "peak of activations", "B"),
    "kv-cache": ("KV cache", "kv_cache_bytes", "KV cache held", "B"),
}
ROLES: Final = {
    "weight_read_bytes": ("weights read", Look(colour=BLUE)),
    "activation_read_bytes": ("activations read", Look(colour=GREEN, hatch="///")),
    "activation_write_bytes": ("activations written", Look(colour=SKY, hatch="+++")),
    "kv_read_bytes": ("KV cache read", Look(colour=VERMILION, hatch="\\\\\\")),
    "kv_write_bytes": ("KV cache written", Look(colour=ORANGE, hatch="xxx")),
}
RESIDENT: Final = {
    "weights_bytes": ("weights", Look(colour=BLUE)),
    "kv_cache_bytes": ("KV cache", Look(colour=VERMILION, hatch="\\\\\\")),
    "activation_peak_bytes": ("peak of activations", Look(colour=PURPLE, hatch="///")),
}
MOST_STACKS: Final = 4
"""Stacks beside each other for a stage; more would say less."""


def plots_of(study: Study) -> "dict[str, Figure]":
    """The figures that fit a study's dimensions and quantities, by name; none where nothing varies.

    A panel a stage. Raises `ModelMeterError` without matplotlib, or for what is no study.
    """
    if not isinstance(study, Study):
        raise ModelMeterError(f"plots_of() takes a Study, as the studies of a sweep give, not {type(study).__name__}")
    order = [stage for stage in STAGES if stage in study.datasets]
    datasets = {stage: study.datasets[stage] for stage in [*order, *(set(study.datasets) - set(order))]}
    figures = {}
    with styled():
        for name, (title, panels_of) in KINDS.items():
            panels = panels_of(datasets)
            if panels:
                figures[name] = figure_of(f"{study.name}: {title}", panels)
    return figures


def _line_panels(datasets: Datasets, variable: str, label: str, unit: str) -> list[Panel]:
    panels = []
    for stage, dataset in datasets.items():
        curves, fixed = curves_of(dataset, {variable: ""})
        if curves:
            panels.append(curve_panel(_title(stage, fixed), label, unit, curves))
    return panels


def _lines_of(variable: str, label: str, unit: str) -> Callable[[Datasets], list[Panel]]:
    return lambda datasets: _line_panels(datasets, variable, label, unit)


def _counted_panels(datasets: Datasets) -> list[Panel]:
    """Ours and the real model's, where it was run."""
    measured = {stage: one for stage, one in datasets.items() if f"{MEASURED}counted_flops" in one}
    return _line_panels(measured, "counted_flops", "FLOPs that torch counts", "FLOP")


def _unit_panels(datasets: Datasets) -> list[Panel]:
    panels = []
    names = {"tensor_flops": "tensor cores", "cuda_flops": "CUDA cores"}
    for stage, dataset in datasets.items():
        curves, fixed = curves_of(dataset, names)
        if curves:
            panels.append(curve_panel(_title(stage, fixed), "FLOPs", "FLOP", curves, log=True))
    return panels


def _stack_panels(datasets: Datasets, parts: Mapping[str, tuple[str, Look]], label: str) -> list[Panel]:
    """A panel for each stage and each kind of it, those of a stage with one scale."""
    panels = []
    looks = dict(parts.values())
    for stage, dataset in datasets.items():
        if any(name not in dataset for name in parts):
            continue
        stacks, fixed = _stacks(dataset, parts)
        most = max(
            (float(np.sum([curve.y for curve in one.values()], axis=0).max()) for one in stacks.values()), default=0.0
        )
        for words, layers in stacks.items():
            title = _title(stage, ", ".join(word for word in (words, fixed) if word))
            panels.append(stack_panel(title, stage, label, layers, looks, most))
    return panels


def _stacks(dataset: "xr.Dataset", parts: Mapping[str, tuple[str, Look]]) -> tuple[dict[str, dict[str, Curve]], str]:
    """What tells a stack from another -> (name of a part -> its curve), and what is held fixed."""
    stacks: dict[str, dict[str, Curve]] = {}
    fixed = ""
    for variable, (part, _) in parts.items():
        curves, fixed = curves_of(
            dataset.drop_vars(f"{MEASURED}{variable}", errors="ignore"), {variable: ""}, MOST_STACKS
        )
        for curve in curves:
            named = curve.x.astype(str) if curve.along in PARAMETERS else curve.x  # between two models there is none
            stacks.setdefault(curve.name, {})[part] = attrs.evolve(curve, x=named)
    return stacks, fixed


def _title(stage: str, fixed: str) -> str:
    return f"{stage}: {fixed}" if fixed else stage


KINDS: Final[dict[str, tuple[str, Callable[[Datasets], list[Panel]]]]] = {
    name: (title, _lines_of(variable, label, unit)) for name, (title, variable, label, unit) in _LINES.items()
} | {
    "counted-flops": ("FLOPs against those of the real model", _counted_panels),
    "tensor-and-cuda-flops": ("FLOPs on tensor cores and CUDA cores", _unit_panels),
    "bytes-by-role": ("bytes moved, by role", lambda datasets: _stack_panels(datasets, ROLES, "bytes moved")),
    "resident-memory": ("resident memory", lambda datasets: _stack_panels(datasets, RESIDENT, "resident memory")),
    "latency": ("predicted times", latency_panels),
    "required-throughput": ("required throughput", required_panels),
    "roofline": ("roofline", roofline_panels),
    "distribution": ("distribution", histogram_panels),
}
