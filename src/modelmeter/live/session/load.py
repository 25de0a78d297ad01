"""How a session gets its model: every choice checked, room for it made sure of, then built or loaded."""

import json
from os import PathLike
from pathlib import Path
from typing import Any, Final

import attrs
import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.live.reference.adapter import EXPERTS_RUN, ExpertsRun
from modelmeter.live.reference.choose import check_choice, check_transformers
from modelmeter.live.reference.vendor_load import checked_device, checked_folder
from modelmeter.live.session.body import Body
from modelmeter.live.session.checkpoint import checkpoint_dtype
from modelmeter.live.session.inputs import MOST_SEED, whole
from modelmeter.live.session.memory import check_host_room, check_room
from modelmeter.live.session.prompt import load_tokenizer
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig, Implementation
from modelmeter.models.deepseek_ocr.views import plan_views
from modelmeter.nn.attention import ATTENTION_KINDS, AttentionKind

DTYPES: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""What the analytic model prices: 16-bit floats."""
MODEST: Final = plan_views(1024, 1024, mode="base")
MODEST_PROMPT: Final = 10
MODEST_STEPS: Final = 16
"""The run that has to fit before anything is loaded: one view of 1024 px, a prompt of 10 tokens, 16 decode steps."""


TRANSFORMERS: Final = "unlimited_ocr"
"""`model_type` of a folder that transformers' own class wrote."""


def random_model(
    config: DeepseekOCRConfig | None,
    *,
    seed: int,
    device: str | torch.device,
    dtype: str,
    attention: AttentionKind,
    experts: ExpertsRun,
    layers: int | None,
) -> Body:
    """What `DeepSeekOCRSession.from_config` runs."""
    check_choice("attention", attention, ATTENTION_KINDS)
    check_choice("experts", experts, EXPERTS_RUN)
    kind, where = _dtype(dtype), session_device(device)
    cut = first_layers(config or DeepseekOCRConfig(), layers)
    number = whole(seed, "seed", least=0, most=MOST_SEED)
    check_transformers(package="'transformers>=5.23'", what="a session with random weights")
    from modelmeter.live.session.transformers_body import random_body

    _check_modest_run(cut, "transformers", attention, where, kind)
    return random_body(cut, seed=number, device=where, dtype=kind, attention=attention, experts=experts)


def local_model(
    path: str | PathLike[str],
    *,
    device: str | torch.device,
    dtype: str | None,
    attention: AttentionKind,
    experts: ExpertsRun | None,
    trust_remote_code: bool,
) -> tuple[Body, Any]:
    """What `DeepSeekOCRSession.from_local` runs, and the tokenizer or None."""
    check_choice("attention", attention, ATTENTION_KINDS)
    folder, where = Path(path), session_device(device)
    ours = _is_transformers(folder, trusted=trust_remote_code)
    if ours:
        check_choice("experts", experts or "eager", EXPERTS_RUN)
        check_transformers(package="'transformers>=5.23'", what=f"the model in {folder}")
    else:
        folder = checked_folder(folder, trust_remote_code=trust_remote_code)
        if experts is not None:
            raise ModelMeterError("experts is a choice of transformers 5: the vendor's code has one way, drop it")
    config = DeepseekOCRConfig.from_hf(folder)
    stored = checkpoint_dtype(folder)
    kind = _dtype(dtype) if dtype is not None else (stored if stored in DTYPES.values() else torch.bfloat16)
    tokenizer = load_tokenizer(folder)
    _check_modest_run(config, "transformers" if ours else "vendor", attention, where, kind, on_host_first=True)
    chosen: dict[str, Any] = {"device": where, "dtype": kind, "attention": attention}
    if ours:
        from modelmeter.live.session.transformers_body import local_body

        return local_body(folder, config, experts=experts or "eager", **chosen), tokenizer
    from modelmeter.live.session.vendor_body import vendor_body

    return vendor_body(folder, config, **chosen), tokenizer


def session_device(device: str | torch.device) -> torch.device:
    """The device of a name, with its number. Raises `ModelMeterError` where there is none."""
    name = str(device)
    checked_device(name)
    try:
        found = torch.device(name)
    except RuntimeError:
        raise ModelMeterError(f"device {device!r} is no device: give cpu, cuda or cuda:0") from None
    if found.type != "cuda":
        return torch.device("cpu")
    number, count = found.index or 0, torch.cuda.device_count()
    if number >= count:
        raise ModelMeterError(f"device {device!r} is not here: there are {count}, cuda:0 to cuda:{count - 1}")
    return torch.device("cuda", number)


def first_layers(config: DeepseekOCRConfig, layers: int | None) -> DeepseekOCRConfig:
    """The model with its first `layers` decoder layers; None: all. Raises `ModelMeterError` for more than it has."""
    if layers is None:
        return config
    number, all_layers = whole(layers, "layers"), config.decoder.num_hidden_layers
    if number > all_layers:
        raise ModelMeterError(f"layers {number} are more than the model's {all_layers} decoder layers: give fewer")
    kinds = config.decoder.mlp_layer_types[:number]
    decoder = attrs.evolve(config.decoder, num_hidden_layers=number, mlp_layer_types=kinds)
    name = config.name if number == all_layers else f"{config.name}, {number} of {all_layers} decoder layers"
    return attrs.evolve(config, decoder=decoder, name=name)


def precision_of(dtype: torch.dtype) -> Precision:
    """What is stored and computed in a 16-bit float, in the twin's terms."""
    return Precision() if dtype is torch.bfloat16 else Precision(weights="fp16")


def _check_modest_run(
    config: DeepseekOCRConfig,
    implementation: Implementation,
    attention: AttentionKind,
    device: torch.device,
    dtype: torch.dtype,
    *,
    on_host_first: bool = False,
) -> None:
    """Raises `NotEnoughMemory` unless `MODEST` pages run beside the weights; and the host holds them on their way."""
    room = check_room(
        config,
        Conventions(
            implementation=implementation,
            attention=attention,
            logits="last" if implementation == "transformers" else "all",
        ),
        device,
        precision=precision_of(dtype),
        context_len=MODEST.image_tokens + MODEST_PROMPT,
        views=attrs.evolve(MODEST, patch_size=config.sam.patch_size),
        decode_tokens=MODEST_STEPS,
        loaded=False,
    )
    if on_host_first and device.type == "cuda":
        check_host_room(room.weights_bytes)


def _is_transformers(folder: Path, *, trusted: bool) -> bool:
    """Whether transformers' own class runs the folder: it wrote it, and no code that is trusted comes with it.

    Raises `ModelMeterError` for the folder of another model. A folder without a sound config.json is for the next check
    to name.
    """
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    kind, code = (raw.get("model_type"), raw.get("auto_map")) if isinstance(raw, dict) else (None, None)
    if kind != TRANSFORMERS and code is None:
        raise ModelMeterError(
            f"the config.json in {folder} is of model type {kind!r} and brings no code: give the released checkpoint's "
            f"folder (with its *.py files), or one of transformers' {TRANSFORMERS}"
        )
    return kind == TRANSFORMERS and (code is None or not trusted)


def _dtype(dtype: str) -> torch.dtype:
    check_choice("dtype", dtype, tuple(DTYPES))
    return DTYPES[dtype]
