"""What shadow hooks take of a run: the same page with and without them, in turn.

python bench/hook_overhead.py [--pairs 9] [--threads 1] [--small] [-o bench/results/hook-overhead.json] [--check]

Random weights at the released width with two decoder layers, on the CPU: a page in Base mode is prefilled (vision in
it) and 16 tokens are decoded. Each pair runs it once with hooks and once without, the order turning from pair to pair,
so that a drift of the machine touches both. Ratios are of each pair, on over off: of the passes as a session times
them, of the decode steps alone, and of the whole run, in which hooks are installed and the analytic model is asked; of
that in processor time, too, on which other jobs of the machine have less to say.
"""

import argparse
import json
import os
import platform
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import attrs
import torch
from PIL import Image, ImageDraw

from modelmeter.live.calibration.clock import Timing, keep_memory
from modelmeter.live.session.inputs import PreparedInputs
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL

HERE = Path(__file__).resolve().parent
SCHEMA: Final = "modelmeter.hook-overhead/1"
LAYERS, STEPS, PAIRS = 2, 16, 9
MEASURED: Final = ("passes", "decode", "run", "processor")
GOAL, LIMIT = 1.01, 1.10
"""Of the time without hooks: what is aimed at, and what nothing may pass."""


def page() -> Image.Image:
    """A4 at 150 dpi, lines of text."""
    image = Image.new("RGB", (1240, 1754), "white")
    pen = ImageDraw.Draw(image)
    for top in range(90, 1660, 30):
        pen.text((90, top), "The quick brown fox jumps over the lazy dog, 0123456789 times. " * 3, fill="black")
    return image


def run(session: DeepSeekOCRSession, inputs: PreparedInputs, steps: int, *, hooks: bool) -> dict[str, float]:
    """Seconds of one run."""
    shadow = session.shadow() if hooks else None
    wall, processor = time.perf_counter(), time.process_time()
    with session.start(inputs, shadow=shadow, warm_up=0, repeats=1) as going:
        going.prefill()
        for _ in range(steps):
            going.decode_step()
        result = going.result()
    whole, cpu = time.perf_counter() - wall, time.process_time() - processor
    if result.prefill is None or (shadow is not None and len(shadow.stats.passes) != steps + 1):
        raise RuntimeError("the session did not run as it was asked to")
    decode = sum(result.decode_steps)
    return {"passes": result.prefill.seconds + decode, "decode": decode, "run": whole, "processor": cpu}


def measure(session: DeepSeekOCRSession, inputs: PreparedInputs, steps: int, pairs: int) -> dict[str, Any]:
    """Medians of both, and the ratios of pairs, by what is timed."""
    run(session, inputs, steps, hooks=True)  # caches, allocators, and what both sides import
    run(session, inputs, steps, hooks=False)
    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for pair in range(pairs):
        for hooks in (True, False) if pair % 2 else (False, True):
            found[hooks].append(run(session, inputs, steps, hooks=hooks))
        on, off = found[True][-1], found[False][-1]
        print(f"pair {pair + 1} of {pairs}: passes {on['passes'] / off['passes']:.4f}", flush=True)
    return {name: compared(name, found[True], found[False]) for name in MEASURED}


def compared(name: str, on: list[dict[str, float]], off: list[dict[str, float]]) -> dict[str, Any]:
    """Median seconds with and without hooks, and the ratio's median and spread."""
    ratios = Timing.of([a[name] / b[name] for a, b in zip(on, off, strict=True)])
    return {
        "on_seconds": Timing.of([times[name] for times in on]).seconds,
        "off_seconds": Timing.of([times[name] for times in off]).seconds,
        "ratio": ratios.seconds,
        "spread": {key: value for key, value in attrs.asdict(ratios).items() if key not in ("seconds", "repeats")},
    }


def main() -> int:
    """Measure, print, write; 1 where `--check` finds the limit passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--decode-steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="a small model: tries the script out")
    parser.add_argument("--check", action="store_true", help=f"exit 1 above {LIMIT} times as long")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "hook-overhead.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_memory()
    before = os.getloadavg()[0]
    session = DeepSeekOCRSession.from_config(SMALL if given.small else None, layers=LAYERS)
    inputs = session.prepare_inputs(page(), mode="tiny" if given.small else "base")
    ratios = measure(session, inputs, given.decode_steps, given.pairs)
    result = {
        "schema": SCHEMA,
        "date": date.today().isoformat(),
        "model": session.name,
        "context_len": inputs.context_len,
        "decode_steps": given.decode_steps,
        "pairs": given.pairs,
        "threads": torch.get_num_threads(),
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
        "versions": {name: version(name) for name in ("torch", "transformers")} | {"python": platform.python_version()},
        "goal": GOAL,
        "limit": LIMIT,
        **ratios,
    }
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, found in ratios.items():
        low, high = found["spread"]["first_quartile"], found["spread"]["third_quartile"]
        print(f"{name}: {found['ratio']:.4f} times as long with hooks, quartiles {low:.4f} to {high:.4f}")
    return int(given.check and ratios["passes"]["ratio"] > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
