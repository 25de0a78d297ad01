"""Verify the twins at random points: image sizes and modes, batches, contexts, cache lengths, configurations.

    python tools/verify_all.py [--points 60] [--seed N]

Every exact quantity has to be equal and every other inside its bound. Prints a line a point; exits 1 if one fails, with
what it takes to run that point again. Needs the extra `live`.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator

from modelmeter.live.reference.adapter import ExpertsRun
from modelmeter.live.reference.transformers5 import UnlimitedOcr
from modelmeter.live.verification.verify import Point, verify
from modelmeter.models.deepseek_ocr.config import (
    ClipConfig,
    DecoderConfig,
    DeepseekOCRConfig,
    MlpKind,
    ProjectorConfig,
    SamConfig,
)
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views
from modelmeter.nn.attention import AttentionKind

POINTS_A_MODEL = 4
MODES = ("tiny", "small", "base", "large", "gundam")


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=60, help="how many points (default 60)")
    parser.add_argument("--seed", type=int, default=None, help="where the random numbers start (default: the time)")
    chosen = parser.parse_args()
    seed = int(time.time()) if chosen.seed is None else chosen.seed
    print(f"{chosen.points} points, seed {seed}")
    failed = done = 0
    for name, adapter, points in models(random.Random(seed), chosen.points):
        for comparison in verify(adapter, points).comparisons:
            done += 1
            failed += not comparison.ok
            print(f"{done:4d} {'ok  ' if comparison.ok else 'FAIL'} {name}: {describe(comparison.point)}", flush=True)
            for missing in (*comparison.unpriced, *comparison.unmatched):
                print(f"       {missing}")
            for row in comparison.rows:
                for check in row.checks:
                    if not check.ok:
                        print(f"       {row.path or 'the whole'} ({row.layer}): {check}")
                for operator in row.operators:
                    if not operator.ok:
                        print(f"       {row.path or 'the whole'} ({row.layer}): {operator}")
    if failed:
        print(f"{failed} of {done} points failed: run them again with --points {chosen.points} --seed {seed}")
        return 1
    print(f"All {done} points verified.")
    return 0


def models(rng: random.Random, points: int) -> Iterator[tuple[str, UnlimitedOcr, list[Point]]]:
    """(name, real model, points of it), until there are `points` of them; every third is the released model."""
    number = 0
    while points > 0:
        attention: AttentionKind = rng.choice(("eager", "eager", "flash"))
        experts: ExpertsRun = rng.choice(("eager", "eager", "batched_mm", "grouped_mm"))
        config = DeepseekOCRConfig() if number % 3 == 0 else variant(rng, attention)
        size = "released" if number % 3 == 0 else "changed "
        wanted = [point(rng, config) for _ in range(min(points, POINTS_A_MODEL))]
        yield f"{size} {attention}, experts {experts}", UnlimitedOcr(config, attention, experts), wanted
        points -= len(wanted)
        number += 1


def variant(rng: random.Random, attention: AttentionKind) -> DeepseekOCRConfig:
    """A configuration with other sizes everywhere that the architecture allows.

    transformers' eager core takes as many KV heads as heads, or one.
    """
    sam_heads, clip_heads = rng.choice((2, 3, 4)), rng.choice((2, 4))
    clip_width = clip_heads * rng.choice((16, 32, 64))
    sam_layers = rng.randint(2, 5)
    sam = SamConfig(
        image_size=rng.choice((512, 1024)),
        width=sam_heads * rng.choice((16, 32)),
        layers=sam_layers,
        heads=sam_heads,
        mlp_dim=rng.choice((64, 200)),
        out_channels=rng.choice((32, 48)),
        downsample_channels=(rng.choice((40, 64)), clip_width),
        window_size=rng.choice((7, 8, 14)),
        global_attn_indexes=tuple(sorted(rng.sample(range(sam_layers), rng.randint(1, sam_layers)))),
        qkv_bias=rng.random() < 0.7,
    )
    heads, layers = rng.choice((2, 4, 6)), rng.randint(2, 5)
    kv_heads = (1, heads) if attention == "eager" else (1, 2, heads)
    hidden = heads * rng.choice((32, 64, 128))
    experts = rng.choice((4, 8, 24, 64))
    kinds: tuple[MlpKind, ...] = tuple(rng.choice(("dense", "sparse")) for _ in range(layers))
    decoder = DecoderConfig(
        hidden_size=hidden,
        intermediate_size=rng.choice((128, 344, 1000)),
        moe_intermediate_size=rng.choice((32, 96)),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=rng.choice(kv_heads),
        n_routed_experts=experts,
        n_shared_experts=rng.randint(1, 3),
        num_experts_per_tok=rng.randint(1, min(6, experts)),
        mlp_layer_types=kinds,
        vocab_size=rng.choice((1000, 5003)),
        attention_bias=rng.random() < 0.3,
        mlp_bias=False,
    )
    clip = ClipConfig(width=clip_width, layers=rng.randint(1, 4), heads=clip_heads, mlp_dim=rng.choice((64, 160)))
    return DeepseekOCRConfig(
        sam=sam,
        clip=clip,
        projector=ProjectorConfig(input_dim=2 * clip_width, n_embed=hidden),
        decoder=decoder,
        name="changed",
    )


def point(rng: random.Random, config: DeepseekOCRConfig) -> Point:
    """A stage with sizes."""
    batch, stage = rng.choice((1, 1, 2, 3)), rng.choice(("vision", "prefill", "page", "decode"))
    if stage == "prefill":
        return Point(stage="prefill", batch=batch, context_len=rng.randint(20, 700))
    if stage == "decode":
        return Point(stage="decode", batch=batch, context_len=rng.randint(100, 4000))
    views = page(rng)
    if stage == "vision":
        return Point(stage="vision", batch=batch, views=views)
    return Point(stage="page", batch=batch, context_len=views.image_tokens + rng.randint(1, 80), views=views)


def page(rng: random.Random) -> ViewPlan:
    """The views of an image of random size in a random mode."""
    return plan_views(rng.randint(200, 3000), rng.randint(200, 3000), mode=rng.choice(MODES))


def describe(point: Point) -> str:
    """A point in words."""
    views = "" if point.views is None else f", views {point.views.views}"
    tokens = "" if point.stage == "vision" else f", {point.context_len} tokens"
    return f"{point.stage}, batch {point.batch}{tokens}{views}"


if __name__ == "__main__":
    sys.exit(main())
