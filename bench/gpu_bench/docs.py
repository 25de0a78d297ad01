"""docs/accuracy.md: what its marked blocks say of the committed results, from these files alone.

A block stands between `<!-- accuracy: name -->` and `<!-- end -->`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gpu_bench.tables import SCHEMA, check_table, heading, left_out, section_table, stage_table, summary_table
from modelmeter.report.grid import Table, markdown_table

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = ROOT / "bench" / "results"
PAGE: Final = ROOT / "docs" / "accuracy.md"
COMMAND: Final = "python bench/gpu.py --docs"
PROOFS: Final = ("calibration-cpu", "calibration-cpu-2-threads")
KINDS: Final = ("vision", "prefill", "decode", "all")
SHOWN: Final = ("graphs", "pages", "large", "overhead", "scaling")
NONE_YET: Final = (
    "Nothing yet: no CUDA device was at hand so far, so there is no `bench/results/gpu-*.json`. Times for GPUs are\n"
    "what data sheets say until one is measured."
)
_MARKED: Final = re.compile(r"<!-- accuracy: (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def cpu(results: Path) -> str:
    """The errors of calibrated times in the committed proofs, a row a kind of stage."""
    rows = [row for name in PROOFS for row in _proof(results / f"{name}.json")]
    columns = ("where", "stages", "number", "median error", "worst error", "bound above a measurement")
    return "\n".join(markdown_table(Table(title="", columns=columns, rows=tuple(rows), text_columns=2)))


def _proof(file: Path) -> Iterator[tuple[str, ...]]:
    found = json.loads(file.read_text(encoding="utf-8"))
    where = f"{found['device']}, {found['threads']} thread{'s' * (found['threads'] > 1)}, {found['clock']}"
    for kind in KINDS:
        rows = [row for row in found["stages"] if kind in ("all", row["kind"])]
        above = sum(row["bound"] > row["measured"]["low"] for row in rows)
        one = found["summary"][kind]
        errors = f"{one['median_error']:.1%}", f"{one['worst_error']:.1%}"
        yield (where, kind, str(one["stages"]), *errors, f"{above} of {len(rows)}")


def gpu(results: Path) -> str:
    """A section for each GPU that was measured."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob("gpu-*.json"))]
    whole = [one for one in found if one["schema"] == SCHEMA and not one["arguments"]["quick"]]
    return "\n\n".join(_device(one) for one in whole) or NONE_YET


def _device(found: Mapping[str, Any]) -> str:
    """Heading, the tables that tell how far both are apart, and what was not measured."""
    provenance, driver = found["provenance"], found["driver"]
    facts = [provenance["date"][:10], f"modelmeter {provenance['modelmeter']}"]
    facts += [f"driver {driver['driver_version']}"] if driver else []
    parts = [f"### {found['device']['title']}", f"{heading(found)}. {', '.join(facts)}."]
    sections = {section["name"]: section for section in found["sections"]}
    tables = [summary_table(found["predictions"])]
    tables += [section_table(sections[name]) for name in SHOWN if name in sections]
    tables += [stage_table(found["predictions"]), check_table(found["checks"])]
    for table in tables:
        if table is not None:
            parts.append("\n".join([f"{table.title}:", "", *markdown_table(table)]))
    lines = left_out(found)
    if lines:
        parts.append("\n".join(["Not measured, and notes:", "", *[f"- {line}" for line in lines]]))
    return "\n\n".join(parts)


BLOCKS: Final[dict[str, Callable[[Path], str]]] = {"cpu": cpu, "gpu": gpu}


def refresh(text: str, results: Path = RESULTS) -> str:
    """A page with its marked blocks made anew."""
    return _MARKED.sub(lambda m: f"<!-- accuracy: {m[1]} -->\n\n{BLOCKS[m[1]](results)}\n\n<!-- end -->", text)


def write() -> bool:
    """Make the page's blocks anew; whether they were stale."""
    text = PAGE.read_text(encoding="utf-8")
    new = refresh(text)
    PAGE.write_text(new, encoding="utf-8")
    return new != text
