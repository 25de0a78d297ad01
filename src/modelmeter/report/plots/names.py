"""What dimensions are called on axes, in legends and in titles."""

from collections.abc import Set
from typing import TYPE_CHECKING, Any, Final

from modelmeter.report.plots.style import printable
from modelmeter.sweeps.dimensions import DIMENSIONS

if TYPE_CHECKING:
    import xarray as xr

IMAGE_TOKENS: Final = "image_tokens"
# dimension -> (short name, unit); a dimension that is not here is a pure number
_KNOWN: Final = {
    "batch_size": ("batch size", "sequences"),
    "context_len": ("context length", "tokens"),
    "prompt_tokens": ("text beside the image", "tokens"),
    "cache_len": ("tokens in the cache", "tokens"),
    "decode_tokens": ("decode steps", "tokens"),
    IMAGE_TOKENS: ("image tokens", "tokens"),
    "width": ("width of the page", "pixels"),
    "height": ("height of the page", "pixels"),
    "max_tiles": ("largest number of tiles", "tiles"),
    "base_size": ("side of the global view", "pixels"),
    "tile_size": ("side of a tile", "pixels"),
    "window_size": ("side of SAM's windows", "patches"),
    "num_hidden_layers": ("decoder layers", "layers"),
    "num_key_value_heads": ("KV heads", "heads"),
    "num_attention_heads": ("attention heads", "heads"),
    "n_routed_experts": ("routed experts", "experts"),
    "num_experts_per_tok": ("experts of a token", "experts"),
    "grid": ("tile grid", "width x height"),
    "page": ("page", "width x height, pixels"),
}
# Their values say by themselves what they are.
_SPEAKING: Final = {"attention", "device", "precision", "implementation", "page"}
_USUAL: Final = ("execution", "eager")
_UNTOLD: Final = {"base_size", "tile_size"}  # a mode's own


def short_name(dim: str) -> str:
    """A dimension's name for people."""
    return _KNOWN[dim][0] if dim in _KNOWN else dim.replace("_", " ")


def axis_label(dim: str) -> str:
    """A numeric dimension's label, with its unit."""
    return f"{short_name(dim)} ({_KNOWN[dim][1] if dim in _KNOWN else 'count'})"


def value_label(dim: str, value: Any) -> str:
    """One value of a dimension, as a curve or a title names it: "flash", "batch size 4"."""
    text = printable(f"{value:,}" if isinstance(value, int) else str(value))
    return text if dim in _SPEAKING else f"{short_name(dim)} {text}"


def fixed_label(dataset: "xr.Dataset | xr.DataArray", skip: Set[str], held: Set[str] = frozenset()) -> str:
    """The one value of what does not vary, and of what is `held`: "decode steps 100, h200"."""
    untold = _UNTOLD | ({"prompt_tokens"} if "context_len" in dataset.coords else set())  # counted in the context
    told = set(DIMENSIONS) - (untold - held) - skip
    values = {str(name): one.values.item() for name, one in dataset.coords.items() if one.ndim == 0 and name in told}
    return ", ".join(value_label(name, value) for name, value in values.items() if (name, value) != _USUAL)
