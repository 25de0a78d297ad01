"""Pages and batches: vision, prefill and decode steps of the whole model, its memory and its cache."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import torch

from gpu_bench.bench import Bench, Row
from gpu_bench.equality import check_equal
from gpu_bench.facts import NOW, driver_facts
from modelmeter.hardware.needs import Needs, Workload
from modelmeter.live.calibration.clock import Timing
from modelmeter.live.verification.verify import STAGE_BOUNDS
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views

NAME, LARGE = "pages", "large"
A4 = (1654, 2339)
"""An A4 page at 200 dpi, pixels: two by three tiles in Gundam mode."""
BATCHES = {"tiny": (1, 16, 64), "base": (1, 4, 16, 64), "gundam": (1, 4, 16, 64)}
MOST = 16
"""The largest batch of the first section. What is larger comes last of all: tensors of over 2**31 elements are where
kernels fail in a way that ends the device for the whole process."""
PROMPT_TOKENS = 10
STEPS = 16
"""Decode steps, of the timed run and of an untimed one before it, which counts FLOPs and experts and meets every length
of the cache: cuDNN's attention, torch 2.11's first choice on Hopper, makes a plan for each new one."""


def page_points(*, quick: bool) -> list[tuple[str, ViewPlan, int]]:
    """(name, views, batch) of what is run, small pages and batches first: what lacks memory or time comes last."""
    if quick:
        small = ViewPlan.from_grid((2, 1), base_size=256, tile_size=128)
        return [(f"small page, batch {batch}", small, batch) for batch in (1, 2)]
    found = [
        (f"{mode}, batch {batch}", plan_views(*A4, mode=mode), batch)
        for mode, batches in BATCHES.items()
        for batch in batches
    ]
    return sorted(found, key=lambda point: point[2])


def pages(bench: Bench) -> Iterator[Row]:
    """A row a page and batch of up to `MOST`, then the clocks that they left behind."""
    yield from _points(bench, lambda batch: batch <= MOST)
    clocks = driver_facts(bench.device, NOW)
    if clocks:
        yield {"name": "clocks after it", **clocks}


def large(bench: Bench) -> Iterator[Row]:
    """A row a page and larger batch."""
    yield from _points(bench, lambda batch: batch > MOST)


def _points(bench: Bench, wanted: Callable[[int], bool]) -> Iterator[Row]:
    points: list[tuple[str, Callable[[], Row]]] = [
        (name, partial(page, bench, name, views, batch))
        for name, views, batch in page_points(quick=bench.quick)
        if wanted(batch)
    ]
    yield from bench.points(points)


def page(bench: Bench, name: str, views: ViewPlan, batch: int) -> Row:
    """One page, `batch` times at once: times, tokens a second, memory and cache beside what the twin says."""
    from gpu_bench.watched import watch
    from modelmeter.live.session.memory import check_room

    session, steps = bench.session, 4 if bench.quick else STEPS
    context = views.image_tokens + PROMPT_TOKENS
    sizes: dict[str, Any] = {"context_len": context, "views": views, "batch_size": batch, "decode_tokens": steps}
    check_room(session.config, session.conventions, session.device, **sizes)
    inputs = session.synthetic_inputs(context, batch_size=batch, views=views)
    watched = watch(session, inputs, steps)
    check_equal(bench, name, watched)
    reached = {stage: watched.reached(stage) for stage in ("prefill", "decode")}
    before = allocated(bench.device)
    result = session.run(inputs, steps + 1)
    took = partial(bench.took, NAME, batch=batch)
    took(f"vision of {name}", "vision", result.vision, views=views)
    took(f"prefill of {name}", "prefill", result.prefill, views=views, context_len=context, reached=reached["prefill"])
    middle = context + (steps - 1) // 2
    took(f"decode of {name}", "decode", result.decode, context_len=middle, reached=reached["decode"])
    stages = {"vision": result.vision, **result.parts, "prefill": result.prefill, "decode": result.decode}
    row: Row = {"batch": batch, "context_len": context, "image_tokens": views.image_tokens, "decode_steps": steps}
    row["times"] = {stage: None if timing is None else attrs.asdict(timing) for stage, timing in stages.items()}
    row["tokens_per_second"] = _rate(batch, result.decode)
    row["pages_per_second_to_first_token"] = _rate(batch, result.prefill)
    row["experts_reached"] = reached
    row["kv_cache"] = _cache(bench, name, batch, context + steps, result.kv_cache_bytes)
    row["peak_memory"] = _peak(bench, name, inputs, steps, before, result.peak_memory_bytes)
    return row


def _rate(batch: int, timing: Timing | None) -> float | None:
    return None if timing is None else batch / timing.seconds


def allocated(device: torch.device) -> int | None:
    """Bytes of tensors on a CUDA device; None where nobody counts them."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None


def twin_of(bench: Bench) -> DeepseekOCRModel:
    """The analytic model that runs as the session's does."""
    return DeepseekOCRModel.from_config(bench.config, **attrs.asdict(bench.session.conventions))


def _cache(bench: Bench, name: str, batch: int, tokens: int, measured: int) -> Row:
    analytic = int(twin_of(bench).kv_bytes_per_token(batch)) * tokens
    bench.check(f"KV cache of {name}, bytes", measured == analytic, measured=measured, analytic=analytic)
    return {"measured": measured, "analytic": analytic}


def _peak(bench: Bench, name: str, inputs: Any, steps: int, before: int | None, measured: int | None) -> Row | None:
    """What the run held beside what was there before, and what the twin says: inputs, activations and cache."""
    if before is None or measured is None:
        return None
    work = Workload(views=inputs.views, context_len=inputs.context_len, decode_tokens=steps)
    analytic = input_bytes(inputs) + Needs(twin_of(bench).engine, work).peak_bytes("run", inputs.batch_size)
    bound = STAGE_BOUNDS["page"]["peak_bytes"]
    found = {"measured": measured - before, "analytic": analytic, "bound": bound}
    near = abs(analytic - found["measured"]) <= bound * found["measured"]
    bench.check(f"peak memory of {name}, within {bound:.0%}", near, **found)
    return found


def input_bytes(inputs: Any) -> int:
    """Bytes of pixels and ids, which lie on the device while a run lasts."""
    images = [] if inputs.images is None else [inputs.images.page, inputs.images.tiles]
    return sum(tensor.nbytes for tensor in (inputs.ids, *images) if tensor is not None)
