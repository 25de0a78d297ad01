"""Proof of calibration: calibrates this machine, runs the real model with random weights, and compares stage by stage.

python bench/calibration.py [--device cpu|cuda:0] [--threads 1] [--quick] [--device-file FILE] [-o bench/results/NAME]

Writes NAME.json, NAME.svg and, unless --device-file gives one, the device file it measured. The real model is
transformers' UnlimitedOcr; none of its times is fitted to, and page sizes, batches and contexts are not those of
calibration. The error of a stage is calibrated / measured - 1. On CUDA the model has its 12 layers, its experts run
grouped, and a decode step is also replayed from a CUDA graph.
"""

import argparse
import gc
import json
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import time_stage
from modelmeter.hardware.roofline import machine_of
from modelmeter.live.calibration.calibrate import calibrate
from modelmeter.live.calibration.clock import clock_of, keep_memory
from modelmeter.live.calibration.rates import find_device
from modelmeter.live.calibration.stages import StageRun, Stages
from modelmeter.live.calibration.write import write_device_file
from modelmeter.live.reference.adapter import ExpertsRun
from modelmeter.live.reference.choose import quietly
from modelmeter.live.verification.real_run import SMALL
from modelmeter.models.deepseek_ocr.config import (
    ClipConfig,
    DecoderConfig,
    DeepseekOCRConfig,
    ProjectorConfig,
    SamConfig,
)
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.nn.attention import AttentionKind

RESULTS = Path(__file__).resolve().parent / "results"
GOAL_MEDIAN, GOAL_WORST = 0.10, 0.25
REPEATS = {"vision": 5, "prefill": 9, "decode": 25}


@attrs.frozen(kw_only=True)
class Plan:
    """A model, and the points at which it is measured: (views, batch) of vision, (batch, context) of text."""

    name: str
    config: DeepseekOCRConfig
    pages: tuple[tuple[ViewPlan, int], ...]
    texts: tuple[tuple[int, int], ...]
    attention: AttentionKind = "flash"
    experts: ExpertsRun = "eager"


def one_view(side: int) -> ViewPlan:
    """A page of one view."""
    return ViewPlan.from_grid((1, 1), base_size=side)


def first_layers(number: int) -> DeepseekOCRConfig:
    """The released model with its full vision tower and its first decoder layers."""
    released = DeepseekOCRConfig()
    kinds = released.decoder.mlp_layer_types[:number]
    return attrs.evolve(
        released, decoder=attrs.evolve(released.decoder, num_hidden_layers=number, mlp_layer_types=kinds)
    )


def wide() -> DeepseekOCRConfig:
    """A wider decoder of 3 layers with fewer, larger experts, behind a smaller vision tower."""
    return DeepseekOCRConfig(
        sam=SamConfig(
            width=512, layers=8, heads=8, mlp_dim=2048, downsample_channels=(384, 768), global_attn_indexes=(3, 7)
        ),
        clip=ClipConfig(width=768, layers=12, heads=12, mlp_dim=3072),
        projector=ProjectorConfig(input_dim=1536, n_embed=2048),
        decoder=DecoderConfig(
            hidden_size=2048,
            intermediate_size=5504,
            moe_intermediate_size=1024,
            num_hidden_layers=3,
            num_attention_heads=16,
            num_key_value_heads=16,
            n_routed_experts=32,
            n_shared_experts=1,
            num_experts_per_tok=4,
            mlp_layer_types=("dense", "sparse", "sparse"),
            vocab_size=65536,
        ),
        name="wide",
    )


def narrow() -> DeepseekOCRConfig:
    """A narrower decoder of 5 layers behind a smaller vision tower."""
    return DeepseekOCRConfig(
        sam=SamConfig(
            width=640, layers=6, heads=10, mlp_dim=2560, downsample_channels=(384, 512), global_attn_indexes=(2, 5)
        ),
        clip=ClipConfig(width=512, layers=8, heads=8, mlp_dim=2048),
        projector=ProjectorConfig(input_dim=1024, n_embed=896),
        decoder=DecoderConfig(
            hidden_size=896,
            intermediate_size=4864,
            moe_intermediate_size=640,
            num_hidden_layers=5,
            num_attention_heads=7,
            num_key_value_heads=7,
            n_routed_experts=48,
            mlp_layer_types=("dense", "sparse", "sparse", "sparse", "sparse"),
            vocab_size=32768,
        ),
        name="narrow",
    )


