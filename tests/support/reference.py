"""The real model: transformers' UnlimitedOcr, built on meta (no memory, no weights), and what FlopCounterMode counts.

Attention runs over the full context and the cache is a plain one, as in DeepSeek-OCR (FACTS section 4). Its experts run
as "batched_mm": the default `_grouped_mm` counts 0, and the loop over experts routes on data, which meta has none of.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, UnlimitedOcrConfig, UnlimitedOcrForConditionalGeneration

from modelmeter import ViewPlan
from support.names import GLOBAL

BF16 = torch.bfloat16


def released_config() -> UnlimitedOcrConfig:
    """The full-size architecture, from transformers' own numbers: nothing of ours goes in."""
    return UnlimitedOcrConfig(text_config={"layer_types": ["full_attention"] * 12, "sliding_window": 32768})


def build(config: UnlimitedOcrConfig, attention: str = "eager") -> UnlimitedOcrForConditionalGeneration:
    """The real model in bf16 on meta. SAM picks its attention class here: later it cannot be changed."""
    vision = config.vision_config
    for part in (config, config.text_config, vision, vision.sam_config, vision.encoder_config):
        part._attn_implementation = attention
    with bf16_on_meta():
        model = UnlimitedOcrForConditionalGeneration(config)
    model.config._experts_implementation = "batched_mm"
    model.config.text_config._experts_implementation = "batched_mm"
    return model.eval()


@contextmanager
def bf16_on_meta() -> Iterator[None]:
    """New modules and tensors are bf16 (unless a dtype is given) and on meta."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(BF16)
    try:
        with torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(before)


@attrs.frozen
class Counted:
    """What FlopCounterMode counted: in all, by aten operator, and by module path (below the module that was called)."""

    total: int
    by_operator: dict[str, int]
    by_module: dict[str, int]


def count(module: nn.Module, *args: Any, grad: bool = False, **kwargs: Any) -> Counted:
    """Run `module` and count."""
    return count_call(lambda: module(*args, **kwargs), grad=grad)


def count_call(call: Callable[[], Any], *, grad: bool = False) -> Counted:
    """Run `call` and count. Paths start below the first module called."""
    counter = FlopCounterMode(display=False)
    with torch.set_grad_enabled(grad), counter:
        call()
    counts = counter.get_flop_counts()
    by_operator = {packet.__name__: flops for packet, flops in counts.get(GLOBAL, {}).items()}
    by_module: dict[str, int] = collections.Counter()
    for path, flops in counts.items():
        if path != GLOBAL:
            by_module[path.partition(".")[2]] += sum(flops.values())
    return Counted(sum(by_operator.values()), by_operator, dict(by_module))


class Stages(nn.Module):
    """The real model's forward passes as one module: its paths then start with the model's own names.

    A method such as get_image_features is no module call: without this its parts would each be a root.
    """

    def __init__(self, real: UnlimitedOcrForConditionalGeneration) -> None:
        super().__init__()
        self.real = real

    def forward(self, call: Callable[[UnlimitedOcrForConditionalGeneration], Any]) -> Any:
        return call(self.real)

    def count(self, call: Callable[[UnlimitedOcrForConditionalGeneration], Any]) -> Counted:
        """Count `call(real model)`; paths are those of `real.named_modules()`."""
        counted = count(self, call)
        by_module = {path.removeprefix("real").removeprefix("."): n for path, n in counted.by_module.items()}
        return attrs.evolve(counted, by_module=by_module)


def images(number: int, side: int, channels: int = 3) -> torch.Tensor:
    """`number` views of one size."""
    return torch.empty(number, channels, side, side, dtype=BF16, device="meta")


def token_ids(batch: int, tokens: int) -> torch.Tensor:
    """Token ids [batch tokens]."""
    return torch.empty(batch, tokens, dtype=torch.long, device="meta")


def image_arguments(plan: ViewPlan, batch: int = 1) -> dict[str, Any]:
    """Arguments of the real model's get_image_features for `batch` pages of these views."""
    arguments: dict[str, Any] = {"pixel_values": images(batch, plan.base_size)}
    if plan.num_tiles and plan.tile_size:
        arguments |= {
            "pixel_values_local": images(batch * plan.num_tiles, plan.tile_size),
            "num_local_patches": [plan.num_tiles] * batch,
            "patches_grid": [list(plan.grid)] * batch,
        }
    return arguments


def filled_cache(real: UnlimitedOcrForConditionalGeneration, batch: int, chunks: Sequence[int]) -> DynamicCache:
    """A real cache after real forward passes of `chunks` tokens each."""
    cache = DynamicCache(config=real.config.text_config)
    with torch.no_grad():
        for tokens in chunks:
            real(input_ids=token_ids(batch, tokens), past_key_values=cache, use_cache=True)
    return cache


def cache_tensors(cache: DynamicCache | None) -> list[torch.Tensor]:
    """Keys and values of the layers that hold some."""
    layers = [] if cache is None else [layer for layer in cache.layers if layer.is_initialized]
    return [tensor for layer in layers for tensor in (layer.keys, layer.values)]


def cache_bytes(cache: DynamicCache) -> int:
    """Bytes of a real cache's tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in cache_tensors(cache))


def parameters(module: nn.Module) -> int:
    """Number of weights; a shared one counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def really_saved(module: nn.Module, *args: Any, **kwargs: Any) -> int:
    """Bytes that autograd keeps of a forward pass for its backward, each storage once.

    What is resident anyway is left out: weights, buffers, and the keys and values of a cache passed as past_key_values.
    """
    resident = {tensor.untyped_storage()._cdata for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}  # keeps them alive: an address is then used once

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in resident:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = module(*args, **kwargs)
    cached = {tensor.untyped_storage()._cdata for tensor in cache_tensors(kwargs.get("past_key_values"))}
    del out
    return sum(storage.nbytes() for address, storage in kept.items() if address not in cached)
