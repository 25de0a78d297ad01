"""`read_config`: the released config.json, or transformers' `unlimited_ocr` one, as a `DeepseekOCRConfig`.

The tables are in `hf_keys`. What a file leaves out takes its form's default; what it says and nobody knows is an error.
"""

import difflib
import json
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.config import (
    ClipConfig,
    DecoderConfig,
    DeepseekOCRConfig,
    ProjectorConfig,
    SamConfig,
)
from modelmeter.models.deepseek_ocr.hf_keys import (
    COUNTS_LAYERS,
    EVERYWHERE,
    FORMS,
    MAY_BE_ZERO,
    NULLABLE,
    VENDOR,
    Block,
    DecoderRules,
    Form,
)

MAX_BYTES: Final = 16 * 2**20  # a configuration has some kilobytes
MAX_LAYERS: Final = 10_000
MAX_SIZE: Final = 2**31 - 1
PARTS: Final[dict[str, type[Any]]] = {
    "config": DeepseekOCRConfig,
    "sam": SamConfig,
    "clip": ClipConfig,
    "projector": ProjectorConfig,
    "decoder": DecoderConfig,
    "rules": DecoderRules,
}
READS: Final = (
    "read are the released DeepSeek-OCR config.json (model_type deepseek_vl_v2, architecture DeepseekOCRForCausalLM, "
    "with language_config) and transformers' unlimited_ocr (with text_config)"
)
T = TypeVar("T")


def read_config(source: str | PathLike[str] | dict[str, Any]) -> DeepseekOCRConfig:
    """The configuration in a config.json, in the folder that holds it, or in its dict.

    Raises ModelMeterError in one line: what is unknown, contradictory, not modelled or unreadable, and the remedy.
    """
    if isinstance(source, dict):
        return _config(source)
    path, raw = _load(source)
    try:
        return _config(raw)
    except ModelMeterError as error:
        raise ModelMeterError(f"{path}: {error}") from None


# -- the file ---------------------------------------------------------------------------------------------------------


def _load(source: Any) -> tuple[Path, dict[str, Any]]:
    """The file and the JSON object in it."""
    if not isinstance(source, str | PathLike):
        raise ModelMeterError(f"a configuration is a path or a dict, not {type(source).__name__}: give its to_dict()")
    path = Path(source)
    try:
        path = path / "config.json" if path.is_dir() else path
        if not path.exists():
            raise ModelMeterError(f"{path} does not exist: give a config.json or its folder (nothing is downloaded)")
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise ModelMeterError(f"{path} is no configuration: give a config.json or its folder")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ModelMeterError(f"{path} is not UTF-8 text: give a config.json or its folder") from None
    except OSError as error:
        raise ModelMeterError(f"{path} cannot be read ({error.strerror}): give a config.json or its folder") from None
    if not text.strip():
        raise ModelMeterError(f"{path} is empty: fetch it again")
    try:
        raw = json.loads(text, object_pairs_hook=_object_without_twins)
    except ModelMeterError as error:
        raise ModelMeterError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ModelMeterError(f"{path} is broken JSON ({error}): fetch it again or mend it") from None
    if not isinstance(raw, dict):
        raise ModelMeterError(f"{path} holds no JSON object but {_shown(raw)}: a configuration is {{...}}")
    return path, raw


def _object_without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Python keeps the last of two equal keys in silence; here they are an error."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ModelMeterError(f"{key} stands twice in one object: remove one")
        result[key] = value
    return result


# -- its form and its values ------------------------------------------------------------------------------------------


@attrs.frozen
class _Given:
    """What a file gives: field of ours ("decoder.hidden_size") -> (its dotted path there, value)."""

    form: Form
    entries: dict[str, tuple[str, Any]]

    def __contains__(self, field: str) -> bool:
        return field in self.entries

    def __getitem__(self, field: str) -> Any:
        """The value given, else the form's default, else the released one."""
        if field in self.entries:
            return self.entries[field][1]
        part, name = field.split(".")
        return self.form.defaults[field] if field in self.form.defaults else getattr(PARTS[part](), name)

    def at(self, field: str) -> str:
        """The dotted path and the value, for a message."""
        paths = (block.at(key) for block in self.form.blocks for key, to in block.fields.items() if to == field)
        path = self.entries[field][0] if field in self.entries else next(paths)
        return f"{path} {_shown(self[field])}"

    def part(self, name: str) -> dict[str, Any]:
        """All fields of a part."""
        return {field.name: self[f"{name}.{field.name}"] for field in attrs.fields(PARTS[name])}

    def build(self, config: type[T], fields: Iterable[str], values: dict[str, Any]) -> T:
        """A configuration of ours. What it refuses, it names by our fields: add where the file says them."""
        try:
            return config(**values)
        except ModelMeterError as error:
            named = [self.at(field) for field in fields if re.search(rf"\b{field.split('.')[1]}\b", str(error))]
            raise ModelMeterError(f"{error} (from {', '.join(named)})" if named else f"{error}") from None


