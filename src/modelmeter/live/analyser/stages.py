"""Which stage a module or a parameter of the real model belongs to: a declared map over the vendor's paths."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal, TypeAlias

import attrs
from torch import nn

from modelmeter.core.errors import ModelMeterError

StageName: TypeAlias = Literal["sam", "clip", "projector", "prefill", "decode"]
MODULES: Final[Mapping[StageName, tuple[str, ...]]] = {
    "sam": ("model.sam_model",),
    "clip": ("model.vision_model",),
    # The newline and the separator are rows among the projected tokens; transformers spells the second correctly.
    "projector": ("model.projector", "model.image_newline", "model.view_seperator", "model.view_separator"),
    "prefill": ("model.embed_tokens", "model.rotary_emb", "model.layers", "model.norm", "lm_head"),
}
"""The modules and parameters of each stage, with all below them. No path is in two stages."""
SHARED: Final[Mapping[StageName, StageName]] = {"decode": "prefill"}
"""Decode runs the modules of prefill and has none of its own."""
STAGE_NAMES: Final[tuple[StageName, ...]] = (*MODULES, *SHARED)
VISION: Final = ("sam", "clip", "projector")
"""With what joins their results, the vision part."""
CONTAINERS: Final = ("", "model")
"""Modules around several stages: theirs is what runs between the stages' modules."""


@attrs.frozen(kw_only=True)
class MappedParameter:
    """A parameter of the real model: its own path, the one it is listed under, its stage, its values and bytes."""

    real_path: str
    path: str
    stage: StageName
    count: int
    num_bytes: int


def stage_of(path: str) -> StageName | None:
    """The stage of a module or parameter, by the vendor's path; None where it belongs to none."""
    for stage, begins in MODULES.items():
        if any(path == begin or path.startswith(f"{begin}.") for begin in begins):
            return stage
    return None


def listed_parameters(
    named: Iterable[tuple[str, nn.Parameter]], rename: Callable[[str], str]
) -> Iterator[tuple[str, str, nn.Parameter]]:
    """(own path, vendor's path, parameter): modules are renamed, a parameter keeps its own name."""
    for real, parameter in named:
        module, _, name = real.rpartition(".")
        around = rename(module)
        yield real, f"{around}.{name}" if around else name, parameter


def map_parameters(model: nn.Module, rename: Callable[[str], str], name: str) -> tuple[MappedParameter, ...]:
    """Every parameter of the real model, each with its stage; one that is used twice is listed once.

    `rename` gives the vendor's path of a module, `name` is the model's, for messages. Raises `ModelMeterError` naming
    the parameters that the map has no stage for.
    """
    found, lost = [], []
    for real, path, parameter in listed_parameters(model.named_parameters(), rename):
        stage = stage_of(path)
        if stage is None:
            lost.append(real)
            continue
        num_bytes = parameter.numel() * parameter.element_size()
        found.append(
            MappedParameter(real_path=real, path=path, stage=stage, count=parameter.numel(), num_bytes=num_bytes)
        )
    if lost:
        known = ", ".join(path for begins in MODULES.values() for path in begins)
        raise ModelMeterError(
            f"the stage map has no stage for {', '.join(lost[:3])}{f' and {len(lost) - 3} more' if lost[3:] else ''} "
            f"of {name}: give a DeepSeek-OCR whose modules are {known}"
        )
    return tuple(found)
