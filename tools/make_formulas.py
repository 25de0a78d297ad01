"""Writes what the documentation takes from the code: the marked blocks of its pages, most of docs/formulas.md.

Run it as `python tools/make_formulas.py` after a change of any number; with `--check` it only names the pages that are
out of date. A block stands between `<!-- generated: name -->` and `<!-- end -->`.
"""

import ast
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import attrs

import modelmeter as mm
from modelmeter import formula
from modelmeter.core import conventions as vector_flops
from modelmeter.core.cost import StageCost
from modelmeter.core.symbolic import sympy
from modelmeter.formulas import SYMBOLS
from modelmeter.models import deepseek_ocr as twins
from modelmeter.nn.embedding import Embedding
from modelmeter.nn.token import CachedLayer
from modelmeter.report import units
from modelmeter.report.tables import analysis_tables, heading, notes

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
SOURCE: Final = ROOT / "src" / "modelmeter"
COMMAND: Final = "python tools/make_formulas.py"

A4: Final = (1654, 2339)  # pixels of an A4 page at 200 dots an inch
PROMPT: Final = 10  # text tokens
BATCH: Final = 4  # pages, for choices that need several to show
STAGES: Final = ("vision", "prefill", "decode")
LAYER_QUANTITIES: Final = ("tensor_flops", "cuda_flops", "weight_bytes", "activation_bytes", "kv_bytes")
STAGE_QUANTITIES: Final = ("tensor_flops", "cuda_flops", "counted_flops", *LAYER_QUANTITIES[2:], "kv_cache_bytes")
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

Row = tuple[object, ...]