def _config(raw: dict[str, Any]) -> DeepseekOCRConfig:
    """The configuration that a dict of either form means."""
    given = _collect(raw, _form(raw))
    sam, clip, decoder = _sam(given), given.build(ClipConfig, _fields("clip"), given.part("clip")), _decoder(given)
    parts = {"sam": sam, "clip": clip, "projector": _projector(given, sam, clip, decoder), "decoder": decoder}
    joints = ("sam.downsample_channels", "clip.width", "projector.input_dim")
    in_file = [field for field in joints if field in given]
    return given.build(DeepseekOCRConfig, in_file, {**parts, "name": given["config.name"] or "unlimited_ocr"})


def _form(raw: dict[str, Any]) -> Form:
    """Which of the forms the dict has, by what it calls itself and by the paths that only one form has."""
    model_type, architectures = raw.get("model_type"), raw.get("architectures") or []
    names = architectures if isinstance(architectures, list | tuple) else [architectures]
    marked = [form for form in FORMS if any(_reaches(raw, mark) for mark in form.marks)]
    if len(marked) > 1:
        both = [next(mark for mark in form.marks if _reaches(raw, mark)) for form in marked]
        raise ModelMeterError(f"{' and '.join(both)} belong to two forms of configuration: keep one; {READS}")
    # DeepSeek-VL2 has the model_type of the released file too: alone it says nothing.
    says_itself = bool(names) or model_type not in (None, "deepseek_vl_v2")
    for form in marked or (FORMS if says_itself else ()):
        if model_type in (None, *form.model_types) and all(name in form.architectures for name in names):
            return form
    found = {"model_type": model_type, "architectures": architectures or None}
    shown = [f"{key} {_shown(value)}" for key, value in found.items() if value is not None]
    shown = shown or [f"keys {', '.join(map(str, list(raw)[:8]))}" if raw else "no keys"]
    missing = "" if marked else " without language_config or text_config"
    raise ModelMeterError(f"not a configuration of DeepSeek-OCR (found {', '.join(shown)}{missing}): {READS}")


def _reaches(raw: dict[str, Any], path: str) -> bool:
    here: Any = raw
    for key in path.split("."):
        here = here.get(key) if isinstance(here, dict) else None
    return here is not None


def _collect(raw: dict[str, Any], form: Form) -> _Given:
    """All values that set a field of ours, checked. Raises on what is unknown, not modelled or contradictory."""
    entries: dict[str, tuple[str, Any]] = {}
    for block in form.blocks:
        given = _object(raw, block.path)
        inner = {child.path.rpartition(".")[2] for child in form.blocks if _is_inside(child, block)}
        known = {**EVERYWHERE.fixed, **block.fixed}
        for key, only in known.items():  # first of all: they say which model this is
            if key in given and given[key] not in only.values:
                wanted = " or ".join(_shown(value) for value in only.values)
                raise ModelMeterError(f"{block.at(key)} {_shown(given[key])} is not {wanted}: {only.why}")
        for key, value in given.items():
            if key in block.fields:
                field, path = block.fields[key], block.at(key)
                value = _value(path, value, field)
                before = entries.setdefault(field, (path, value))
                if before[1] != value:
                    raise ModelMeterError(
                        f"{path} {_shown(value)} contradicts {before[0]} {_shown(before[1])}: make them equal"
                    )
            elif key not in known and key not in inner and key not in block.harmless | EVERYWHERE.harmless:
                raise _unknown(block, key, {*block.fields, *known, *inner})
    return _Given(form, entries)


