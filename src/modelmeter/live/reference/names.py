"""Module paths of transformers' UnlimitedOcr as the vendor's, under which everything is listed."""

import re
from typing import Final

_RENAMES: Final = (
    # Wrappers that the vendor's tree lacks are part of what is around them.
    (r"^model\.vision_tower$|^model\.language_model$", "model"),
    (r"^model\.vision_tower\.sam_encoder", "model.sam_model"),
    (r"^model\.vision_tower\.vision_encoder", "model.vision_model"),
    (r"^model\.multi_modal_projector", "model.projector.layers"),
    (r"^model\.language_model\.", "model."),
    (r"^model\.sam_model\.patch_embed\.projection", "model.sam_model.patch_embed.proj"),
    (r"^model\.sam_model\.layers\.(\d+)\.layer_norm", r"model.sam_model.blocks.\1.norm"),
    (r"^model\.sam_model\.layers\.", "model.sam_model.blocks."),
    (r"^model\.sam_model\.neck\.conv1", "model.sam_model.neck.0"),
    (r"^model\.sam_model\.neck\.layer_norm1", "model.sam_model.neck.1"),
    (r"^model\.sam_model\.neck\.conv2", "model.sam_model.neck.2"),
    (r"^model\.sam_model\.neck\.layer_norm2", "model.sam_model.neck.3"),
    (r"^model\.sam_model\.proj$", "model.sam_model"),
    (r"^model\.sam_model\.proj\.conv1", "model.sam_model.net_2"),
    (r"^model\.sam_model\.proj\.conv2", "model.sam_model.net_3"),
    (r"^model\.vision_model\.encoder", "model.vision_model.transformer"),
    (r"^(model\.vision_model\..*\.mlp)\.activation_fn", r"\1.act"),
)


def from_transformers(path: str) -> str:
    """The vendor's path of a transformers module; a wrapper's is that of what is around it."""
    for pattern, replacement in _RENAMES:
        path = re.sub(pattern, replacement, path)
    return path
