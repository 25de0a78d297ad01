"""The parts of the model that reports name, and which layer begins which."""

from collections.abc import Iterator
from typing import Final

from modelmeter.core.cost import COST_FIELDS, Cost, StageCost
from modelmeter.core.dims import Dim, maximum
from modelmeter.core.layer import Layer
from modelmeter.core.op import Op
from modelmeter.core.recorder import Segment, fold_numbers
from modelmeter.models.deepseek_ocr.network import DeepseekOCRForCausalLM, VisionTower

PARTS: Final = ("sam", "clip", "projector", "embedding", "decoder", "lm_head")
_WIDTH: Final = len(COST_FIELDS) + 1  # a cost and a peak
_REST: Final = "decoder"
"""What belongs to no layer of a part: positions and masks, made inline for the decoder."""


def part_owners(network: DeepseekOCRForCausalLM) -> dict[int, str]:
    """`id(layer)` -> part, for the layers at which a part begins."""
    model = network.model
    begins: list[tuple[Layer | None, str]] = [
        (network.head, "lm_head"),
        (model.embed_tokens, "embedding"),
        (model.splice, "embedding"),
        (model.image_tokens, "projector"),
        (model.vision, "projector"),
        *[(layer, "decoder") for layer in (model.mask, model.rotary_emb, model.norm, *model.layers)],
    ]
    if isinstance(model.vision, VisionTower):
        begins += [(model.vision.sam_model, "sam"), (model.vision.vision_model, "clip")]
    return {id(layer): part for layer, part in begins if layer is not None}


def read_parts(root: Segment, owners: dict[int, str]) -> tuple[Dim, ...]:
    """Flat numbers of a recording: eight of its cost and its peak, then the same nine of each part, in order.

    The parts' costs add up to the whole's; a part's peak is what its layers take beyond their inputs.
    """
    costs: dict[str, list[tuple[Dim, ...]]] = {part: [] for part in PARTS}
    peaks: dict[str, Dim] = dict.fromkeys(PARTS, 0)

    for part, piece in split_parts(root, owners):
        costs[part].append(piece.numbers)
        if isinstance(piece, Segment):
            peaks[part] = maximum(peaks[part], piece.peak()[1])
    flat: list[Dim] = [*root.numbers, root.peak()[1]]
    for part in PARTS:
        flat += [*fold_numbers(costs[part]), peaks[part]]
    return tuple(flat)


def split_parts(root: Segment, owners: dict[int, str], part: str = _REST) -> Iterator[tuple[str, Op | Segment]]:
    """(part, operator or call) of all that a recording holds, in order, in pieces as large as one part goes."""
    if root.layer is not None and id(root.layer) in owners:
        part = owners[id(root.layer)]
    if not _holds_owner(root, owners):
        yield part, root
        return
    for item in root.items:
        if isinstance(item, Segment):
            yield from split_parts(item, owners, part)
        else:
            yield part, item


def unpack_parts(
    flat: tuple[Dim, ...], weights: dict[str, int], kv_cache_bytes: Dim
) -> tuple[StageCost, dict[str, StageCost]]:
    """(the whole, its parts) of what `read_parts` gives."""

    def stage(start: int, resident: int, kv: Dim) -> StageCost:
        *numbers, peak = flat[start : start + _WIDTH]
        return StageCost(
            cost=Cost.from_values(numbers), weights_bytes=resident, activations_bytes=peak, kv_cache_bytes=kv
        )

    parts = {
        part: stage(_WIDTH * (i + 1), weights[part], kv_cache_bytes if part == "decoder" else 0)
        for i, part in enumerate(PARTS)
    }
    return stage(0, sum(weights.values()), kv_cache_bytes), parts


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
    below = [item for item in segment.items if isinstance(item, Segment)]
    return any((item.layer is not None and id(item.layer) in owners) or _holds_owner(item, owners) for item in below)
