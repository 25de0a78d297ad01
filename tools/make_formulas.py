"""Writes what the documentation takes from the code: the marked blocks of its pages, most of docs/formulas.md.

Run it as `python tools/make_formulas.py` after a change of any number; with `--check` it only names the pages that are
out of date. A block stands between `<!-- generated: name -->` and `<!-- end -->`.
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from formula_tables import (
    A4,
    Row,
    alternatives,
    choices,
    code,
    convention_rows,
    decode_totals,
    growth,
    layer_rows,
    mode_rows,
    model,
    stage_rows,
    table,
)

import modelmeter as mm
from modelmeter.core import conventions as vector_flops
from modelmeter.core.cost import StageCost
from modelmeter.formulas import SYMBOLS
from modelmeter.report import units
from modelmeter.report.tables import analysis_tables, heading, notes

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
SOURCE: Final = ROOT / "src" / "modelmeter"
COMMAND: Final = "python tools/make_formulas.py"

PROMPT: Final = 10  # text tokens
BATCH: Final = 4  # pages, for choices that need several to show

CHOICES: Final = {
    "implementation": "whose code is followed: the released remote code, or transformers' `unlimited_ocr`",
    "attention": "the decoder's core: scores in memory, or one kernel (with `transformers` the vision's too)",
    "cache": "rebuild keys and values each step, as `DynamicCache` does, or write the new token only",
    "experts": "a call for each expert, or one grouped kernel: the same FLOPs and bytes, other temporaries",
    "position_ids": "position ids `[1 q]` for the whole batch, or `[B q]`",
    "logits": "logits of every prompt position, or of the last one",
    "causal": "tensor FLOPs of all `S_q * S_kv` scores, or of those that the mask leaves",
    "coverage": "how many experts' weights are read (see [Weights](#weights)); a number is a measured one",
    "elementwise": "count the FLOPs of elementwise operators, or leave them out",
}
"""What each of `Conventions` decides."""

# Conventions ----------------------------------------------------------------------------------------------------------


def convention_table() -> str:
    """Every named choice, its values and what it decides."""
    found = choices()
    if list(found) != list(CHOICES):
        raise SystemExit(f"describe these conventions in CHOICES: {sorted(set(found) ^ set(CHOICES))}")
    rows = []
    for name, values in found.items():
        shown = ", ".join(code(repr(value)) for value in values) + (", a number" if name == "coverage" else "")
        rows.append((code(name), shown, CHOICES[name]))
    return table(("choice", "values, default first", "what it decides"), rows)


def elementwise() -> str:
    """FLOPs of an element, with the reasons that stand beside the numbers in the code."""
    reasons = dict(re.findall(r'^    "(\w+)": \d+,(?:  # (.*))?$', inspect.getsource(vector_flops), re.MULTILINE))
    groups: dict[tuple[int, str], list[str]] = {}
    for name, reason in reasons.items():  # what DeepSeek-OCR runs; OF_ANY_MODEL is for others that are recorded
        groups.setdefault((vector_flops.FLOPS_PER_ELEMENT[name], reason), []).append(code(name))
    ordered = sorted(groups.items(), key=lambda group: group[0][0])
    return table(("FLOPs", "operators", "reason"), [(key[0], ", ".join(names), key[1]) for key, names in ordered])


def measured(batch: int, **chosen: Any) -> dict[str, StageCost]:
    """The stages of A4 pages, `batch` at a time."""
    views = mm.plan_views(*A4)
    twin = model(**chosen)
    twin.set_views(views)
    return {
        "vision": mm.get_vision_cost(twin, batch),
        "prefill": mm.get_prefill_cost(twin, context_len=views.image_tokens + PROMPT, batch_size=batch),
        "decode": mm.get_decode_cost_per_token(twin),
    }


def changes(before: StageCost, after: StageCost) -> str:
    """What differs, in words; a change below 1% as a difference."""
    words = []
    for name, write, read in QUANTITIES:
        old, new = read(before), read(after)
        difference = ("+" if new > old else "-") + write(abs(new - old))
        if old and abs(new - old) >= 0.01 * old:
            words.append(f"{name} {write(old)} to {write(new)} ({100 * (new - old) / old:+.0f}%)")
        elif new != old:
            words.append(f"{name} {difference}")
    return "; ".join(words)


QUANTITIES: Final[tuple[tuple[str, Callable[[float], str], Callable[[StageCost], int]], ...]] = (
    ("tensor FLOPs", units.flops, lambda stage: stage.cost.tensor_flops),
    ("CUDA FLOPs", units.flops, lambda stage: stage.cost.cuda_flops),
    ("counted FLOPs", units.flops, lambda stage: stage.cost.counted_flops),
    ("weights read", units.size, lambda stage: stage.cost.weight_bytes),
    ("activations moved", units.size, lambda stage: stage.cost.activation_bytes),
    ("KV moved", units.size, lambda stage: stage.cost.kv_bytes),
    ("weights held", units.size, lambda stage: stage.weights_bytes),
    ("activation peak", units.size, lambda stage: stage.activations_bytes),
)


def effects() -> str:
    """What each choice changes on an A4 page, or on several at once where one page does not show it."""
    rows: list[Row] = []
    for name, value in alternatives():
        for batch in (1, BATCH) if name in ("position_ids", "coverage") else (1,):
            after = measured(batch, **{name: value})
            for stage, before in measured(batch).items():
                if text := changes(before, after[stage]):
                    shown = stage if batch == 1 else f"{stage}, {batch} pages"
                    rows.append((f"{code(name)} = {code(value)}", shown, text))
    return table(("choice", "stage", "what changes"), rows)


# Other blocks, and the pages ------------------------------------------------------------------------------------------


def analysis() -> str:
    """The tables that `modelmeter analyze` prints for an A4 page, turned on their side, and the conventions."""
    found = mm.analyze(mm.read_pages("{}x{}".format(*A4)))
    blocks = [heading(found) + "."]
    for each in analysis_tables(found):
        head, *rows = zip(each.columns, *each.rows, strict=True)
        names = [row[0].replace("/\n", "/").replace("\n", " ") for row in rows]
        blocks += [f"**{each.title}**", table(head, [(name, *row[1:]) for name, row in zip(names, rows, strict=True)])]
    return "\n\n".join([*blocks, "\n".join(f"- {note}" for note in notes(found))])


def stages() -> str:
    """The four stages of an A4 page."""
    found = mm.analyze(mm.read_pages("{}x{}".format(*A4)))
    (each,) = [each for each in analysis_tables(found) if each.columns[0] == "stage"]
    return table([column.replace("/\n", "/").replace("\n", " ") for column in each.columns], each.rows)


def times() -> str:
    """An A4 page on some devices: the device's share of TTFT and TPOT, for an engine and for the released code."""
    engine = model(attention="flash", experts="grouped", cache="in_place", logits="last")
    rows = []
    for name in ("h200", "h100-sxm", "a100-80g", "l40s", "rtx-4090", "t4", "mi300x"):
        lean = mm.time_page(engine, mm.plan_views(*A4), mm.machine_of(name, execution="graph"))
        released = mm.time_page(model(), mm.plan_views(*A4), name)
        found = [lean.ttft.bound, lean.ttft.roofline, released.ttft.roofline]
        found += [lean.tpot.bound, lean.tpot.roofline, released.tpot.roofline]
        rows.append((code(name), *map(units.seconds, found)))
    head = [f"{time} {kind}" for time in ("TTFT", "TPOT") for kind in ("bound", "engine", "released code")]
    return table(("device", *head), rows)


