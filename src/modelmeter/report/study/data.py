"""A study as plain data (schema `modelmeter.sweep/1`): every point with its pages, its context and its costs."""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core.cost import COST_FIELDS, STAGE_FIELDS, Cost, StageCost
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.report.conventions import ONE_STEP, convention_notes
from modelmeter.report.study.distribution import distributions
from modelmeter.report.study.points import (
    COST_KEYS,
    MACHINE,
    check_points,
    column,
    kinds_of,
    labels_of,
    machines_of,
    of_kind,
    point_dims,
    timed,
    untimed,
)
from modelmeter.sweeps.studies.setup import VIEW_COORDINATES
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    import xarray as xr

SCHEMA: Final = "modelmeter.sweep/1"
VARIED: Final = "varied"
"""What a dataset says of a convention that is one of its dimensions."""
HELD: Final = {
    "weights_bytes": "weights_bytes",
    "activations_bytes": "activation_peak_bytes",
    "kv_cache_bytes": "kv_cache_bytes",
}
"""`StageCost`'s names of what a sweep calls so."""
UNITS_NOTE: Final = "names: tflops are 1e12 FLOPs; io_tb is terabits (of 1e12 bits); gb are GiB (of 1024^3 bytes)"
_STAGES_NOTE: Final = "prefill includes vision; decode is of all its decode_steps together; run is prefill and decode"
EXTRA: Final = ("vendor", "pages", "num_tiles")
"""What only some studies tell of a point."""


def study_data(study: Study, command: str | None = None) -> dict[str, Any]:
    """The study as dicts, lists, strings and numbers; integers are exact. `command` is the one that made it."""
    check_points(study)
    first = next(iter(study.datasets.values()))
    spread = distributions(study)
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": first.attrs.get("analytic_model_version", ANALYTIC_MODEL_VERSION),
        "study": study.name,
        "description": study.description,
        "command": command,
        "model": first.attrs["model"],
        "conventions": conventions_data(study),
        "precision": first.attrs["precision"],
        "warnings": list(study.warnings),
        "dimensions": {
            name: {"long_name": _long_name(study, name), "values": labels.tolist()}
            for name, labels in point_dims(study).items()
        },
        "stages": {stage: stage_data(dataset) for stage, dataset in study.datasets.items()},
        "points": _points(study),
        **({"distribution": spread} if spread else {}),
    }


def to_json(study: Study, command: str | None = None) -> str:
    """`study_data` as JSON text."""
    return json.dumps(study_data(study, command), indent=1, ensure_ascii=False) + "\n"


def conventions_of(dataset: "xr.Dataset", **chosen: Any) -> Conventions:
    """The conventions of a dataset; those that it varies are as `chosen`, or as usual."""
    named = json.loads(dataset.attrs["conventions"])
    return Conventions(**{**{name: value for name, value in named.items() if value != VARIED}, **chosen})


def conventions_data(study: Study) -> dict[str, Any]:
    """The conventions by name, "varied" where the study varies them, and in words."""
    first = next(iter(study.datasets.values()))
    chosen = json.loads(first.attrs["conventions"])
    for name in chosen:
        if name in first.dims and first.sizes[name] == 1:
            chosen[name] = first.coords[name].values[0].item()
    notes: dict[str, None] = {}
    for kind in kinds_of(first):
        notes |= dict.fromkeys(convention_notes(conventions_of(first, attention=kind)))
    notes.pop(ONE_STEP)
    others = [name for name, value in chosen.items() if value == VARIED and name != "attention"]
    lines = [*notes, *[f"varied: {name}, whatever else is said of it" for name in others]]
    return {**chosen, "notes": [*lines, _STAGES_NOTE, UNITS_NOTE, *_times_note(first)]}


