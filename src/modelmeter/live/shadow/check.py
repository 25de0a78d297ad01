"""Whether a real model is the one that a shadow was built for, as far as its modules show before it runs."""

from torch import nn

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.reference.hook_points import HookPoints
from modelmeter.live.shadow.shadow import Shadow, mismatch


def check_model(points: HookPoints, shadow: Shadow) -> None:
    """Raise `ModelMeterError` naming the first module that differs, with what was found and what was expected."""
    names, twin = points.names, shadow.twin
    if points.implementation != shadow.conventions.implementation:
        raise ModelMeterError(
            f"the model has the modules of {points.implementation}, the conventions say "
            f"{shadow.conventions.implementation}: build the Shadow with the conventions that it runs by"
        )
    wanted = shadow.config.decoder.num_hidden_layers
    if len(points.layers) != wanted:
        raise mismatch(names.layers, f"{len(points.layers)} layers", f"{wanted}")
    for index, (router, kind) in enumerate(zip(points.routers, shadow.config.decoder.mlp_layer_types, strict=True)):
        if (router is None) != (kind == "dense"):
            found = "a dense MLP" if router is None else "experts"
            raise mismatch(f"{names.layers}.{index}", found, f"a {kind} one")
    pairs = [
        (names.sam, points.sam, twin.vision_module("sam_model")),
        (names.clip, points.clip, twin.vision_module("vision_model")),
        (names.projector, points.projector, twin.vision_module("projector")),
        *[(f"{names.layers}.{i}", layer, twin.decoder_layer(i)) for i, layer in enumerate(points.layers)],
    ]
    for path, module, analytic in pairs:
        _check_floats(path, module)
        found_count, wanted_count = _parameters(module), analytic.parameter_count()
        if found_count != wanted_count and twin.precision_is_plain:
            raise mismatch(path, f"{found_count:,} parameters", f"{wanted_count:,}")


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _check_floats(path: str, module: nn.Module) -> None:
    """The analytic model prices 16-bit floats, or weights that are quantised."""
    for parameter in module.parameters():
        if parameter.dtype.is_floating_point and parameter.element_size() > 2:
            raise ModelMeterError(
                f"{path} computes in {parameter.dtype}, the analytic model prices 16-bit floats: load it in bfloat16"
            )
