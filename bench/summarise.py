"""Sums up a run of the benchmarks: a table of goals and figures, and with --baseline the committed figures anew.

python bench/summarise.py build/bench.json [--baseline] [--check]

--baseline writes bench/results/baseline.json and the table in bench/README.md; --check exits 1 if a median misses its
goal. Spread is the middle half of the rounds (interquartile range).
"""

import argparse
import json
import os
import platform
import re
import statistics
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "results" / "baseline.json"
README = HERE / "README.md"
UNITS = {"s": 1.0, "ms": 1e3}  # of pytest-benchmark's seconds
HEAD = ("what", "goal", "median", "fastest", "spread", "rounds")


def figures(result: dict) -> dict:
    """What is kept of one benchmark: its own `values` (ratios, memory), else its times, in the unit of its goal."""
    info = result["extra_info"]
    values = info.get("values") or [seconds * UNITS[info["unit"]] for seconds in result["stats"]["data"]]
    low, _, high = statistics.quantiles(values, n=4)
    return {
        "name": result["name"],
        "what": info["what"],
        "unit": info["unit"],
        "goal": info["goal"],
        "median": short(statistics.median(values)),
        "min": short(min(values)),
        "spread": [short(low), short(high)],
        "rounds": len(values),
        **({"note": info["note"]} if "note" in info else {}),
    }


def short(value: float) -> float:
    """Four digits: more is noise."""
    return float(f"{value:.4g}")


def summary(path: Path) -> dict:
    """The run: on what it was measured, and its figures."""
    results = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    modelmeter = re.search(r'__version__ = "(.+)"', (HERE.parent / "src/modelmeter/_version.py").read_text())
    return {
        "machine": {"processors": os.cpu_count(), "architecture": platform.machine(), "system": platform.system()},
        "versions": {
            "modelmeter": modelmeter.group(1) if modelmeter else "unknown",
            "python": platform.python_version(),
            "numpy": version("numpy"),
        },
        "benchmarks": [figures(result) for result in results],
    }


def row(found: dict) -> tuple[str, ...]:
    """One line of the table."""
    unit = found["unit"]
    low, high = found["spread"]
    note = f" ({found['note']})" if "note" in found else ""
    goal = "" if found["goal"] is None else f"{found['goal']:g} {unit}"
    numbers = (f"{found['median']:.3g} {unit}{note}", f"{found['min']:.3g}", f"{low:.3g} to {high:.3g}")
    return (found["what"], goal, *numbers, str(found["rounds"]))


def table(run: dict) -> str:
    """The figures as a Markdown table."""
    rows = [HEAD, (":---", *["---:"] * (len(HEAD) - 1)), *[row(found) for found in run["benchmarks"]]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows) + "\n"


def write_baseline(run: dict) -> None:
    """Replace the committed figures."""
    BASELINE.parent.mkdir(exist_ok=True)
    BASELINE.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
    before, rest = text.split(begin)
    README.write_text(before + begin + "\n" + table(run) + "\n" + end + rest.split(end)[1], encoding="utf-8")


def compare(run: dict) -> list[str]:
    """One line a benchmark: its median against its goal and against the committed baseline."""
    baseline = json.loads(BASELINE.read_text(encoding="utf-8"))["benchmarks"] if BASELINE.exists() else []
    known = {found["name"]: found for found in baseline}
    lines = []
    for found in run["benchmarks"]:
        goal = "" if found["goal"] is None else f"  goal {found['goal']:g}: {'met' if is_met(found) else 'MISSED'}"
        before = known.get(found["name"])
        change = f"  {found['median'] / before['median']:.2f} x baseline" if before else "  new"
        lines.append(f"{found['median']:9.4g} {found['unit']:<3} {change:<16} {goal:<18} {found['what']}")
    return lines


def is_met(found: dict) -> bool:
    """Whether the median keeps the goal, if there is one."""
    return found["goal"] is None or found["median"] <= found["goal"]


def main() -> int:
    """0, or 1 with --check and a goal missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path, help="what pytest-benchmark wrote")
    parser.add_argument("--baseline", action="store_true", help="write the committed figures anew")
    parser.add_argument("--check", action="store_true", help="exit 1 if a median misses its goal")
    arguments = parser.parse_args()
    run = summary(arguments.json)
    if arguments.baseline:
        write_baseline(run)
    print("\n".join(compare(run)))
    return int(arguments.check and not all(map(is_met, run["benchmarks"])))


if __name__ == "__main__":
    sys.exit(main())