def _times_note(dataset: "xr.Dataset") -> list[str]:
    """How and where the times are predicted; none without a device."""
    machines = [machine for machine, _ in machines_of(dataset)]
    if not machines:
        return []
    several = [", ".join(dict.fromkeys(one[name] for one in machines if name in one)) for name in MACHINE]
    return [
        f"times: predicted on {several[0]}, execution {several[1] or 'eager'}; the host's work on a page is left out; "
        "`modelmeter time` says what is assumed of a device"
    ]


def stage_data(dataset: "xr.Dataset") -> dict[str, Any]:
    """What a stage's labelled arrays need beside the points to be made again."""
    coordinates = {}
    for name, values in dataset.coords.items():
        about: dict[str, Any] = {"dimensions": list(values.dims), **values.attrs}
        if not values.dims:
            about["value"] = values.values.item()
        elif name in dataset.dims:
            about["values"] = values.values.tolist()
        coordinates[str(name)] = about
    quantities = {str(n): {"dimensions": list(v.dims), **v.attrs} for n, v in dataset.data_vars.items()}
    dims = [str(name) for name in dataset.dims]
    return {"dimensions": dims, "coordinates": coordinates, "quantities": quantities, "attributes": dict(dataset.attrs)}


def _long_name(study: Study, dim: str) -> str:
    return next(str(one.coords[dim].attrs["long_name"]) for one in study.datasets.values() if dim in one.coords)


def _points(study: Study) -> list[dict[str, Any]]:
    about = _about(study)
    points = [
        {"dimensions": labels, **dict(zip(about, values, strict=True))}
        for labels, values in zip(labels_of(study), zip(*about.values(), strict=True), strict=True)
    ]
    for stage, dataset in study.datasets.items():
        place, names = COST_KEYS[stage]
        for point in points:
            point[place] = {}
        for kind in kinds_of(dataset):
            for point, cost in zip(points, costs(of_kind(dataset, kind), point_dims(study)), strict=True):
                point[place][names[kind]] = cost
    return points


def _about(study: Study) -> dict[str, list[Any]]:
    """What each point is of, by name: one value a point. A context of None: vision has none."""
    dims = point_dims(study)
    several = list(study.datasets.values())
    first, last = several[0], several[-1]
    count = int(np.prod([len(labels) for labels in dims.values()]))
    about = {name: column(first[name], dims) for name in VIEW_COORDINATES}
    about["context_len"] = column(last["context_len"], dims) if "context_len" in last.coords else [None] * count
    steps: list[Any] = [1 if "decode" in study.datasets else 0] * count
    for dataset in several:
        if "decode_tokens" in dataset.coords:
            steps = column(dataset["decode_tokens"], dims)
    about["decode_steps"] = steps
    about["batch_size"] = column(first["batch_size"], dims)
    return about | {name: column(first[name], dims) for name in EXTRA if name in first}


def costs(dataset: "xr.Dataset", dims: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """A stage's cost at each point: in the units people read, exact, and the times on each device."""
    exact: list[dict[str, Any]] = [{} for _ in range(math.prod(len(labels) for labels in dims.values()))]
    for name in untimed(dataset):
        for numbers, value in zip(exact, column(dataset[name], dims), strict=True):
            numbers[name] = value
    found = [{**readable(numbers), **numbers} for numbers in exact]
    for machine, there in machines_of(dataset):
        if not timed(there):
            continue
        seconds = zip(*[column(there[name], dims) for name in timed(there)], strict=True)
        for cost, row in zip(found, seconds, strict=True):
            cost.setdefault("times", []).append({**machine, **dict(zip(timed(there), row, strict=True))})
    return found


def readable(numbers: Mapping[str, Any]) -> dict[str, float]:
    """The `StageCost` fields of a cost's exact numbers; none where some of them were not asked for."""
    if any(name not in numbers for name in (*COST_FIELDS, *HELD.values())):
        return {}
    cost = Cost(**{name: numbers[name] for name in COST_FIELDS})
    stage = StageCost(cost=cost, **{name: numbers[ours] for name, ours in HELD.items()})
    return {name: float(getattr(stage, name)) for name in STAGE_FIELDS}
