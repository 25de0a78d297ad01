"""All that is measured on a CUDA device, in one command of at most 8 minutes, with random weights.

python bench/gpu.py [--device cuda:0] [--budget 480] [--layers N] [--quick] [--transformers WHEEL_OR_DIR]
                    [-o bench/results/gpu-NAME.json]

The full model in bf16: hooks against FLOP counter and cache, pages and batches, decode steps eager and from a CUDA
graph, what hooks take, measured scaling, calibration, and predictions beside all of it. Every section stands alone: one
that fails, lacks memory or has no time left says so, and the next begins. The result is written whole after every point
(schema "modelmeter.gpu-bench/1"), the calibrated device beside it as NAME-device.toml. It ends with code 0 where every
check holds and no section failed, 1 otherwise.

--quick runs a small model at a few points, to try it out, also with --device cpu. Without a transformers that has the
architecture (5.23) the device is calibrated and predictions are printed without measurements beside them;
--transformers takes another one than the installed: a wheel, or a folder with the package. --show FILE prints the
tables of a result that is there, --docs puts all committed results into docs/accuracy.md.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

STARTED = time.monotonic()
HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
sys.path.insert(0, str(HERE.parent / "src"))  # this repository's modelmeter, installed or not
INTERRUPTED = 130


def main() -> int:
    """Measure, or show what was measured."""
    options = _options()
    if options.show is not None:
        return _show(options.show)
    if options.docs:
        return _docs()
    from gpu_bench.newer import Unusable, use_transformers
    from gpu_bench.standin import stand_in

    stand_in()
    notes = []
    with tempfile.TemporaryDirectory(prefix="modelmeter-gpu-") as folder:
        if options.transformers is not None:
            try:
                found = use_transformers(options.transformers, Path(folder))
                notes.append(f"transformers {found} from {options.transformers.name}")
            except Unusable as error:
                notes.append(f"--transformers is not used: {error}")
        return _measure(options, notes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="cuda:0, cuda:1, ... or cpu")
    parser.add_argument("--budget", type=float, default=480.0, help="seconds, the start of Python included")
    parser.add_argument("--layers", type=int, help="decoder layers; by default all")
    parser.add_argument("--quick", action="store_true", help="a small model, a few points")
    parser.add_argument("--transformers", type=Path, help="a wheel, or a folder with the package")
    parser.add_argument("-o", "--output", type=Path, help="the JSON file; by default in bench/results")
    parser.add_argument("--docs", action="store_true", help="write the figures of docs/accuracy.md, measure nothing")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the tables of a result, measure nothing")
    return parser.parse_args()


def _show(file: Path) -> int:
    from gpu_bench.report import show
    from gpu_bench.tables import SCHEMA

    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(f"bench/gpu.py: {file} is no result of this script: {error}", file=sys.stderr)
        return 2
    show(found)
    return 0


def _docs() -> int:
    from gpu_bench.docs import PAGE, write

    print(f"{PAGE.name}: {'written anew' if write() else 'was up to date'}")
    return 0


def _measure(options: argparse.Namespace, notes: list[str]) -> int:
    from modelmeter.live.reference.choose import quietly

    with quietly():
        from gpu_bench.everything import Asked, run

        from modelmeter.core.errors import ModelMeterError

        asked = Asked(
            device=options.device,
            budget=options.budget,
            layers=options.layers,
            quick=options.quick,
            output=options.output,
            started=STARTED,
            results=RESULTS,
        )
        try:
            return run(asked, notes)
        except ModelMeterError as error:
            print(f"bench/gpu.py: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted: what was measured so far is in the file", file=sys.stderr)
            return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
