"""The closed formulas of the documentation, as its tables: of stages, conventions, modes, layers and decode."""

import typing
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final, Literal

import attrs

import modelmeter as mm
from modelmeter import formula
from modelmeter.core.symbolic import sympy
from modelmeter.models import deepseek_ocr as twins
from modelmeter.nn.embedding import Embedding
from modelmeter.nn.token import CachedLayer

A4: Final = (1654, 2339)  # pixels of an A4 page at 200 dots an inch
STAGES: Final = ("vision", "prefill", "decode")
LAYER_QUANTITIES: Final = ("tensor_flops", "cuda_flops", "weight_bytes", "activation_bytes", "kv_bytes")
STAGE_QUANTITIES: Final = ("tensor_flops", "cuda_flops", "counted_flops", *LAYER_QUANTITIES[2:], "kv_cache_bytes")

Row = tuple[object, ...]


def table(head: Iterable[str], rows: Iterable[Row]) -> str:
    """A Markdown table."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def code(value: object) -> str:
    """Inline code."""
    return f"`{value}`"


def choices() -> dict[str, list[Any]]:
    """The values of every convention, its default first."""
    found = {}
    hints = typing.get_type_hints(mm.Conventions)
    for field in attrs.fields(mm.Conventions):
        hint = hints[field.name]
        named = [kind for kind in (hint, *typing.get_args(hint)) if typing.get_origin(kind) is Literal]
        values = [True, False] if hint is bool else list(typing.get_args(named[0]))
        found[field.name] = [field.default, *[value for value in values if value != field.default]]
    return found


def alternatives() -> Iterator[tuple[str, Any]]:
    """(name, value) of every value of every convention that is not its default."""
    for name, values in choices().items():
        yield from ((name, value) for value in values[1:])


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