def _object(raw: dict[str, Any], path: str) -> dict[Any, Any]:
    """The object at a dotted path; where it is absent or null, an empty one."""
    here: Any = raw
    keys = path.split(".") if path else []
    for depth, key in enumerate(keys, start=1):
        here = {} if here.get(key) is None else here[key]
        if not isinstance(here, dict):
            raise ModelMeterError(f"{'.'.join(keys[:depth])} must be an object {{...}}, not {_shown(here)}")
    return dict(here)


def _is_inside(child: Block, block: Block) -> bool:
    """Whether `child` is an object directly in `block`."""
    return child.path != "" and child.path.rpartition(".")[0] == block.path


def _unknown(block: Block, key: Any, known: Iterable[str]) -> ModelMeterError:
    near = difflib.get_close_matches(str(key), known, n=1)
    remedy = f"did you mean {near[0]}?" if near else "remove it if it does not change the network"
    return ModelMeterError(f"{block.at(key)} is unknown and may change the cost: {remedy}")


def _value(path: str, value: Any, field: str) -> Any:
    """The value as our field has it, lists as tuples. Raises where its type is another."""
    part, name = field.split(".")
    kind = attrs.fields_dict(PARTS[part])[name].type
    optional = get_origin(kind) is UnionType
    if value is None and (optional or field in NULLABLE):
        return NULLABLE.get(field)
    return _typed(path, value, get_args(kind)[0] if optional else kind, field)


def _typed(path: str, value: Any, kind: Any, field: str) -> Any:
    if get_origin(kind) is tuple:
        item, *more = get_args(kind)
        length = None if more == [...] else 1 + len(more)
        if isinstance(value, list | tuple) and length in (None, len(value)):
            return tuple(_typed(f"{path}[{i}]", one, item, field) for i, one in enumerate(value))
        wanted = f"a list of {length}" if length else "a list"
    elif get_origin(kind) is Literal:
        if isinstance(value, str) and value in get_args(kind):
            return value
        wanted = " or ".join(_shown(choice) for choice in get_args(kind))
    elif kind is int:
        least, most = int(field not in MAY_BE_ZERO), MAX_LAYERS if field in COUNTS_LAYERS else MAX_SIZE
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        wanted = f"a whole number from {least} to {most}"
    else:
        if isinstance(value, kind):
            return value
        wanted = "true or false" if kind is bool else "a text"
    raise ModelMeterError(f"{path} must be {wanted}, not {_shown(value)}")


