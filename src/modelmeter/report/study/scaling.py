"""How prefill and decode grow with the prompt (schema `modelmeter.scaling/1`): what `analytic_scaling.json` holds."""

import json
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from modelmeter.core import units
from modelmeter.report.conventions import ONE_STEP, convention_notes
from modelmeter.report.study.data import UNITS_NOTE, conventions_of, readable
from modelmeter.report.study.points import kinds_of, of_kind, untimed
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    import xarray as xr

SCHEMA: Final = "modelmeter.scaling/1"
_PREFILL: Final = ("flops_tflops", "io_tb", "weights_gb", "activations_gb", "kv_gb")
_STEPS_NOTE: Final = (
    "prompts are text alone; decode per token is the mean of all decode_steps, of activations the largest step's; "
    "flops, counted_flops (what torch's FlopCounterMode sees) and io_bytes beside them are the sum of all steps"
)
_EXACT: Final = ("flops", "counted_flops", "io_bytes", "weights_bytes", "activation_peak_bytes", "kv_cache_bytes")


def scaling_files(study: Study) -> dict[str, str]:
    """File name -> text: `analytic_scaling.json` of the first kind of attention, others named by theirs."""
    kinds = kinds_of(study.datasets["prefill"])
    names = ["analytic_scaling.json", *[f"analytic_scaling_{kind}.json" for kind in kinds[1:]]]
    return {
        name: json.dumps(scaling_data(study, kind), indent=1) + "\n" for name, kind in zip(names, kinds, strict=True)
    }


def scaling_data(study: Study, attention: str) -> dict[str, Any]:
    """The study `seq-len` of one kind of attention.

    "per token" is the mean over the decode steps; beside it are the exact sums of all of them, as `decode_steps` says.
    """
    prefill, decode = (of_kind(study.datasets[stage], attention) for stage in ("prefill", "decode"))
    conventions = conventions_of(prefill, attention=attention)
    notes = [note for note in convention_notes(conventions) if note != ONE_STEP]
    steps = int(decode.coords["decode_tokens"])
    return {
        "schema": SCHEMA,
        "modelmeter_version": prefill.attrs["modelmeter_version"],
        "analytic_model_version": prefill.attrs["analytic_model_version"],
        "model": prefill.attrs["model"],
        "conventions": {**attrs.asdict(conventions), "notes": [*notes, _STEPS_NOTE, UNITS_NOTE]},
        "precision": prefill.attrs["precision"],
        "batch_size": int(prefill.coords["batch_size"]),
        "decode_steps": steps,
        "points": [
            {
                "seq_len_prefill": length,
                "prefill": _prefill(_numbers(prefill, i)),
                "decode": _decode(_numbers(decode, i), steps),
            }
            for i, length in enumerate(np.atleast_1d(prefill.coords["context_len"].values).tolist())
        ],
    }


def _numbers(dataset: "xr.Dataset", point: int) -> dict[str, Any]:
    return {name: dataset[name].values.reshape(-1)[point].item() for name in untimed(dataset)}


def _prefill(numbers: dict[str, Any]) -> dict[str, Any]:
    read = readable(numbers)
    return {**{name: read[name] for name in _PREFILL}, **{name: numbers[name] for name in _EXACT}}


def _decode(numbers: dict[str, Any], steps: int) -> dict[str, Any]:
    """A step's mean; of the activations the largest step's, of the cache what is held after the last."""
    read = readable(numbers)
    return {
        "flops_tflops_per_token": float(units.to_tflops(numbers["flops"] / steps)),
        "io_tb_per_token": float(units.to_terabits(numbers["io_bytes"] / steps)),
        "activations_gb_per_token": read["activations_gb"],
        "kv_gb_final": read["kv_gb"],
        **{name: numbers[name] for name in _EXACT},
    }
