"""Where the values of each kind of result stand, and what names them: one small table a schema."""

from collections.abc import Mapping
from typing import Final

import attrs


@attrs.frozen(kw_only=True)
class Layout:
    """How the JSON of a schema is read.

    `lists`: a list of objects, and the fields that say what each of them is of. `groups`: an object whose names are
    those of things, and what these are. `whole`: an object that stands for all of something. `settings`: what was
    asked, in place of what was found. `sections`: a result inside this one. `repeats`: values in another unit, of which
    the exact ones stand beside them, places in a list, and prose. `names`: what a field that names is called instead.
    """

    title: str
    lists: Mapping[str, tuple[str, ...]] = {}
    groups: Mapping[str, str] = {}
    whole: Mapping[str, tuple[str, str]] = {}
    settings: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    repeats: frozenset[str] = frozenset()
    names: Mapping[str, str] = {}


HEADER: Final = ("conventions", "model", "precision", "workload", "device")
"""Settings of every kind of result, where it has them."""
PROSE: Final = frozenset({"notes", "description", "text", "title"})
"""Sentences about settings, which follow from these."""
HELD: Final = "model.weights_resident_bytes"
"""Stands among the model's settings and follows from the precision; every stage has it too."""
_PAGES: Final = {"pages": ("source", "page"), "errors": ("source",)}
_READABLE: Final = frozenset(
    {"flops_tensor_tflops", "flops_cuda_tflops", "io_tb", "weights_gb", "activations_gb", "kv_gb"}
)

LAYOUTS: Final[Mapping[str, Layout]] = {
    "modelmeter.analysis/1": Layout(
        title="an analysis",
        lists=_PAGES,
        groups={"stages": "stage", "parts": "part", "layers": "layer"},
        whole={"totals": ("page", "all")},
        sections=("time",),
        repeats=_READABLE,
    ),
    "modelmeter.time/1": Layout(
        title="times", lists=_PAGES, groups={"stages": "stage", "parts": "part", "layers": "layer"}
    ),
    "modelmeter.fit/1": Layout(
        title="a fit",
        lists={
            **_PAGES,
            "stages": ("stage",),
            "caches": ("held",),
            "limits": ("stage",),
            "contexts": ("images", "batch"),
            "precisions": ("precision",),
        },
    ),
    "modelmeter.measured-scaling/1": Layout(
        title="a measured scaling file",
        lists={"points": ("seq_len_prefill",), "skipped": ("seq_len_prefill",)},
        settings=("config", "dtype", "versions", "batch_size", "decode_steps", "warm_up", "repeats", "counted"),
        repeats=frozenset({"command"}),
    ),
    "modelmeter.plan/1": Layout(title="a plan", lists={"devices": ("device",)}, settings=("limits", "running")),
    "modelmeter.profile/1": Layout(
        title="a profile",
        lists={"kernels": ("name", "stage")},
        groups={"stages": "stage", "kinds": "kind"},
        settings=("page", "level", "tool", "runs_on", "device_name", "runs", "decode_steps"),
        repeats=frozenset({"source", "of", "notes"}),
    ),
    "modelmeter.report/1": Layout(
        title="a report",
        lists={
            "documents": ("source",),
            "pages": ("number",),
            "errors": ("source",),
            "kinds": ("mode", "grid", "views"),
            "children": ("path",),
            "operators": ("name", "category", "dtype"),
            "decode": ("step",),
            "roofline": ("stage", "name"),
        },
        groups={"stages": "stage", "totals": "stage", "snapshots": "stage", "parts": "part"},
        settings=("profile",),
        repeats=_READABLE | {"kind", "about", "formulas", "layer_formulas", "verification", "notes"},
    ),
    "modelmeter.scaling/1": Layout(
        title="a scaling file", lists={"points": ("seq_len_prefill",)}, settings=("batch_size", "decode_steps")
    ),
    "modelmeter.sweep/1": Layout(
        title="a sweep",
        lists={
            "points": ("dimensions",),
            "times": ("device", "execution"),
            "distribution": ("quantity", "stage", "attention", "device", "execution"),
        },
        groups={name: "cost" for name in ("stage_costs", "prefill_stagecost", "decode_stagecost", "run_stagecost")},
        settings=("study",),
        repeats=_READABLE | {"flops_tflops", "description", "command", "dimensions", "stages", "units", "histogram"},
        names={"quantity": "what"},
    ),
    "modelmeter.table/1": Layout(
        title="a table",
        lists={"rows": ()},  # the file names its keys
        settings=("table", "devices"),
        repeats=frozenset({"keys", "columns", "notes", "title"}),
    ),
}
"""By schema."""
