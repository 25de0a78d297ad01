"""Hooks, twin, FLOP counter and real cache say the same: at tolerance 0, on this device's own kernels."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from gpu_bench.bench import Bench, Row
from modelmeter.models.deepseek_ocr.views import ViewPlan

if TYPE_CHECKING:
    from gpu_bench.watched import Watched
    from modelmeter.live.session.session import DeepSeekOCRSession

NAME = "equality"
PROMPT_TOKENS = 10
STEPS = 8
OTHER_LAYERS = 2
"""Decoder layers of the second model, which runs the other kernels: eager attention, a loop over experts."""


def equality(bench: Bench) -> Iterator[Row]:
    """A row a model and batch: a page with tiles, and decode steps after it."""
    views = ViewPlan.from_grid((2, 1), base_size=256, tile_size=128) if bench.quick else ViewPlan.from_grid((2, 1))
    points: list[tuple[str, Callable[[], Row]]] = [
        (f"{bench.config.decoder.num_hidden_layers} layers, batch {batch}", partial(_own, bench, views, batch))
        for batch in (1, 2)
    ]
    points.append((f"{OTHER_LAYERS} layers, eager, expert by expert, batch 2", partial(_other, bench, views, 2)))
    yield from bench.points(points)


def _own(bench: Bench, views: ViewPlan, batch: int) -> Row:
    return _row(bench, bench.session, views, batch)


def _other(bench: Bench, views: ViewPlan, batch: int) -> Row:
    from modelmeter.live.session.session import DeepSeekOCRSession

    layers = min(OTHER_LAYERS, bench.config.decoder.num_hidden_layers)
    return _row(
        bench, DeepSeekOCRSession.from_config(bench.config, device=str(bench.device), layers=layers), views, batch
    )


def _row(bench: Bench, session: "DeepSeekOCRSession", views: ViewPlan, batch: int) -> Row:
    from gpu_bench.watched import watch

    inputs = session.synthetic_inputs(views.image_tokens + PROMPT_TOKENS, batch_size=batch, views=views)
    found = watch(session, inputs, STEPS)
    row = compared(found)
    check_equal(bench, f"{len(session.points.layers)} layers, {session.conventions.attention}, batch {batch}", found)
    return row


def compared(found: "Watched") -> Row:
    """Both sides of a watched run, as plain data."""
    differences = found.module_differences
    return {
        "passes": 1 + found.steps,
        "records": found.records,
        "counted_flops": found.counted,
        "whole_difference": found.whole_difference,
        "module_difference": max(differences.values(), key=abs, default=0),
        "modules_that_differ": differences,
        "kv_difference": found.kv_hooked - found.kv_measured,
        "kv_cache_bytes": found.kv_measured,
        "experts_reached": {stage: found.reached(stage) for stage in ("prefill", "decode")},
    }


def check_equal(bench: Bench, name: str, found: "Watched") -> None:
    """Keep whether hooks and counter agree, module by module and in all, and hooks and cache."""
    row = compared(found)
    flops = row["whole_difference"] == 0 and not row["modules_that_differ"]
    bench.check(f"hooks = FLOP counter: {name}", flops, counted_flops=found.counted)
    bench.check(f"hooks = KV cache: {name}", row["kv_difference"] == 0, bytes=found.kv_measured)
