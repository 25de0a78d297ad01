"""The real model at the points of a study: its counted FLOPs beside ours."""

import json
from collections.abc import Callable, Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.recording.record import record_call
from modelmeter.live.reference.adapter import Adapter, Call
from modelmeter.live.reference.choose import choose_adapter, quietly
from modelmeter.live.verification.points import MOST_STEPS, MOST_TOKENS, check_size
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views
from modelmeter.sweeps.dimensions import SIZES, VIEWS
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    import xarray as xr

MEASURED: Final = "measured_counted_flops"
_AS_REAL: Final = ("implementation", "logits")
"""Conventions that change counted FLOPs: they have to be the real model's."""
_EXPERTS: Final = {"loop": "eager", "grouped": "grouped_mm"}
_BESIDE: Final = ("attention", "device", "execution")
_STAGES: Final = ("vision", "prefill", "decode")


def measure_study(
    study: Study, *, config_file: str | PathLike[str] | None = None, say: Callable[[str], None] = lambda line: None
) -> Study:
    """The study with `measured_counted_flops` in every stage: transformers' model, run without data at each point.

    Decode steps are run one after the other, as many as the study sums. Raises `ModelMeterError` for a study of
    anything but sizes, pages and attention, or in conventions that are not those of the real model.
    """
    for stage, dataset in study.datasets.items():
        _check(stage, dataset)
    found: dict[str, list[Any]] = {stage: [] for stage in study.datasets}
    with quietly():
        for kind in _kinds(next(iter(study.datasets.values()))):
            say("building the real model")
            adapter = _adapter(study, kind, config_file)
            for stage, dataset in study.datasets.items():
                points = list(_points(dataset))
                counted = []
                for number, point in enumerate(points, 1):
                    say(f"{stage}, {kind} attention: point {number} of {len(points)}")
                    counted.append(_counted(adapter, stage, point))
                found[stage].append(counted)
    datasets = {stage: _with(dataset, found[stage]) for stage, dataset in study.datasets.items()}
    return attrs.evolve(study, datasets=datasets)


def _check(stage: str, dataset: "xr.Dataset") -> None:
    if stage not in _STAGES:
        raise ModelMeterError(f"the real model is run in {', '.join(_STAGES)}, not in the stage {stage}")
    for name in dataset.dims:
        if name not in (*SIZES, *VIEWS, *_BESIDE):
            raise ModelMeterError(f"the real model is run over sizes and pages, not over {name}: drop --measure-flops")
    if stage != "vision":
        tokens = dataset.coords["context_len"] * dataset.coords["batch_size"]
        check_size(int(tokens.max()), "context_len times batch_size", MOST_TOKENS)
    if "decode_tokens" in dataset.coords:
        check_size(int(dataset.coords["decode_tokens"].max()), "decode_steps", MOST_STEPS)


def _adapter(study: Study, kind: str, config_file: str | PathLike[str] | None) -> Adapter:
    ours = json.loads(next(iter(study.datasets.values())).attrs["conventions"])
    adapter = choose_adapter(config_file, attention=kind, experts=_EXPERTS[ours["experts"]])
    real = attrs.asdict(adapter.conventions)
    for name in _AS_REAL:
        if ours[name] != real[name]:
            raise ModelMeterError(f"the real model has {name} {real[name]}, the study {ours[name]}: give --{name} too")
    return adapter


def _kinds(dataset: "xr.Dataset") -> list[str]:
    return [str(kind) for kind in np.atleast_1d(dataset.coords["attention"].values)]


def _point_dims(dataset: "xr.Dataset") -> list[str]:
    return [str(name) for name in dataset.dims if name not in _BESIDE]


def _points(dataset: "xr.Dataset") -> Iterator[dict[str, Any]]:
    """Every coordinate of each point, by name."""
    dims = _point_dims(dataset)
    for index in np.ndindex(*[dataset.sizes[name] for name in dims]):
        here = dataset.isel(dict(zip(dims, index, strict=True)))
        yield {str(name): value.values.item() for name, value in here.coords.items() if not value.dims}


def _counted(adapter: Adapter, stage: str, point: dict[str, Any]) -> int:
    """FLOPs of one point; of all its decode steps."""
    views, batch = _views(point), point["batch_size"]
    if stage == "vision":
        return _flops(adapter, adapter.vision(views, batch)) if views is not None else 0
    if stage == "prefill":
        context = point["context_len"]
        call = adapter.prefill(context, batch) if views is None else adapter.page(views, context, batch)
        return _flops(adapter, call)
    total, cache = 0, None
    for step in range(point.get("decode_tokens", 1)):
        call = adapter.decode(point["context_len"] + step, batch, cache)
        total, cache = total + _flops(adapter, call), call.cache
    return total


def _flops(adapter: Adapter, call: Call) -> int:
    with adapter.running():
        trace = record_call(adapter.model, call.run, call.inputs, rename=adapter.rename, at=call.at)
    return int(trace.total.counted_flops)


def _views(point: dict[str, Any]) -> ViewPlan | None:
    """The views of a point, from what it names of them."""
    chosen = {name: point[name] for name in VIEWS if name in point}
    if "grid" in chosen:
        width, height = chosen.pop("grid").split("x")
        return ViewPlan.from_grid((int(width), int(height)), **chosen)
    if "page" in chosen:
        chosen["width"], chosen["height"] = map(int, chosen.pop("page").split("x"))
    return plan_views(chosen.pop("width"), chosen.pop("height"), **chosen) if chosen else None


def _with(dataset: "xr.Dataset", counted: list[list[int]]) -> "xr.Dataset":
    dims = _point_dims(dataset)
    values = np.array(counted, dtype=np.int64).reshape(len(counted), *[dataset.sizes[name] for name in dims])
    about = {"units": "FLOP", "long_name": "FLOPs counted in the real model"}
    if "attention" in dataset.dims:
        return dataset.assign({MEASURED: (("attention", *dims), values, about)}).transpose(*dataset.dims)
    return dataset.assign({MEASURED: (tuple(dims), values[0], about)})
