"""Labelled arrays: the answers of a sweep as an `xarray.Dataset`."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.sweeps.quantities import QUANTITIES, VIEW_QUANTITIES
from modelmeter.sweeps.question import Question

if TYPE_CHECKING:
    import xarray as xr

SCHEMA = "modelmeter.sweep-dataset/1"


def dataset_of(question: Question, values: Mapping[str, Any]) -> "xr.Dataset":
    """`values` (arrays, or what stands for them) under their names, with coordinates, units and conventions."""
    import xarray as xr

    variables = {name: (question.dims_of(name), value, _attributes(name)) for name, value in values.items()}
    coordinates = {}
    for axis in question.axes:
        about = {"long_name": axis.long_name}
        coordinates[axis.name] = ((), axis.labels[0], about) if axis.fixed else (axis.name, axis.labels, about)
    return xr.Dataset(variables, coordinates, attributes(question))


def attributes(question: Question) -> dict[str, str]:
    """What the numbers are of: model, stage, conventions, version. Text alone, as files take it.

    What `over` fixes is as fixed, what it varies is "varied".
    """
    chosen = {axis.name: axis.values[0] if axis.fixed else "varied" for axis in question.axes}
    conventions = attrs.asdict(question.conventions)
    precision = chosen.get("precision", question.precision)
    return {
        "schema": SCHEMA,
        "title": f"what the stage {question.stage} of {question.config.name} costs",
        "model": question.config.name,
        "stage": question.stage,
        "views": _views_text(question),
        "conventions": json.dumps({name: chosen.get(name, value) for name, value in conventions.items()}),
        "precision": precision if isinstance(precision, str) else precision.describe(),
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "modelmeter_version": __version__,
    }


def _attributes(name: str) -> dict[str, str]:
    if name in VIEW_QUANTITIES:
        units, long_name = VIEW_QUANTITIES[name]
    else:
        units, long_name = QUANTITIES[name].units, QUANTITIES[name].long_name
    return {"units": units, "long_name": long_name}


def _views_text(question: Question) -> str:
    if any(not axis.fixed for axis in question.of_role("view")):
        return "varied"
    (views,) = question.plans()
    return "none" if views is None else " + ".join(f"{count} x {side} px" for count, side in views.views)
