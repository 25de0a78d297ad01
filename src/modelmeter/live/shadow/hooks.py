"""`hooked`: forward hooks on a real model that hand shapes to a `Shadow`, there while a `with` block runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final
from weakref import WeakSet

import torch
from torch import nn

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.reference.hook_points import HookPoints, hook_points
from modelmeter.live.shadow.cache import cached_keys
from modelmeter.live.shadow.check import check_model
from modelmeter.live.shadow.records import VisionModule
from modelmeter.live.shadow.shadow import Shadow

_HOOKED: "Final[WeakSet[nn.Module]]" = WeakSet()
"""The modules that have hooks of ours."""

Hook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]


@contextmanager
def hooked(model: nn.Module | HookPoints, shadow: Shadow, *, experts: bool = False) -> Iterator[Shadow]:
    """While this runs, `shadow` sees every call of the model's decoder layers, SAM, CLIP and projector.

    With `experts` also how many experts each layer reaches: a little work on the indices of the router, on their
    device, that nobody waits for before `flush()`. At the end the hooks are gone, whatever happened, and the shadow is
    flushed. Raises `ModelMeterError` for a model that is not the shadow's, and for one that is hooked already.
    """
    points = model if isinstance(model, HookPoints) else hook_points(model)
    if points.sam in _HOOKED:
        raise ModelMeterError("hooked() found the model hooked already: leave the first `with hooked(...)` block first")
    check_model(points, shadow)
    with ExitStack() as stack:
        for module, hook in _hooks(points, shadow, experts):
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        _HOOKED.add(points.sam)
        stack.callback(_HOOKED.discard, points.sam)
        try:
            yield shadow
        except BaseException:
            with suppress(ModelMeterError):  # what went wrong first is what there is to say
                shadow.flush()
            raise
        stack.close()
        shadow.flush()


def _hooks(points: HookPoints, shadow: Shadow, experts: bool) -> Iterator[tuple[nn.Module, Hook]]:
    features = 1 if points.implementation == "vendor" else 0  # its CLIP is given the pixels, too
    yield points.sam, _vision_hook(shadow, "sam_model", 0)
    yield points.clip, _vision_hook(shadow, "vision_model", features)
    yield points.projector, _vision_hook(shadow, "projector", 0)
    reached: dict[int, torch.Tensor] = {}  # by layer: what a pass that broke off left there is no other layer's
    where = 0 if points.implementation == "vendor" else -1
    for index, (layer, router) in enumerate(zip(points.layers, points.routers, strict=True)):
        if experts and router is not None:
            yield router, _router_hook(reached, index, shadow.config.decoder.n_routed_experts, where)
        yield layer, _layer_hook(shadow, index, reached)


def _layer_hook(shadow: Shadow, layer_idx: int, reached: dict[int, torch.Tensor]) -> Hook:
    def hook(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        cache = kwargs.get("past_key_values")
        if cache is None:
            cache = kwargs.get("past_key_value")  # the name of transformers 4
        keys = None if cache is None else cached_keys(cache, layer_idx)
        shadow.saw_layer(layer_idx, hidden.shape, keys, reached.pop(layer_idx, None))

    return hook


def _vision_hook(shadow: Shadow, module: VisionModule, position: int) -> Hook:
    def hook(_module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any], _output: Any) -> None:
        given = (*args, *kwargs.values())
        shadow.saw_vision(module, given[position].shape)

    return hook


def _router_hook(reached: dict[int, torch.Tensor], layer_idx: int, experts: int, where: int) -> Hook:
    def hook(_router: nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> None:
        indices = output[where].reshape(-1)
        ones = torch.zeros(experts, dtype=torch.int32, device=indices.device)
        reached[layer_idx] = ones.index_fill_(0, indices, 1).sum()

    return hook
