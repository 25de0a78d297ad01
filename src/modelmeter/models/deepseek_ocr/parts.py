"""The parts of the model that reports name, and which layer begins which."""

from typing import Final

from modelmeter.core.cost import Cost
from modelmeter.core.dims import Dim, maximum
from modelmeter.core.layer import Layer
from modelmeter.core.recorder import Segment
from modelmeter.models.deepseek_ocr.network import DeepseekOCRForCausalLM, VisionTower

PARTS: Final = ("sam", "clip", "projector", "embedding", "decoder", "lm_head")
_REST: Final = "decoder"
"""What belongs to no layer of a part: positions and masks, made inline for the decoder."""


def part_owners(network: DeepseekOCRForCausalLM) -> dict[int, str]:
    """`id(layer)` -> part, for the layers at which a part begins."""
    model = network.model
    begins: list[tuple[Layer | None, str]] = [
        (network.lm_head, "lm_head"),
        (model.embed_tokens, "embedding"),
        (model.splice, "embedding"),
        (model.image_tokens, "projector"),
        (model.vision, "projector"),
        *[(layer, "decoder") for layer in (model.mask, model.rotary_emb, model.norm, *model.layers)],
    ]
    if isinstance(model.vision, VisionTower):
        begins += [(model.vision.sam_model, "sam"), (model.vision.vision_model, "clip")]
    return {id(layer): part for layer, part in begins if layer is not None}


def split_costs(root: Segment, owners: dict[int, str]) -> tuple[dict[str, Cost], dict[str, Dim]]:
    """(cost, peak) of each part: costs add up to the root's; a peak is what a layer takes beyond its inputs."""
    costs = dict.fromkeys(PARTS, Cost())
    peaks: dict[str, Dim] = dict.fromkeys(PARTS, 0)

    def visit(segment: Segment, part: str) -> None:
        if segment.layer is not None and id(segment.layer) in owners:
            part = owners[id(segment.layer)]
            peaks[part] = maximum(peaks[part], segment.peak()[1])
        if not _holds_owner(segment, owners):
            costs[part] += Cost.from_values(segment.numbers)
            return
        for item in segment.items:
            if isinstance(item, Segment):
                visit(item, part)
            else:
                costs[part] += item.cost

    visit(root, _REST)
    return costs, peaks


def split_weights(network: DeepseekOCRForCausalLM, owners: dict[int, str]) -> dict[str, int]:
    """Bytes of weights resident by part."""
    totals = dict.fromkeys(PARTS, 0)

    def visit(layer: Layer, part: str) -> None:
        part = owners.get(id(layer), part)
        children = [child for _, child in layer.named_children()]
        totals[part] += layer.parameter_bytes() - sum(child.parameter_bytes() for child in children)
        for child in children:
            visit(child, part)

    visit(network, _REST)
    return totals


def _holds_owner(segment: Segment, owners: dict[int, str]) -> bool:
    """Whether a part begins below this segment (a part's own layers are not searched)."""
    for item in segment.items:
        if isinstance(item, Segment) and ((item.layer is not None and id(item.layer) in owners) or _holds_owner(item, owners)):
            return True
    return False