def plans(device: torch.device, *, quick: bool) -> Iterator[Plan]:
    """What is measured on a device."""
    if quick:
        yield Plan(name=SMALL.name, config=SMALL, pages=((one_view(256), 1),), texts=((1, 20), (2, 33)))
        return
    gundam = ViewPlan.from_grid((2, 1))
    if device.type == "cuda":
        pages = (
            *((one_view(side), batch) for side, batch in ((640, 1), (1024, 1), (1024, 8))),
            (gundam, 1),
            (gundam, 8),
        )
        texts = ((1, 371), (1, 913), (16, 913), (4, 2171), (64, 371))
        yield Plan(name="released", config=DeepseekOCRConfig(), pages=pages, texts=texts, experts="grouped_mm")
        return
    pages = ((one_view(512), 2), (one_view(640), 1), (one_view(1024), 1), (gundam, 1))
    texts = ((1, 371), (1, 913), (3, 205), (8, 100))
    yield Plan(name="2 layers", config=first_layers(2), pages=pages, texts=texts)
    name, texts = "2 layers, eager, grouped", ((1, 371), (8, 100))
    kinds: dict[str, Any] = {"attention": "eager", "experts": "grouped_mm"}
    yield Plan(name=name, config=first_layers(2), pages=((one_view(640), 1),), texts=texts, **kinds)
    for config, side in ((wide(), 704), (narrow(), 832)):
        pages = ((one_view(side), 1), (one_view(512), 1))
        yield Plan(name=config.name, config=config, pages=pages, texts=((1, 301), (2, 640), (5, 150)))


def measured(plan: Plan, stages: Stages, *, quick: bool) -> Iterator[tuple[str, StageRun]]:
    """(kind of stage, its run) of each point."""
    repeats = dict.fromkeys(REPEATS, 3) if quick else REPEATS
    for views, batch in plan.pages:
        yield "vision", stages.vision(views, batch, repeats["vision"])
    for batch, context in plan.texts:
        yield "prefill", stages.prefill(batch, context, repeats["prefill"])
        yield "decode", stages.decode(batch, context, repeats["decode"])
        if stages.clock.device.type == "cuda":
            try:
                yield "decode graph", stages.decode_graph(batch, context, repeats["decode"])
            except ModelMeterError as error:
                print(f"  {error}")


