"""Predicts an H200 from single operators that were timed on one, and compares with the whole model there.

python bench/probe.py [bench/results/h200-probe.json] [--device h200] [-o bench/results/h200-comparison.json]

The file is a `gpu_probe.json`; `modelmeter.live.calibration.probe` says which of its rows the fit sees. Without
the file there is nothing to compare, and that is said.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from modelmeter.hardware.catalogue import get_device
from modelmeter.live.calibration.probe import Compared, Probe, read_probe

RESULTS = Path(__file__).resolve().parent / "results"


def errors(rows: Sequence[Compared]) -> dict[str, Any]:
    """How many, and their median and worst error."""
    found = [abs(row.error) for row in rows]
    return {"rows": len(found), "median_error": statistics.median(found), "worst_error": max(found)} if found else {}


def result(probe: Probe, device: str) -> dict[str, Any]:
    """Everything as plain data."""
    kinds = sorted({row.kind for row in (*probe.operators, *probe.stages)})
    unseen = [row for row in (*probe.operators, *probe.stages) if not row.fitted]
    return {
        "schema": "modelmeter.probe-comparison/1",
        "device": device,
        "host_seconds": probe.host_seconds,
        "efficiencies": {kind: attrs.asdict(one.efficiency) for kind, one in probe.fitted.items()},
        "not_fitted": {kind: errors([row for row in unseen if row.kind == kind]) for kind in kinds},
        "operators": [attrs.asdict(row) | {"error": row.error} for row in probe.operators],
        "stages": [attrs.asdict(row) | {"error": row.error} for row in probe.stages],
    }


def main() -> None:
    """Fit, predict, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("probe", nargs="?", type=Path, default=RESULTS / "h200-probe.json")
    parser.add_argument("--device", default="h200")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "h200-comparison.json")
    arguments = parser.parse_args()
    if not arguments.probe.is_file():
        print(f"{arguments.probe.name} is not there: nothing to compare")
        return
    found = result(read_probe(arguments.probe, get_device(arguments.device)), arguments.device)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for kind, one in found["not_fitted"].items():
        if one:
            print(f"{kind:16s} {one['rows']:4d} rows, median {one['median_error']:.1%}, worst {one['worst_error']:.1%}")
    for stage in found["stages"]:
        print(f"{stage['name']:32s} {stage['measured'] * 1e3:9.2f} ms, predicted {stage['predicted'] * 1e3:9.2f}")


if __name__ == "__main__":
    main()
