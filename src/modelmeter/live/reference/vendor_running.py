"""What the vendor's code does beside computing, made harmless while it runs. Its files are left as they are."""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode


class StaysHere(TorchFunctionMode):
    """`.cuda()` gives the tensor itself: the model is elsewhere."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.cuda:
            return args[0]
        return func(*args, **(kwargs or {}))


class ImageTokensMade(Exception):
    """The image tokens of the last page are there, on their way into the embeddings."""


class StopsBeforeTheDecoder(TorchFunctionMode):
    """Image tokens go nowhere; after those of `pages` pages `ImageTokensMade` is raised, with the last page's."""

    def __init__(self, pages: int) -> None:
        super().__init__()
        self.left = pages

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.Tensor.masked_scatter_:
            return func(*args, **(kwargs or {}))
        self.left -= 1
        if not self.left:
            raise ImageTokensMade(args[2])
        return args[0]


def image_tokens_of(forward: Callable[[], Any], pages: int) -> torch.Tensor:
    """Run `forward` as far as the last page's image tokens, which are returned. The decoder does not run."""
    try:
        with StopsBeforeTheDecoder(pages):
            forward()
    except ImageTokensMade as made:
        return made.args[0]
    raise RuntimeError("the model's forward did not put image tokens among the embeddings (masked_scatter_)")


@contextmanager
def called_as_modules(modules: Iterable[nn.Module]) -> Iterator[None]:
    """While this runs, `module.forward(x)` is `module(x)`: who looks at calls sees these too."""
    with ExitStack() as stack:
        for module in modules:
            stack.callback(vars(module).pop, "forward", None)
            _call_as_module(module)
        yield


def _call_as_module(module: nn.Module) -> None:
    def forward(*args: Any, **kwargs: Any) -> Any:
        del module.forward  # the class's own again, which the call asks for
        try:
            return module(*args, **kwargs)
        finally:
            module.forward = forward

    module.forward = forward


@contextmanager
def flash_attention_here() -> Iterator[None]:
    """While this runs, LlamaFlashAttention2 runs torch's attention kernel where the flash-attn package is missing."""
    llama = import_module("transformers.models.llama.modeling_llama")
    utils = import_module("transformers.utils")
    if utils.is_flash_attn_2_available():
        yield
        return
    before = vars(llama)["_flash_attention_forward"]
    vars(llama)["_flash_attention_forward"] = one_kernel
    try:
        yield
    finally:
        vars(llama)["_flash_attention_forward"] = before


def one_kernel(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, *_: Any, **__: Any) -> torch.Tensor:
    """[b s h d], [b t kv d], [b t kv d] -> [b s h d], causal. `mask` is that of padding: there is none here."""
    queries, keys = q.shape[1], k.shape[1]
    several = None  # queries after cached keys: a triangle in the lower right
    if 1 < queries < keys:
        several = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=several, is_causal=1 < queries == keys, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out.transpose(1, 2)


@contextmanager
def silent() -> Iterator[None]:
    """While this runs, what is printed is dropped, and transformers says nothing (it calls these classes outdated)."""
    logging = import_module("transformers.utils.logging")
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(before)
