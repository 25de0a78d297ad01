"""A study seen point by point: what a point is, and any variable as one value a point."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modelmeter.core.errors import ModelMeterError
from modelmeter.sweeps.quantities import QUANTITIES, VIEW_QUANTITIES
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    import xarray as xr

ATTENTION: Final = "attention"
MACHINE: Final = ("device", "execution")
MEASURED: Final = "measured_counted_flops"
"""The real model's counted FLOPs, where it was run."""
COST_KEYS: Final = {
    "vision": ("stage_costs", {"eager": "vision", "flash": "vision_flash"}),
    "prefill": ("prefill_stagecost", {"eager": "prefill_eager", "flash": "prefill_flash"}),
    "decode": ("decode_stagecost", {"eager": "decode_eager", "flash": "decode_flash"}),
    "run": ("run_stagecost", {"eager": "run_eager", "flash": "run_flash"}),
}
"""Stage -> where a point has its costs, and the name of each kind of attention there."""
MOST_COSTS: Final = 50_000
"""Costs (of a point, stage and attention) that a folder is written of: about 100 MB of JSON."""


def point_dims(study: Study) -> "dict[str, np.ndarray]":
    """The dimensions that tell points apart, with their labels: all but attention and the device."""
    found: dict[str, np.ndarray] = {}
    for dataset in study.datasets.values():
        for dim in dataset.dims:
            if dim != ATTENTION and dim not in MACHINE:
                found.setdefault(str(dim), dataset.coords[dim].values)
    return found


def check_points(study: Study) -> None:
    """Raise `ModelMeterError` for a study without a stage, or with more costs than files of text should hold."""
    if not study.datasets:
        raise ModelMeterError(f"the study {study.name} has no stage: there is nothing to write")
    points = int(np.prod([len(labels) for labels in point_dims(study).values()]))
    costs = points * sum(len(kinds_of(dataset)) for dataset in study.datasets.values())
    if costs > MOST_COSTS:
        raise ModelMeterError(
            f"{points:,} points are too many for a folder of text files: choose fewer, or `modelmeter sweep custom` "
            "with --store"
        )


def labels_of(study: Study) -> Iterator[dict[str, Any]]:
    """The value of each dimension, point by point, the last one fastest."""
    dims = point_dims(study)
    for values in product(*[labels.tolist() for labels in dims.values()]):
        yield dict(zip(dims, values, strict=True))


def kinds_of(dataset: "xr.Dataset") -> list[str]:
    """The kinds of attention of a dataset; the one of its conventions where it names none."""
    import json

    if ATTENTION in dataset.coords:
        return [str(kind) for kind in np.atleast_1d(dataset.coords[ATTENTION].values)]
    return [json.loads(dataset.attrs["conventions"])[ATTENTION]]


def of_kind(dataset: "xr.Dataset", kind: str) -> "xr.Dataset":
    """One kind of attention."""
    return dataset.sel({ATTENTION: kind}, drop=True) if ATTENTION in dataset.dims else dataset


def machines_of(dataset: "xr.Dataset") -> "list[tuple[dict[str, str], xr.Dataset]]":
    """Each device and execution by name, and the dataset there; none without a device."""
    if "device" not in dataset.coords:
        return []
    names = [name for name in MACHINE if name in dataset.coords]
    several = [np.atleast_1d(dataset.coords[name].values).tolist() for name in names]
    found = []
    for labels in product(*several):
        chosen = dict(zip(names, labels, strict=True))
        there = {name: label for name, label in chosen.items() if name in dataset.dims}
        found.append((chosen, dataset.sel(there, drop=True)))
    return found


def timed(dataset: "xr.Dataset") -> list[str]:
    """Its quantities of a device."""
    return [str(name) for name in dataset.data_vars if name in QUANTITIES and QUANTITIES[str(name)].timed]


def untimed(dataset: "xr.Dataset") -> list[str]:
    """Its quantities of no device, what the views alone tell left out."""
    return [str(name) for name in dataset.data_vars if name not in timed(dataset) and name not in VIEW_QUANTITIES]


def column(values: "xr.DataArray", dims: "Mapping[str, np.ndarray]") -> list[Any]:
    """One plain value a point; along dimensions that it has not, the same."""
    sizes = {name: len(labels) for name, labels in dims.items()}
    variable: Any = values.variable  # untyped
    return list(variable.set_dims(sizes).transpose(*sizes).values.reshape(-1).tolist())
