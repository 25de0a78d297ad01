"""Draws the pictures of docs/gallery.md: small SVG files under docs/gallery.

Run it as `python tools/make_gallery.py` after a change of any number or of the plots' style; with `--check` it only
names the pictures whose words or numbers are out of date. Needs the extras `plot` and `sweep`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from modelmeter import DeepseekOCRModel, plan_views
from modelmeter.hardware.roofline import machine_of
from modelmeter.report.files import write_bytes
from modelmeter.report.plots import page_plots, plots_of
from modelmeter.report.plots.style import file_bytes
from modelmeter.sweeps.study import Study
from modelmeter.sweeps.sweep import sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "gallery"
COMMAND: Final = "python tools/make_gallery.py"
MOST_BYTES: Final = 60_000
PAGE: Final = (1654, 2339)  # A4 at 200 dpi
BOTH: Final = {"attention": ["eager", "flash"]}
GRIDS: Final = [(1, 1), *[(w, tiles // w) for tiles in range(2, 10) for w in range(1, tiles + 1) if tiles % w == 0]]
LENGTHS: Final = {**BOTH, "context_len": [256, 512, 1024, 2048, 4096]}
DEVICES: Final = ["l4", "a100-80g", "h100-sxm", "h200"]
MORE_DEVICES: Final = [*DEVICES, "t4", "a10", "l40s", "b200", "rtx-4090", "mi300x"]
PICTURES: Final = {
    "grids": ("flops",),
    "seq-len": ("bytes-by-role", "intensity", "peak-activations", "tensor-and-cuda-flops", "required-throughput"),
    "times": ("roofline",),
    "kv-heads": ("kv-cache",),
    "batch": ("resident-memory", "latency"),
    "device": ("latency",),
    "pages": ("distribution",),
}
"""The plots shown of each study."""


def studies() -> Iterator[Study]:
    """Small studies, each for what it shows best."""
    model = DeepseekOCRModel.from_config()
    yield _study("grids", {"prefill": sweep(model, {"grid": GRIDS, **BOTH}, stage="prefill")})
    yield _study("seq-len", {stage: sweep(model, LENGTHS, stage=stage) for stage in ("prefill", "decode")})
    timed = {stage: sweep(model, LENGTHS, stage=stage, device="h200") for stage in ("prefill", "decode")}
    yield _study("times", timed)
    heads = {"num_key_value_heads": [1, 2, 5, 10], "context_len": [1024, 2048, 4096]}
    yield _study("kv-heads", {"decode": sweep(model, heads, stage="decode")})
    model.set_views(plan_views(*PAGE))
    batches = {"batch_size": [1, 2, 4, 8, 16, 32, 64]}
    both = {stage: sweep(model, batches, stage=stage, device=DEVICES) for stage in ("prefill", "decode")}
    yield _study("batch", both)
    run = sweep(model, {"decode_tokens": 512, "device": MORE_DEVICES}, stage="run")
    yield _study("device", {"run": run})
    sizes = [(600 + 37 * i % 2100, 700 + 61 * i % 2300) for i in range(200)]  # pages of no order
    pages = sweep(model, {"page": sizes}, stage="prefill", device="h200")
    yield _study("pages", {"prefill": pages})


def _study(name: str, datasets: dict[str, Any]) -> Study:
    return Study(name=name, description="a picture of the gallery", datasets=datasets)


def figures() -> "dict[str, Figure]":
    """The pictures by the names of their files."""
    found: dict[str, Figure] = {}
    for study in studies():
        plots = plots_of(study)
        found |= {f"{study.name}-{name}": plots[name] for name in PICTURES[study.name]}
    model = DeepseekOCRModel.from_config()
    views = plan_views(*PAGE)
    model.set_views(views)
    return found | page_plots(model, views.image_tokens + 10, machine=machine_of("h200"))


def words(svg: bytes) -> list[str]:
    """What is written in a picture, numbers on axes included."""
    return [text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()]


def stale() -> list[str]:
    """The pictures that differ from the code in their words, or are missing or too many."""
    drawn = {f"{name}.svg": file_bytes(figure, "svg") for name, figure in figures().items()}
    kept = {path.name: path.read_bytes() for path in FOLDER.glob("*.svg")}
    return sorted(
        name
        for name in drawn.keys() | kept.keys()
        if name not in drawn or name not in kept or words(drawn[name]) != words(kept[name])
    )


def main() -> int:
    """Write the pictures, or with `--check` name those out of date."""
    if "--check" in sys.argv[1:]:
        names = stale()
        print("\n".join(names))
        return 1 if names else 0
    for path in FOLDER.glob("*.svg"):
        path.unlink()
    for name, figure in figures().items():
        content = file_bytes(figure, "svg")
        write_bytes(FOLDER / f"{name}.svg", content)
        print(f"{name}.svg: {len(content):,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
