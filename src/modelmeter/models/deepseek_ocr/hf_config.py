"""`read_config`: the released config.json, or transformers' `unlimited_ocr` one, as a `DeepseekOCRConfig`.

The tables are in `hf_keys`. What a file leaves out takes its form's default; what it says and nobody knows is an error.
"""

import json
from os import PathLike
from pathlib import Path
from typing import Any, Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.config import (
    ClipConfig,
    DecoderConfig,
    DeepseekOCRConfig,
    ProjectorConfig,
    SamConfig,
)
from modelmeter.models.deepseek_ocr.hf_given import Given, collect, shown
from modelmeter.models.deepseek_ocr.hf_keys import FORMS, VENDOR, Form

MAX_BYTES: Final = 16 * 2**20  # a configuration has some kilobytes
READS: Final = (
    "read are the released DeepSeek-OCR config.json (model_type deepseek_vl_v2, architecture DeepseekOCRForCausalLM, "
    "with language_config) and transformers' unlimited_ocr (with text_config)"
)


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
        raise ModelMeterError(f"{path} holds no JSON object but {shown(raw)}: a configuration is {{...}}")
    return path, raw


def _object_without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Python keeps the last of two equal keys in silence; here they are an error."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ModelMeterError(f"{key} stands twice in one object: remove one")
        result[key] = value
    return result


# -- its form ---------------------------------------------------------------------------------------------------------


def _config(raw: dict[str, Any]) -> DeepseekOCRConfig:
    """The configuration that a dict of either form means."""
    given = collect(raw, _form(raw))
    sam, clip, decoder = _sam(given), given.build_part("clip", ClipConfig), _decoder(given)
    values = {
        "sam": sam,
        "clip": clip,
        "projector": _projector(given, sam, clip, decoder),
        "decoder": decoder,
        "name": given["config.name"] or given.form.name,
    }
    joints = ("sam.downsample_channels", "clip.width", "projector.input_dim")
    return given.build(DeepseekOCRConfig, values, [field for field in joints if field in given])


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
    calls_itself = {"model_type": model_type, "architectures": architectures or None}
    found = [f"{key} {shown(value)}" for key, value in calls_itself.items() if value is not None]
    found += [] if marked else ["neither language_config nor text_config"]
    raise ModelMeterError(f"not a configuration of DeepSeek-OCR (found {', '.join(found)}): {READS}")


def _reaches(raw: dict[str, Any], path: str) -> bool:
    here: Any = raw
    for key in path.split("."):
        here = here.get(key) if isinstance(here, dict) else None
    return here is not None


# -- its parts --------------------------------------------------------------------------------------------------------


def _sam(given: Given) -> SamConfig:
    layers, indexes, window = given["sam.layers"], given["sam.global_attn_indexes"], given["sam.window_size"]
    # Both implementations ask `i in indexes` of each block: an index beyond the depth (a shallower variant of the
    # released file) changes nothing.
    inside = tuple(index for index in indexes if index < layers)
    if window == 0:  # no windows: every block attends globally, as if it were listed
        window, inside = SamConfig().window_size, tuple(range(layers))
    mlp_dim = given["sam.mlp_dim"] or 4 * given["sam.width"]  # mlp_ratio=4 in the vendor's `build_sam_vit_b`
    return given.build_part("sam", SamConfig, global_attn_indexes=inside, window_size=window, mlp_dim=mlp_dim)


def _projector(given: Given, sam: SamConfig, clip: ClipConfig, decoder: DecoderConfig) -> ProjectorConfig:
    """The vendor's file says it; transformers' is one linear from the encoders' channels to the decoder's."""
    if given.form is not VENDOR:
        return ProjectorConfig(input_dim=sam.downsample_channels[-1] + clip.width, n_embed=decoder.hidden_size)
    projector = given.build_part("projector", ProjectorConfig)
    if projector.kind != "identity" and projector.n_embed != decoder.hidden_size:
        raise ModelMeterError(
            f"{given.at('projector.n_embed')} contradicts {given.at('decoder.hidden_size')}: make them equal, "
            "the projector feeds the decoder"
        )
    return projector


def _decoder(given: Given) -> DecoderConfig:
    layers, released = _mlp_layer_types(given), DecoderConfig()
    changes: dict[str, Any] = {"mlp_layer_types": layers}
    if given["decoder.num_key_value_heads"] is None:
        changes["num_key_value_heads"] = given["decoder.num_attention_heads"]
    if given["decoder.n_routed_experts"] is None:  # all layers are dense: these sizes are used nowhere
        changes["n_routed_experts"] = released.n_routed_experts
        changes["num_experts_per_tok"] = released.num_experts_per_tok
    elif given["decoder.num_experts_per_tok"] is None:
        if "sparse" in layers:
            raise ModelMeterError(f"{given.at('decoder.num_experts_per_tok')}: say how many experts a token takes")
        changes["num_experts_per_tok"] = 1
    decoder = given.build_part("decoder", DecoderConfig, **changes)
    _check_groups(given, decoder)
    _check_attention(given, decoder)
    if given["rules.text_tie_word_embeddings"] and not decoder.tie_word_embeddings:
        raise ModelMeterError(
            f"{given.at('rules.text_tie_word_embeddings')} contradicts {given.at('decoder.tie_word_embeddings')}: "
            "transformers reads the latter, make them equal"
        )
    return decoder


def _mlp_layer_types(given: Given) -> tuple[str, ...]:
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


def _check_groups(given: Given, decoder: DecoderConfig) -> None:
    """Raise where routing by groups of experts does not come out."""
    if decoder.topk_method == "greedy":
        return
    groups = given.at("decoder.n_group")
    if decoder.n_routed_experts % decoder.n_group:
        raise ModelMeterError(f"{given.at('decoder.n_routed_experts')} is not a multiple of {groups}")
    if decoder.topk_group > decoder.n_group:
        raise ModelMeterError(f"{given.at('decoder.topk_group')} exceeds {groups}: choose at most that many groups")


def _check_attention(given: Given, decoder: DecoderConfig) -> None:
    """Raise unless every layer attends to all that is cached: a window may be there, but must never bind."""
    if given["rules.head_dim"] not in (None, decoder.head_dim):
        raise ModelMeterError(
            f"{given.at('rules.head_dim')} contradicts {given.at('decoder.hidden_size')} / "
            f"{given.at('decoder.num_attention_heads')} = {decoder.head_dim}: remove it"
        )
    kinds, window, longest = given["rules.layer_types"], given["rules.sliding_window"], decoder.max_position_embeddings
    if kinds is not None and len(kinds) != decoder.num_hidden_layers:
        raise ModelMeterError(
            f"{given.where('rules.layer_types')} has {len(kinds)} entries, "
            f"{given.at('decoder.num_hidden_layers')}: list one for each layer"
        )
    layers = decoder.num_hidden_layers if kinds is None else kinds.count("reference_sliding_attention")
    if layers and window is not None and window < longest:
        raise ModelMeterError(
            f"{given.at('rules.sliding_window')} binds in {layers} of {decoder.num_hidden_layers} layers, which is not "
            f"modelled: make layer_types full_attention in every layer, or sliding_window at least {longest} "
            "(max_position_embeddings)"
        )