def compared(plan: Plan, machine: Machine, device: torch.device, *, quick: bool) -> Iterator[dict[str, Any]]:
    """One row a stage, run on `device`: what was measured, and each level beside it."""
    with quietly():
        stages = Stages(plan.config, clock_of(device), attention=plan.attention, experts=plan.experts)
        for kind, run in measured(plan, stages, quick=quick):
            execution = "graph" if kind == "decode graph" else "eager"
            seconds = time_stage(run.twin, attrs.evolve(machine, execution=execution)).seconds
            timing = run.timing
            row = {"model": plan.name, "kind": kind, "stage": run.name, "measured": attrs.asdict(timing)}
            row |= {"spread": timing.spread, "experts_reached": run.experts_reached}
            row |= {"bound": seconds.bound, "roofline": seconds.roofline, "calibrated": seconds.calibrated}
            row["error"] = seconds.predicted / timing.seconds - 1
            print(
                f"  {run.name}: measured {timing.seconds * 1e3:.1f} ms (spread {timing.spread:.1%}), calibrated "
                f"{seconds.predicted * 1e3:.1f} ({row['error']:+.1%}), roofline {seconds.roofline * 1e3:.1f}, "
                f"bound {seconds.bound * 1e3:.1f}",
                flush=True,
            )
            yield row


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median and worst error of all rows and of each kind, and whether the goal is met."""
    kinds = {"all": list(rows)} | {kind: [r for r in rows if r["kind"] == kind] for kind in {r["kind"] for r in rows}}
    found: dict[str, Any] = {}
    for kind, of_kind in sorted(kinds.items()):
        errors = [abs(row["error"]) for row in of_kind]
        found[kind] = {"stages": len(errors), "median_error": statistics.median(errors), "worst_error": max(errors)}
    whole = found["all"]
    found["goal_met"] = whole["median_error"] <= GOAL_MEDIAN and whole["worst_error"] <= GOAL_WORST
    found["bound_never_above"] = all(row["bound"] <= row["measured"]["low"] for row in rows)
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The stages as a Markdown table, milliseconds."""
    lines = ["| model | stage | measured | spread | bound | roofline | calibrated | error |"]
    lines.append("| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        times = [row["measured"]["seconds"], row["bound"], row["roofline"], row["calibrated"]]
        measured, *levels = [f"{seconds * 1e3:,.1f}" for seconds in times]
        cells = [
            row["model"],
            row["stage"],
            measured,
            f"{row['spread']:.1%}",
            *levels,
            f"{row['error']:+.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Each level over the measurement, a line a stage."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams |= {"svg.hashsalt": "calibration", "svg.fonttype": "none"}
    figure = Figure(figsize=(9, 0.32 * len(rows) + 1.6), layout="constrained")
    axes = figure.subplots()
    places = list(range(len(rows), 0, -1))
    axes.axvspan(1 - GOAL_MEDIAN, 1 + GOAL_MEDIAN, color="0.88", label="within 10%")
    axes.axvline(1, color="0.5", linewidth=0.8)
    for level, marker, colour in (
        ("bound", "|", "tab:blue"),
        ("roofline", "x", "tab:orange"),
        ("calibrated", "o", "tab:green"),
    ):
        ratios = [row[level] / row["measured"]["seconds"] for row in rows]
        axes.plot(ratios, places, marker, color=colour, label=level)
    for row, place in zip(rows, places, strict=True):
        times = row["measured"]
        axes.plot(
            [times["low"] / times["seconds"], times["high"] / times["seconds"]],
            [place, place],
            color="0.3",
            linewidth=1,
        )
    axes.margins(y=0.02)
    axes.set_xscale("log")
    axes.set_xticks([0.1, 0.2, 0.5, 0.75, 1, 1.25, 2], ["0.1", "0.2", "0.5", "0.75", "1", "1.25", "2"])
    axes.set_yticks(places, [f"{row['model']}: {row['stage']}" for row in rows], fontsize=7)
    axes.set_xlabel("predicted / measured (grey bars: lowest and highest measurement)")
    axes.legend(loc="upper left", fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Calibrate, run, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device-file", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    where = find_device(arguments.device)
    name = arguments.output or RESULTS / f"calibration-{where.type}"
    torch.set_num_threads(arguments.threads)
    keep_memory()
    file = arguments.device_file or name.with_name(f"{name.name.removeprefix('calibration-')}-device.toml")
    if arguments.device_file is None:
        print("calibrating", flush=True)
        write_device_file(calibrate(arguments.device, quick=arguments.quick, threads=arguments.threads), file)
    machine = machine_of(file)
    before, rows = os.getloadavg()[0], []
    for plan in plans(where, quick=arguments.quick):
        print(plan.name, flush=True)
        rows += compared(plan, machine, where, quick=arguments.quick)
        gc.collect()
    provenance = dict(machine.calibration.provenance) if machine.calibration else {}
    result = {
        "schema": "modelmeter.calibration-proof/1",
        "device": machine.device.title,
        "threads": torch.get_num_threads(),
        "clock": getattr(clock_of(where), "name", "wall clock, device idle before and after"),
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
        "summary": summary(rows),
        "calibration": {key: value for key, value in provenance.items() if key != "fit"},
        "stages": rows,
    }
    name.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(rows, name.with_suffix(".svg"))
    print(table(rows))
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    main()
