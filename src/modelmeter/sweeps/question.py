"""A sweep as it was asked: the model, the stage, the axes in their order, and the quantities."""

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.roofline import machine_of
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views
from modelmeter.sweeps.dimensions import CONVENTIONS, VIEWS, Axis, Role, read_axis
from modelmeter.sweeps.quantities import QUANTITIES, VIEW_QUANTITIES, choose

PROMPT_TOKENS: Final = 10
"""Tokens of text beside the image where a sweep names none: those of the model's usual prompt."""
SIZES_OF_STAGE: Final = {
    "vision": ("batch_size",),
    "prefill": ("batch_size", "context_len", "prompt_tokens"),
    "decode": ("batch_size", "context_len", "prompt_tokens", "cache_len", "decode_tokens"),
    "run": ("batch_size", "context_len", "prompt_tokens", "decode_tokens"),
}
LENGTHS: Final = ("context_len", "prompt_tokens", "cache_len")


@attrs.frozen(kw_only=True)
class Question:
    """What is asked: `axes` in the order of the dimensions (fixed ones among them), and the `quantities`.

    `files` are device files; it holds no model, so that it can travel to another process.
    """

    config: DeepseekOCRConfig
    conventions: Conventions
    precision: Precision
    views: ViewPlan | None
    stage: str
    axes: tuple[Axis, ...]
    quantities: tuple[str, ...]

    def axis(self, name: str) -> Axis | None:
        """The axis of that name, if there is one."""
        return next((axis for axis in self.axes if axis.name == name), None)

    def of_role(self, *roles: Role) -> list[Axis]:
        """The axes of one role after those of another, each in order."""
        return [axis for role in roles for axis in self.axes if axis.role == role]

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each dimension, in order."""
        return {axis.name: len(axis) for axis in self.axes if not axis.fixed}

    @property
    def points(self) -> int:
        """Number of points."""
        return math.prod(self.sizes.values())

    def dims_of(self, name: str) -> tuple[str, ...]:
        """The dimensions that a quantity has: those of a device for times alone, those of views for what views tell."""
        if name in VIEW_QUANTITIES:
            roles: tuple[Role, ...] = ("view",)
        else:
            roles = ("size", "view", "model", "machine") if QUANTITIES[name].timed else ("size", "view", "model")
        return tuple(axis.name for axis in self.axes if axis.role in roles and not axis.fixed)

    def part(self, where: Mapping[str, slice]) -> "Question":
        """The same over a part of each axis."""
        axes = [axis.part(where[axis.name]) if axis.name in where else axis for axis in self.axes]
        return attrs.evolve(self, axes=tuple(axes))

    def models(self) -> Iterator[DeepseekOCRModel]:
        """The model of each combination of the model's axes, the last one fastest."""
        axes = self.of_role("model")
        for values in _combinations(axes):
            yield self._model(dict(zip([axis.name for axis in axes], values, strict=True)))

    def machines(self) -> list[Machine]:
        """The machine of each combination of device and execution, the last one fastest; none without a device."""
        axes = self.of_role("machine")
        if not axes:
            return []
        chosen = [dict(zip([axis.name for axis in axes], values, strict=True)) for values in _combinations(axes)]
        return [machine_of(one["device"], execution=one.get("execution", "eager")) for one in chosen]

    def plans(self) -> list[ViewPlan | None]:
        """The views of each combination of the views' axes, the last one fastest."""
        axes = self.of_role("view")
        if not axes:
            return [self.views]
        names, own = [axis.name for axis in axes], self._own_views()
        return [self._plan(dict(zip(names, values, strict=True)), own) for values in _combinations(axes)]

    def _model(self, chosen: dict[str, Any]) -> DeepseekOCRModel:
        precision = chosen.pop("precision", self.precision)
        conventions = attrs.asdict(self.conventions) | {
            name: chosen.pop(name) for name in CONVENTIONS if name in chosen
        }
        config = changed_config(self.config, chosen)
        return DeepseekOCRModel.from_config(config, precision=precision, **conventions)

    def _plan(self, chosen: dict[str, Any], own: dict[str, Any]) -> ViewPlan:
        """The views of a page or grid; what is not chosen is as in the model's `own`, sides of another mode its own."""
        if "mode" in chosen:
            own = {name: value for name, value in own.items() if name not in ("base_size", "tile_size")}
        if "grid" in chosen:
            sides = {name: value for name, value in {**own, **chosen}.items() if name in ("base_size", "tile_size")}
            return ViewPlan.from_grid(chosen["grid"], **sides)
        if "page" in chosen:
            width, height = chosen.pop("page")
            chosen |= {"width": width, "height": height}
        return plan_views(**{**own, "patch_size": self.config.sam.patch_size, **chosen})

    def _own_views(self) -> dict[str, Any]:
        """What the model's views were planned with."""
        if self.views is None:
            return {}
        planned = attrs.asdict(self.views)
        names = ("width", "height", "mode", "max_tiles", "base_size", "tile_size")
        return {name: planned[name] for name in names if planned[name] not in (None, "custom")}


