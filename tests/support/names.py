"""transformers' module names as ours, which are the vendor's: one table, and what only one side has."""

import re
from collections.abc import Mapping

GLOBAL = "Global"

# A real path's beginning -> ours. Tried in this order; the rest of the path is translated by _INSIDE.
_BEGINNINGS = (
    ("model.vision_tower.sam_encoder", "model.sam_model"),
    ("model.vision_tower.vision_encoder", "model.vision_model"),
    ("model.multi_modal_projector", "model.projector.layers"),
    ("model.language_model", "model"),
    ("lm_head", "lm_head"),
    ("model", "model"),
)
_INSIDE = {
    "model.sam_model": (
        (r"^patch_embed\.projection", "patch_embed.proj"),
        (r"^layers\.(\d+)\.layer_norm", r"blocks.\1.norm"),
        (r"^layers\.", "blocks."),
        (r"^neck\.conv1", "neck.0"),
        (r"^neck\.layer_norm1", "neck.1"),
        (r"^neck\.conv2", "neck.2"),
        (r"^neck\.layer_norm2", "neck.3"),
        (r"^proj\.conv1", "net_2"),
        (r"^proj\.conv2", "net_3"),
    ),
    "model.vision_model": ((r"^encoder", "transformer"), (r"mlp\.activation_fn", "mlp.act")),
}

# Modules that only transformers has -> ours that add up to them. A trailing ".*": every path one name deeper.
ONLY_THERE: Mapping[str, tuple[str, ...]] = {
    "model.vision_tower": ("model.sam_model", "model.vision_model"),
    "model.vision_tower.sam_encoder.proj": ("model.sam_model.net_2", "model.sam_model.net_3"),
    "model.language_model": ("model.embed_tokens", "model.layers.*", "model.norm", "model.rotary_emb"),
}

# Modules that only we have -> the one they belong to and the parts that this one is made of: one of the two is there.
# The vendor's projector wraps its one linear; transformers' experts are stacked parameters of one module.
_ONLY_HERE = (
    (r"^(model\.projector)$", r"\1", (r"\1.layers",)),
    (r"^(.*\.mlp\.experts)\.(?:gate_up_proj|down_proj)$", r"\1", (r"\1.gate_up_proj", r"\1.down_proj")),
)


def to_ours(path: str) -> tuple[str, ...]:
    """Our paths that add up to the real `path`. Raises `KeyError` for one that no rule knows."""
    if path in ONLY_THERE:
        return ONLY_THERE[path]
    if not path:
        return ("",)
    for beginning, ours in _BEGINNINGS:
        if path == beginning:
            return (ours,)
        if path.startswith(beginning + "."):
            rest = path.removeprefix(beginning + ".")
            for pattern, replacement in _INSIDE.get(ours, ()):
                rest = re.sub(pattern, replacement, rest)
            return (f"{ours}.{rest}",)
    raise KeyError(f"no rule for the real module {path!r}")


def only_here(path: str) -> tuple[str, tuple[str, ...]] | None:
    """For a module that only we have: the module it belongs to, and all the parts of that. None for any other."""
    for pattern, whole, parts in _ONLY_HERE:
        found = re.match(pattern, path)
        if found:
            return found.expand(whole), tuple(found.expand(part) for part in parts)
    return None


def expand(path: str, ours: Mapping[str, int]) -> list[str]:
    """`path`, or for `path.*` every path of `ours` one name below it."""
    if not path.endswith(".*"):
        return [path]
    above = path.removesuffix("*")
    return [name for name in ours if name.startswith(above) and "." not in name.removeprefix(above)]