def modules() -> str:
    """Every module and the first line of its docstring."""
    rows = []
    for path in sorted(SOURCE.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if about and path.parent != SOURCE:
            rows.append((code(path.relative_to(SOURCE).as_posix()), about.splitlines()[0].replace("|", "\\|")))
    return table(("module", "what it holds"), rows)


BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "analysis": analysis,
    "conventions": convention_table,
    "decode-totals": decode_totals,
    "effects": effects,
    "elementwise": elementwise,
    "growth": growth,
    "modules": modules,
    "stages": stages,
    "times": times,
    "convention-formulas": lambda: table(("convention", "stage", "quantity", "formula"), convention_rows()),
    "layer-formulas": lambda: table(("layer", "quantity", "formula"), layer_rows()),
    "mode-formulas": lambda: table(("mode: views", "quantity", "formula"), mode_rows()),
    "stage-formulas": lambda: table(("stage", "quantity", "formula"), stage_rows()),
    "symbols": lambda: table(("symbol", "meaning"), [(code(name), text) for name, text in SYMBOLS.items()]),
}
_MARKED: Final = re.compile(r"<!-- generated: ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)


def refresh(text: str) -> str:
    """A page with its marked blocks made anew."""
    return _MARKED.sub(lambda m: f"<!-- generated: {m[1]} -->\n\n{BLOCKS[m[1]]()}\n\n<!-- end -->", text)


def pages() -> dict[Path, str]:
    """The pages that may hold blocks, and their texts."""
    return {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))}


def stale() -> dict[Path, str]:
    """The pages whose blocks are not what the code gives, and what they should be."""
    texts = pages()
    return {path: new for path, text in texts.items() if (new := refresh(text)) != text}


def main() -> None:
    """Refresh the pages, or with `--check` name those that need it."""
    found = stale()
    for path, text in found.items():
        print(path.relative_to(ROOT))
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
    if found and "--check" in sys.argv[1:]:
        raise SystemExit(f"out of date: run {COMMAND}")


if __name__ == "__main__":
    main()
