"""Whether a real model is the one that a shadow was built for, as far as its modules show before it runs."""

from torch import nn

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.layer import Layer
from modelmeter.live.reference.hook_points import HookPoints
from modelmeter.live.shadow.shadow import Shadow, mismatch
from modelmeter.models.deepseek_ocr.config import DecoderConfig


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
    _check_routers(points, shadow.config.decoder)
    pairs: list[tuple[str, nn.Module, Layer]] = [
        (names.sam, points.sam, twin.vision_module("sam_model")),
        (names.clip, points.clip, twin.vision_module("vision_model")),
        (names.projector, points.projector, twin.vision_module("projector")),
        *[(f"{names.layers}.{i}", layer, twin.decoder_layer(i)) for i, layer in enumerate(points.layers)],
    ]
    tied = shadow.config.decoder.tie_word_embeddings  # then the head's weights are the embedding's
    if points.head is not None and twin.model.network.head is not None and not tied:
        pairs.append((names.head, points.head, twin.model.network.head))
    for path, module, analytic in pairs:
        _check_floats(path, module)
        found_count, wanted_count = _parameters(module), analytic.parameter_count()
        if found_count != wanted_count and twin.precision_is_plain:
            raise mismatch(path, f"{found_count:,} parameters", f"{wanted_count:,}")


def _check_routers(points: HookPoints, decoder: DecoderConfig) -> None:
    """Which layers have experts, and how many a token is sent to."""
    for index, (router, kind) in enumerate(zip(points.routers, decoder.mlp_layer_types, strict=True)):
        path = f"{points.names.layers}.{index}"
        if (router is None) != (kind == "dense"):
            raise mismatch(path, "a dense MLP" if router is None else "experts", f"a {kind} one")
        if router is not None and vars(router)["top_k"] != decoder.num_experts_per_tok:  # whosever code it is
            found = f"{vars(router)['top_k']} experts a token"
            raise mismatch(f"{path}.{points.names.router}", found, f"{decoder.num_experts_per_tok}")


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _check_floats(path: str, module: nn.Module) -> None:
    """The analytic model prices 16-bit floats, or weights that are quantised."""
    for parameter in module.parameters():
        if parameter.dtype.is_floating_point and parameter.element_size() > 2:
            raise ModelMeterError(
                f"{path} computes in {parameter.dtype}, the analytic model prices 16-bit floats: load it in bfloat16"
            )
