"""The study of real documents: how their pages, grouped by the views that they become, spread over tokens and cost."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.views import MODES, plan_views
from modelmeter.sweeps.studies.setup import Setup, make_study
from modelmeter.sweeps.study import Study

DECODE_STEPS: Final = 512


def pages(
    setup: Setup,
    sizes: Iterable[tuple[int, int]],
    *,
    mode: str = "gundam",
    max_tiles: int = 9,
    prompt_tokens: int = 10,
    decode_steps: int = DECODE_STEPS,
) -> Study:
    """Vision, prefill, decode steps and whole runs of pages of (width, height) pixels.

    Pages that become the same views cost the same: they are one point, whose coordinate `pages` says how many. Each is
    run by itself. Raises `ModelMeterError` where there are no pages.
    """
    by_size = Counter(sizes)
    if not by_size:
        raise ModelMeterError("the study pages has no pages: name a directory of documents, files, or a CSV of sizes")
    counts: Counter[tuple[int, int]] = Counter()
    for (width, height), count in by_size.items():
        counts[plan_views(width, height, mode=mode, max_tiles=max_tiles).grid] += count
    grids = sorted(counts, key=lambda grid: (grid[0] * grid[1], grid))
    base, tile = MODES[mode]
    over = {"grid": grids, "base_size": base, "batch_size": 1} | ({} if tile is None else {"tile_size": tile})
    lengths = {"prompt_tokens": prompt_tokens}
    steps = {**lengths, "decode_tokens": decode_steps}
    stages = {"vision": {}, "prefill": lengths, "decode": steps, "run": steps}
    about = {"long_name": "pages that become these views"}
    datasets = {
        stage: setup.sweep({**over, **more}, stage).assign_coords(pages=("grid", [counts[g] for g in grids], about))
        for stage, more in stages.items()
    }
    text = f"How {counts.total():,} pages spread over image tokens, cost and time in mode {mode}."
    return make_study("pages", text, datasets)
