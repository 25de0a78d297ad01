"""Writes what the documentation says of verification: blocks of its pages that a run against the real model fills.

Run it as `python tools/make_verification.py` after a change of any number; with `--check` it only names the pages that
are out of date, whatever their date and patch versions. A block stands between `<!-- verified: name -->` and
`<!-- end -->`. Needs the extra `live`.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

from modelmeter import __version__
from modelmeter.live.verification.compare import BOUNDED, Check, Row
from modelmeter.live.verification.points import describe
from modelmeter.live.verification.request import Request, run
from modelmeter.live.verification.selection import Report, Shown
from modelmeter.live.verification.tables import NAMES, relative
from modelmeter.live.verification.verify import LAYER_BOUNDS, STAGE_BOUNDS, STAGES

ROOT: Final = Path(__file__).resolve().parent.parent
COMMAND: Final = "python tools/make_verification.py"
PAGES: Final = (ROOT / "README.md", ROOT / "docs" / "verification.md")
BOUNDED_AT: Final = (
    Request(stage="vision", views="1024x1024"),
    Request(stage="prefill", context_len=(903,)),
    Request(stage="decode", context_len=(1000,)),
)
"""Where the bounds are stated: a view of 1024 px, the image tokens of an A4 page, a thousand tokens cached."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]], words: int = 1) -> str:
    """A Markdown table; all but the first `words` columns are numbers."""
    columns = list(head)
    marks = [*[":---"] * words, *["---:"] * (len(columns) - words)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (columns, marks, *map(list, rows)))


@cache
def verified(request: Request) -> Report:
    """The report of a run. Raises where it is not sound: nothing is written then."""
    report = run(request)
    if not report.ok:
        raise SystemExit(f"not verified, so not written: run `modelmeter verify` ({request})")
    return report


def provenance() -> str:
    """When, and with which versions."""
    packages = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("torch", "transformers"))
    return f"{datetime.now(UTC).date().isoformat()}, modelmeter {__version__}, {packages}"


def stages() -> str:
    """What `modelmeter verify` says of whole stages: exact quantities with their difference, bounded ones."""
    rows = []
    for each in verified(Request()).comparisons:
        total = each.total
        if total is None:
            continue
        flops = total.check("counted_flops")
        exact = [total.check(name) for name in ("parameters", "kv_cache_bytes", "weight_read_bytes")]
        bounded = [total.check(name) for name in ("activation_bytes", "peak_bytes")]
        numbers = f"{flops.measured:,}", str(flops.difference), *[str(check.difference) for check in exact]
        rows.append((describe(each.point), *numbers, *[relative(check) for check in bounded]))
    head = (
        "stage",
        "FLOPs",
        "± FLOPs",
        "± parameters",
        "± KV cache",
        "± weights read",
        "± activations",
        "± peak memory",
    )
    return f"{provenance()}:\n\n{table(head, rows)}"


def reached() -> str:
    """The bounded quantities of stages and of the worst layer of each, with what is allowed."""
    rows = []
    for attention in ("eager", "flash"):
        for asked in BOUNDED_AT:
            request = Request(stage=asked.stage, views=asked.views, context_len=asked.context_len, attention=attention)
            (each,) = verified(request).comparisons
            rows += [(attention, *line) for line in _reached(each)]
    head = ("attention", "where", "activations moved", "allowed", "peak memory", "allowed")
    return f"{provenance()}:\n\n{table(head, rows, words=2)}"


def _reached(each: Shown) -> Iterator[tuple[str, ...]]:
    if each.total is None:
        return
    yield describe(each.point), *_cells([each.total])
    yield f"{each.point.stage}, any layer", *_cells(each.layers)


def _cells(rows: Iterable[Row]) -> Iterator[str]:
    """The largest relative difference of each bounded quantity, and its bound."""
    found = list(rows)
    for quantity in ("activation_bytes", "peak_bytes"):
        checks = [check for row in found for check in row.checks if check.quantity == quantity]
        worst = max(checks, key=_size, default=None)
        yield "" if worst is None else relative(worst)
        yield "" if worst is None else f"{100 * worst.bound:g}%"


def _size(check: Check) -> float:
    return abs(check.relative)


def classes() -> str:
    """Every class of layer: in how many modules it ran, and the largest difference of what is bounded."""
    report = verified(Request())
    names = dict.fromkeys(row.layer for each in report.comparisons for row in each.layers)
    rows = []
    for name in sorted(names):
        found = [row for each in report.comparisons for row in each.layers if row.layer == name]
        activations, _, peak, _ = _cells(found)
        rows.append((f"`{name}`", str(sum(row.times for row in found)), activations, peak))
    return table(("class", "modules in all stages", NAMES["activation_bytes"], NAMES["peak_bytes"]), rows)


def bounds() -> str:
    """How far each bounded quantity may be off."""
    places: dict[str, Mapping[str, float]] = {stage: STAGE_BOUNDS[stage] for stage in STAGES}
    places["any layer"] = LAYER_BOUNDS
    rows = [(NAMES[quantity], *[f"{100 * bound[quantity]:g}%" for bound in places.values()]) for quantity in BOUNDED]
    return table(("quantity", *places), rows)


BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "bounds": bounds,
    "classes": classes,
    "reached": reached,
    "stages": stages,
}
_MARKED: Final = re.compile(r"<!-- verified: ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)


def refresh(text: str) -> str:
    """A page with its marked blocks made anew."""
    return _MARKED.sub(lambda m: f"<!-- verified: {m[1]} -->\n\n{BLOCKS[m[1]]()}\n\n<!-- end -->", text)


def lasting(text: str) -> str:
    """A page without what changes by itself: dates, and the patch level of versions."""
    return re.sub(r"\b(\d+\.\d+)\.\w+", r"\1", re.sub(r"\d{4}-\d{2}-\d{2}", "date", text))


def stale() -> list[Path]:
    """The pages whose blocks are not what a run gives."""
    texts = {path: path.read_text(encoding="utf-8") for path in PAGES}
    return [path for path, text in texts.items() if lasting(refresh(text)) != lasting(text)]


def main() -> None:
    """Refresh the pages, or with `--check` name those that need it."""
    if "--check" in sys.argv[1:]:
        found = stale()
        for path in found:
            print(path.relative_to(ROOT))
        raise SystemExit(f"out of date: run {COMMAND}" if found else 0)
    for path in PAGES:
        path.write_text(refresh(path.read_text(encoding="utf-8")), encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