def _shown(value: Any) -> str:
    """A value as JSON writes it, on one short line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _fields(part: str) -> list[str]:
    return [f"{part}.{field.name}" for field in attrs.fields(PARTS[part])]


# -- its parts --------------------------------------------------------------------------------------------------------


def _sam(given: _Given) -> SamConfig:
    values = given.part("sam")
    layers = values["layers"]
    beyond = [index for index in values["global_attn_indexes"] if index >= layers]
    if "sam.global_attn_indexes" in given and beyond:
        raise ModelMeterError(
            f"{given.at('sam.global_attn_indexes')} goes beyond {given.at('sam.layers')}: list indexes below {layers}"
        )
    inside = {index for index in values["global_attn_indexes"] if index < layers}
    values["global_attn_indexes"] = tuple(sorted(inside))
    if values["window_size"] == 0:  # no windows: every block attends globally, as if it were listed
        values |= {"window_size": SamConfig().window_size, "global_attn_indexes": tuple(range(layers))}
    if values["mlp_dim"] is None:
        values["mlp_dim"] = 4 * values["width"]  # the vendor's `build_sam_vit_b`: mlp_ratio=4
    return given.build(SamConfig, _fields("sam"), values)


def _projector(given: _Given, sam: SamConfig, clip: ClipConfig, decoder: DecoderConfig) -> ProjectorConfig:
    """The vendor's file says it; transformers' is one linear from the encoders' channels to the decoder's."""
    if given.form is not VENDOR:
        return ProjectorConfig(input_dim=sam.downsample_channels[-1] + clip.width, n_embed=decoder.hidden_size)
    projector = given.build(ProjectorConfig, _fields("projector"), given.part("projector"))
    if projector.kind != "identity" and projector.n_embed != decoder.hidden_size:
        raise ModelMeterError(
            f"{given.at('projector.n_embed')} contradicts {given.at('decoder.hidden_size')}: make them equal, "
            "the projector feeds the decoder"
        )
    return projector


def _decoder(given: _Given) -> DecoderConfig:
    values, released = given.part("decoder"), DecoderConfig()
    if values["num_key_value_heads"] is None:
        values["num_key_value_heads"] = values["num_attention_heads"]
    values["mlp_layer_types"] = _mlp_layer_types(given)
    if values["n_routed_experts"] is None:  # a dense model: these sizes are used nowhere
        values["n_routed_experts"] = released.n_routed_experts
        values["num_experts_per_tok"] = released.num_experts_per_tok
    if values["num_experts_per_tok"] is None:
        if "sparse" in values["mlp_layer_types"]:
            raise ModelMeterError(f"{given.at('decoder.num_experts_per_tok')}: say how many experts a token takes")
        values["num_experts_per_tok"] = min(released.num_experts_per_tok, values["n_routed_experts"])
    decoder = given.build(DecoderConfig, _fields("decoder"), values)
    _check_groups(given, decoder)
    _check_attention(given, decoder)
    if given["rules.text_tie_word_embeddings"] and not decoder.tie_word_embeddings:
        raise ModelMeterError(
            f"{given.at('rules.text_tie_word_embeddings')} contradicts {given.at('decoder.tie_word_embeddings')}: "
            "transformers reads the latter, make them equal"
        )
    return decoder


def _mlp_layer_types(given: _Given) -> tuple[str, ...]:
    """Dense or sparse, layer by layer: as listed, else by the vendor's rule (`DeepseekV2DecoderLayer`)."""
    stated, layers = given["decoder.mlp_layer_types"], given["decoder.num_hidden_layers"]
    first, step = given["rules.first_k_dense_replace"], given["rules.moe_layer_freq"]
    has_experts = given["decoder.n_routed_experts"] is not None
    implied = tuple(
        "sparse" if has_experts and index >= first and index % step == 0 else "dense" for index in range(layers)
    )
    said = [field for field in ("rules.first_k_dense_replace", "rules.moe_layer_freq") if field in given]
    said += [] if has_experts else ["decoder.n_routed_experts"]
    if stated is not None and said and stated != implied:
        why = " and ".join(given.at(field) for field in said)
        raise ModelMeterError(f"{given.at('decoder.mlp_layer_types')} contradicts {why}: keep one of them")
    return implied if stated is None else tuple(stated)


def _check_groups(given: _Given, decoder: DecoderConfig) -> None:
    """Raise where routing by groups of experts does not come out."""
    if decoder.topk_method == "greedy":
        return
    groups = given.at("decoder.n_group")
    if decoder.n_routed_experts % decoder.n_group:
        raise ModelMeterError(f"{given.at('decoder.n_routed_experts')} is not a multiple of {groups}")
    if decoder.topk_group > decoder.n_group:
        raise ModelMeterError(f"{given.at('decoder.topk_group')} exceeds {groups}: choose at most that many groups")


def _check_attention(given: _Given, decoder: DecoderConfig) -> None:
    """Raise unless every layer attends to all that is cached: a window may be there, but must never bind."""
    if given["rules.head_dim"] not in (None, decoder.head_dim):
        raise ModelMeterError(
            f"{given.at('rules.head_dim')} contradicts {given.at('decoder.hidden_size')} / "
            f"{given.at('decoder.num_attention_heads')} = {decoder.head_dim}: remove it"
        )
    kinds, window, longest = given["rules.layer_types"], given["rules.sliding_window"], decoder.max_position_embeddings
    if kinds is not None and len(kinds) != decoder.num_hidden_layers:
        raise ModelMeterError(
            f"{given.at('rules.layer_types')} has {len(kinds)} entries, "
            f"{given.at('decoder.num_hidden_layers')}: list one for each layer"
        )
    slides = window is not None if kinds is None else "reference_sliding_attention" in kinds
    if slides and (window is None or window < longest):
        listed = "" if kinds is None else f" and {given.at('rules.layer_types')}"
        raise ModelMeterError(
            f"{given.at('rules.sliding_window')}{listed}: a window that binds is not modelled. Make layer_types "
            f"full_attention in every layer, or sliding_window at least max_position_embeddings ({longest})"
        )