def _combinations(axes: list[Axis]) -> Iterator[tuple[Any, ...]]:
    return product(*[axis.values for axis in axes])


def changed_config(config: DeepseekOCRConfig, parameters: Mapping[str, int]) -> DeepseekOCRConfig:
    """`config` with other sizes: more layers repeat the last kind, another width is the projector's too."""
    decoder: dict[str, Any] = dict(parameters)
    sam, projector = config.sam, config.projector
    if "window_size" in decoder:
        sam = attrs.evolve(sam, window_size=decoder.pop("window_size"))
    if "num_hidden_layers" in decoder:
        layers, kinds = decoder["num_hidden_layers"], config.decoder.mlp_layer_types
        decoder["mlp_layer_types"] = (*kinds, *kinds[-1:] * layers)[:layers]
    if "hidden_size" in decoder:
        projector = attrs.evolve(projector, n_embed=decoder["hidden_size"])
    return attrs.evolve(config, sam=sam, projector=projector, decoder=attrs.evolve(config.decoder, **decoder))


def ask(
    model: DeepseekOCRModel,
    over: Mapping[str, Any],
    *,
    stage: str,
    device: Any = None,
    execution: Any = None,
    quantities: Any = None,
) -> Question:
    """The question that a user's words make. Raises `ModelMeterError` where they make none."""
    if not isinstance(model, DeepseekOCRModel):
        raise ModelMeterError(f"sweep() takes a DeepseekOCRModel first, not a {type(model).__name__}")
    if not isinstance(over, Mapping):
        raise ModelMeterError(
            "sweep: over is no mapping: give {dimension: values}, such as {'context_len': [512, 1024]}"
        )
    if model.config is None:
        raise ModelMeterError("sweep() needs a model from a configuration: from_layers() has nothing to build again")
    given = dict(over)
    for name, value in (("device", device), ("execution", execution)):
        if value is not None:
            if name in given:
                raise ModelMeterError(f"sweep: {name} is given twice, in over and beside it: give it once")
            given[name] = value
    axes = tuple(read_axis(name, value) for name, value in given.items())
    names = [axis.name for axis in axes]
    single_pass = stage != "run" and "decode_tokens" not in names
    chosen = choose(stage, quantities, timed="device" in names, single_pass=single_pass)
    if "execution" in names and "device" not in names:
        raise ModelMeterError("sweep: execution needs a device: give device=")
    _check_sizes(stage, names, with_views=model.views is not None)
    _check_views(names, model.views)
    return Question(
        config=model.config,
        conventions=model.conventions,
        precision=model.precision,
        views=model.views,
        stage=stage,
        axes=axes,
        quantities=chosen,
    )


def _check_sizes(stage: str, names: list[str], *, with_views: bool) -> None:
    """Raise where a size is of another stage, or there is none or more than one context."""
    for name in names:
        if name in ("batch_size", "decode_tokens", *LENGTHS) and name not in SIZES_OF_STAGE[stage]:
            raise ModelMeterError(
                f"sweep: {name} changes nothing in the stage {stage}: its sizes are {', '.join(SIZES_OF_STAGE[stage])}"
            )
    lengths = [name for name in names if name in LENGTHS]
    if len(lengths) > 1:
        raise ModelMeterError(f"sweep: {' and '.join(lengths)} say the same twice: give one of them")
    if stage == "run" and "decode_tokens" not in names:
        raise ModelMeterError("sweep: the stage run needs decode_tokens: give them in over")
    seen = with_views or any(name in VIEWS for name in names)
    if stage == "vision" and not seen:
        raise ModelMeterError(
            "sweep: the stage vision needs views: set_views(plan_views(width, height)), or vary the page"
        )
    if stage != "vision" and not lengths and not seen:
        raise ModelMeterError(f"sweep: the stage {stage} needs a context: give context_len, or views")


def _check_views(names: list[str], views: ViewPlan | None) -> None:
    """Raise where the axes of views do not make views."""
    asked = [name for name in names if name in VIEWS]
    if "grid" in asked:
        wrong = [name for name in asked if name in ("page", "width", "height", "mode", "max_tiles")]
        if wrong:
            raise ModelMeterError(f"sweep: grid and {wrong[0]} do not go together: a grid is what a page is cut into")
    elif "page" in asked:
        if "width" in asked or "height" in asked:
            raise ModelMeterError("sweep: page is width and height together: give one or the other")
    elif asked and (views is None or views.width is None):
        missing = [name for name in ("width", "height") if name not in asked]
        if missing:
            raise ModelMeterError(f"sweep: {asked[0]} needs a page: give page, or set_views(plan_views(width, height))")
