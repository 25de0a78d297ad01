"""A small real model on the CPU, run pass by pass: a drawn page with tiles, a prefill, decode steps."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal, cast

import attrs
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache

from modelmeter.live.recording.flops import FLOP_FORMULAS
from modelmeter.live.reference.transformers5 import SDPA_OR_EAGER, build, config_like
from modelmeter.live.shadow.hooks import hooked
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stage import analytic_stage
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.live.verification.real_run import SMALL, VIEWS
from modelmeter.models.deepseek_ocr.config import Conventions

Attention = Literal["eager", "flash"]
Experts = Literal["eager", "grouped_mm"]
TEXT = 6  # tokens beside the image
CONTEXT = VIEWS.image_tokens + TEXT
STEPS = 8


def conventions_of(attention: Attention = "eager", experts: Experts = "eager") -> Conventions:
    """How `small_model` runs here: positions shared by a batch, logits of the last position."""
    run: Literal["loop", "grouped"] = "loop" if experts == "eager" else "grouped"
    return Conventions(implementation="transformers", attention=attention, experts=run, logits="last")


@cache
def small_model(attention: Attention = "eager", experts: Experts = "eager") -> Any:
    """Random bf16 weights; the same object for all who ask."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(config_like(SMALL), attention=SDPA_OR_EAGER[attention], experts=experts)
    model.config.image_token_id = SMALL.decoder.vocab_size - 1
    return model


def page() -> Image.Image:
    """A page with lines of text on it, twice as wide as high."""
    picture = Image.new("RGB", (600, 300), "white")
    draw = ImageDraw.Draw(picture)
    for line in range(12):
        draw.text((20, 20 + 22 * line), f"{line + 1}. The quick brown fox jumps over the lazy dog", fill="black")
    return picture


def page_inputs(batch: int) -> dict[str, torch.Tensor | list[Any]]:
    """The page for each sequence: a global view and 2 x 1 tiles, normalised to -1..1, and ids with text."""
    tile = VIEWS.tile_size or 0
    wide = page().resize((tile * VIEWS.grid[0], tile * VIEWS.grid[1]))
    tiles = [wide.crop((tile * i, 0, tile * (i + 1), tile)) for i in range(VIEWS.grid[0])]
    ids = torch.full((batch, CONTEXT), SMALL.decoder.vocab_size - 1)
    ids[:, VIEWS.image_tokens :] = torch.arange(batch * TEXT).reshape(batch, TEXT)
    whole = pixels(page().resize((VIEWS.base_size, VIEWS.base_size)))
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": whole.expand(batch, -1, -1, -1),
        "pixel_values_local": torch.cat([pixels(x) for x in tiles] * batch),
        "num_local_patches": [VIEWS.num_tiles] * batch,
        "patches_grid": [list(VIEWS.grid)] * batch,
    }


def pixels(picture: Image.Image) -> torch.Tensor:
    """[1 3 h w] in bf16."""
    raw = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    scaled = raw.reshape(picture.height, picture.width, 3).permute(2, 0, 1) / 127.5 - 1
    return scaled.to(torch.bfloat16).unsqueeze(0)


@attrs.frozen(kw_only=True)
class Ran:
    """What a run left behind; `flops` counted all of it."""

    stats: AnalyticRunStats
    conventions: Conventions
    batch: int
    cache: Any
    logits: torch.Tensor
    flops: FlopCounterMode


def run(
    model: nn.Module,
    conventions: Conventions,
    *,
    batch: int = 1,
    steps: int = STEPS,
    experts: bool = False,
    shadow: Shadow | None = None,
    hooks: bool = True,
) -> Ran:
    """Prefill of the page and `steps` decode steps, greedily; under hooks unless told otherwise."""
    shadow = shadow or Shadow(SMALL, conventions, stats=AnalyticRunStats())
    shadow.set_views(VIEWS)
    forward = cast(Callable[..., Any], model)
    kept = DynamicCache(config=cast(Any, model).config.text_config)
    counter = FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS)
    watching: AbstractContextManager[Any] = hooked(model, shadow, experts=experts) if hooks else nullcontext()
    more: dict[str, Any] = {"past_key_values": kept, "use_cache": True, "logits_to_keep": 1}
    logits = []
    with torch.no_grad(), watching, counter:
        with analytic_stage("prefill"):
            logits.append(forward(**page_inputs(batch), **more).logits)
        for step in range(steps):
            mask = torch.ones(batch, CONTEXT + step + 1, dtype=torch.long)
            with analytic_stage("decode"):
                token = logits[-1][:, -1:].argmax(-1)
                logits.append(forward(input_ids=token, attention_mask=mask, **more).logits)
    return Ran(
        stats=shadow.stats,
        conventions=conventions,
        batch=batch,
        cache=kept,
        logits=torch.cat(logits, 1),
        flops=counter,
    )