def table(head: Iterable[str], rows: Iterable[Row]) -> str:
    """A Markdown table."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def code(value: object) -> str:
    """Inline code."""
    return f"`{value}`"


# Formulas -------------------------------------------------------------------------------------------------------------


@cache
def model(**conventions: Any) -> mm.DeepseekOCRModel:
    """The released model."""
    return mm.DeepseekOCRModel.from_config(**conventions)


def symbols(names: str) -> Any:
    """The symbols that `modelmeter.formula` uses."""
    return sympy.symbols(names, positive=True, integer=True)


def general(value: Any) -> Any:
    """The expanded formula for sizes above 1, as `modelmeter.formula` gives it."""
    expression = sympy.sympify(value)
    return sympy.expand(expression.replace(lambda e: isinstance(e, sympy.Piecewise), lambda e: e.args[-1][0]))


def stage_rows() -> Iterator[Row]:
    """Every quantity of every stage under the default conventions that is not 0; of one sequence where it differs."""
    batch = symbols("B")
    for stage in STAGES:
        for quantity in STAGE_QUANTITIES:
            found = formula(model(), quantity, stage=stage)
            if found == 0:
                continue
            yield stage, quantity, code(found)
            single = general(formula(model(), quantity, stage=stage, exact=True).subs(batch, 1))
            if single != general(found.subs(batch, 1)):
                yield stage, f"{quantity}, `B = 1`", code(single)


def convention_rows() -> Iterator[Row]:
    """The formulas that a convention changes."""
    for name, value in alternatives():
        for stage in STAGES:
            for quantity in STAGE_QUANTITIES:
                found = formula(model(**{name: value}), quantity, stage=stage)
                if found != formula(model(), quantity, stage=stage):
                    yield f"{code(name)} = {code(value)}", stage, quantity, code(found)


def mode_rows() -> Iterator[Row]:
    """Vision of B pages in each mode: sides as numbers, so that fitting tables and windows are what they are."""
    for mode in ("tiny", "small", "base", "large", "gundam"):
        views = mm.plan_views(*A4, mode=mode)
        sides = " + ".join(f"{count} x {side}" for count, side in views.views)
        twin = mm.DeepseekOCRModel.from_config()
        twin.set_views(views)
        twin.start_vision(symbols("B"))
        cost = twin.cost()
        for quantity in LAYER_QUANTITIES[:-1]:
            yield f"{mode}: {sides}", quantity, code(general(getattr(cost, quantity)))


def layers() -> dict[str, mm.Layer]:
    """Every twin by name, at the released sizes."""
    config = mm.DeepseekOCRConfig()
    sam, clip, decoder = config.sam, config.clip, config.decoder
    return {
        "SAM `PatchEmbed`": twins.PatchEmbed(sam),
        "SAM `Attention`, of a window": twins.Attention(sam, sam.window_size),
        "SAM `MLPBlock`": twins.MLPBlock(sam.width, sam.mlp_dim),
        "SAM `Block`, windows": twins.Block(sam, sam.window_size),
        "SAM `Block`, global": twins.Block(sam, 0),
        "SAM `LayerNorm2d`": twins.LayerNorm2d(sam.out_channels),
        "SAM `Neck`": twins.Neck(sam),
        "`ImageEncoderViT`": twins.ImageEncoderViT(sam),
        "`CLIPVisionEmbeddings`": twins.CLIPVisionEmbeddings(clip),
        "`NoTPAttention`": twins.NoTPAttention(clip),
        "`NoTPFeedForward`": twins.NoTPFeedForward(clip.width, clip.mlp_dim),
        "`NoTPTransformerBlock`": twins.NoTPTransformerBlock(clip),
        "`VitModel`": twins.VitModel(clip),
        "`MlpProjector`": twins.MlpProjector(config.projector),
        "token embedding": Embedding(decoder.vocab_size, decoder.hidden_size),
        "`LlamaAttention`": twins.LlamaAttention(decoder),
        "`LlamaFlashAttention2`": twins.LlamaFlashAttention2(decoder),
        "`DeepseekV2RMSNorm`": twins.DeepseekV2RMSNorm(decoder.hidden_size),
        "`DeepseekV2MLP`, dense": twins.DeepseekV2MLP(decoder.hidden_size, decoder.intermediate_size),
        "`MoEGate`": twins.MoEGate(decoder),
        "`DeepseekV2MoE`": twins.DeepseekV2MoE(decoder),
        "`DeepseekV2DecoderLayer`, dense": twins.DeepseekV2DecoderLayer(decoder, 0),
        "`DeepseekV2DecoderLayer`, MoE": twins.DeepseekV2DecoderLayer(decoder, 1),
        "`LMHead`": twins.LMHead(decoder.hidden_size, decoder.vocab_size),
    }


def layer_rows() -> Iterator[Row]:
    """The formulas of every layer, in both stages where it has a cache; a quantity that is 0 has no row."""
    rotary = "`LlamaRotaryEmbedding`"
    cases: list[tuple[str, mm.Layer, str | None, str | None]] = []
    for name, layer in layers().items():
        if isinstance(layer, CachedLayer):
            cases += [(f"{name}, {stage}", layer, stage, None) for stage in ("prefill", "decode")]
        else:
            cases.append((name, layer, None, None))
        if name == "`LlamaAttention`":
            cases.append((rotary, layer, None, "rotary_emb"))
    for name, layer, stage, path in cases:
        for quantity in LAYER_QUANTITIES:
            found = formula(layer, quantity, stage=stage, layer=path)
            if found != 0:
                yield name, quantity, code(found)


# Conventions ----------------------------------------------------------------------------------------------------------


def choices() -> dict[str, list[Any]]:
    """The values of every convention, its default first. Raises where `CHOICES` does not describe it."""
    found = {}
    hints = typing.get_type_hints(mm.Conventions)
    for field in attrs.fields(mm.Conventions):
        hint = hints[field.name]
        named = [kind for kind in (hint, *typing.get_args(hint)) if typing.get_origin(kind) is Literal]
        values = [True, False] if hint is bool else list(typing.get_args(named[0]))
        found[field.name] = [field.default, *[value for value in values if value != field.default]]
    if list(found) != list(CHOICES):
        raise SystemExit(f"describe these conventions in CHOICES: {sorted(set(found) ^ set(CHOICES))}")
    return found


def alternatives() -> Iterator[tuple[str, Any]]:
    """(name, value) of every value of every convention that is not its default."""
    for name, values in choices().items():
        yield from ((name, value) for value in values[1:])


def convention_table() -> str:
    """Every named choice, its values and what it decides."""
    rows = []
    for name, values in choices().items():
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


def growth() -> str:
    """The bytes of one decode step that depend on the T tokens cached: each operator of the mask and of a layer."""
    cached = symbols("T")
    rows: list[Row] = []
    for note, attention, style in (("", "eager", "concat"), (" (flash, in_place)", "flash", "in_place")):
        twin = model(attention=attention, cache=style)
        twin.set_views(None)
        twin.start_prefill(cached, symbols("B"))
        twin.start_decode()
        for path, op in twin.trace().operators():
            place = {"model": "mask, once", "model.layers.1.self_attn": "each layer"}.get(path)
            cost = op.cost
            of_kv = (cost.kv_read_bytes, cost.kv_write_bytes)
            of_rest = (cost.activation_read_bytes, cost.activation_write_bytes)
            for role, pair in (("KV", of_kv), ("activations", of_rest)):
                grows = any(sympy.sympify(number).has(cached) for number in pair)
                if place and (grows or (op.name == "copy_" and role == "KV")):
                    written = [code(sympy.factor(sympy.expand(number))) for number in pair]
                    rows.append((place + note, code(op.name), role, *written))
    return table(("where", "operator", "role", "bytes read", "bytes written"), rows)


def decode_totals() -> str:
    """KV and activation bytes of a decode step under each core and cache."""
    rows = []
    for attention in ("eager", "flash"):
        for style in ("concat", "in_place"):
            twin = model(attention=attention, cache=style)
            kv, rest = (formula(twin, name, stage="decode") for name in ("kv_bytes", "activation_bytes"))
            rows.append((code(attention), code(style), code(kv), code(rest)))
    return table(("attention", "cache", "KV bytes", "activation bytes"), rows)


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
