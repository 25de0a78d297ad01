"""Where hooks stand in a real model: SAM, CLIP, the projector, the decoder layers and their routers, by any adapter's
names."""

from typing import Final

import attrs
from torch import nn

from modelmeter.core.errors import ModelMeterError


@attrs.frozen(kw_only=True)
class Names:
    """Module paths of one implementation; `router` is relative to a decoder layer, and only in layers with experts.

    `head` is looked at, not hooked, where there is one.
    """

    sam: str
    clip: str
    projector: str
    layers: str
    router: str = "mlp.gate"
    head: str = "lm_head"

    @property
    def paths(self) -> tuple[str, ...]:
        """All that a model has to have."""
        return (self.sam, self.clip, self.projector, self.layers)


IMPLEMENTATIONS: Final = {
    "vendor": Names(
        sam="model.sam_model", clip="model.vision_model", projector="model.projector", layers="model.layers"
    ),
    "transformers": Names(
        sam="model.vision_tower.sam_encoder",
        clip="model.vision_tower.vision_encoder",
        projector="model.multi_modal_projector",
        layers="model.language_model.layers",
    ),
}
_MOST_FOUND: Final = 24  # names in an error


@attrs.frozen(kw_only=True)
class HookPoints:
    """The modules of a real model that hooks are put on, and its head; `routers` has None where no experts are."""

    implementation: str
    names: Names
    sam: nn.Module
    clip: nn.Module
    projector: nn.Module
    layers: tuple[nn.Module, ...]
    routers: tuple[nn.Module | None, ...]
    head: nn.Module | None = None


def hook_points(model: nn.Module) -> HookPoints:
    """The hook points of `model`, whosever code it is.

    Raises `ModelMeterError` where its module names are none that are known, with those looked for and those found.
    """
    modules = dict(model.named_modules())
    for implementation, names in IMPLEMENTATIONS.items():
        if all(path in modules for path in names.paths):
            return _points(modules, implementation, names)
    wanted = "; ".join(f"{name}: {', '.join(names.paths)}" for name, names in IMPLEMENTATIONS.items())
    raise ModelMeterError(
        f"hook_points() knows no model with the modules of {type(model).__name__}. Looked for {wanted}. "
        f"Found {_top(modules) or 'no modules'}: give a DeepSeek-OCR of the vendor's code or of transformers"
    )


def _points(modules: dict[str, nn.Module], implementation: str, names: Names) -> HookPoints:
    layers = tuple(modules[names.layers].children())
    if not layers:
        raise ModelMeterError(f"hook_points(): {names.layers} has no decoder layers: check the model's configuration")
    routers = tuple(modules.get(f"{names.layers}.{index}.{names.router}") for index in range(len(layers)))
    return HookPoints(
        implementation=implementation,
        names=names,
        sam=modules[names.sam],
        clip=modules[names.clip],
        projector=modules[names.projector],
        layers=layers,
        routers=routers,
        head=modules.get(names.head),
    )


def _top(modules: dict[str, nn.Module]) -> str:
    """Paths of at most two names, the first of them."""
    paths = [path for path in modules if path and path.count(".") < 2]
    more = len(paths) - _MOST_FOUND
    return ", ".join(paths[:_MOST_FOUND]) + (f" and {more} more" if more > 0 else "")
