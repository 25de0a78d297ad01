"""The kinds of layers of a real model: for each class one file, with the modules of it that differ."""

import re
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import attrs

from modelmeter.live.analyser.data import ModuleNode
from modelmeter.live.analyser.stages import VISION, StageName, stage_of
from modelmeter.live.analyser.tree import alike

Part: TypeAlias = Literal["vision", "decoder", "model"]
_TOP: Final[dict[StageName, str]] = {"sam": "ImageEncoderViT", "clip": "VitModel", "projector": "MlpProjector"}
"""The vendor's names of the vision modules: that of transformers' projector is a plain linear layer."""
_WORD: Final = re.compile(r"MoE|SiLU|ViT|[A-Z]+\d*(?![a-z])|[A-Z][a-z]*\d*[a-z]?|[a-z]+|\d+")


@attrs.frozen(kw_only=True)
class LayerKind:
    """Equal modules, wherever they are: `places` are (how often in the model, node)."""

    places: tuple[tuple[int, ModuleNode], ...]

    @property
    def node(self) -> ModuleNode:
        """The first of them."""
        return self.places[0][1]

    @property
    def times(self) -> int:
        """How often it stands in the model."""
        return sum(times for times, _ in self.places)


@attrs.frozen(kw_only=True)
class LayerClass:
    """All modules of one class in one part of the model, under the name of the vendor's class."""

    name: str
    part: Part
    kinds: tuple[LayerKind, ...]

    @property
    def file(self) -> str:
        """Its file below `layers/`: "vision/image_encoder_vit.json"."""
        return f"{self.part}/{snake_case(self.name)}.json"


def layer_classes(tree: ModuleNode) -> list[LayerClass]:
    """The classes of a tree, in the order of their first module."""
    found: dict[tuple[Part, str], list[list[tuple[int, ModuleNode]]]] = {}
    for times, name, node in _named(tree):
        kinds = found.setdefault((_part(node.path), name), [])
        like = next((kind for kind in kinds if alike(kind[0][1], node)), None)
        if like is None:
            kinds.append([(times, node)])
        else:
            like.append((times, node))
    return [
        LayerClass(name=name, part=part, kinds=tuple(LayerKind(places=tuple(kind)) for kind in kinds))
        for (part, name), kinds in found.items()
    ]


def snake_case(name: str) -> str:
    """ "DeepseekV2DecoderLayer" -> "deepseek_v2_decoder_layer", "ImageEncoderViT" -> "image_encoder_vit"."""
    return "_".join(word.lower() for word in _WORD.findall(name))


def _named(node: ModuleNode, times: int = 1, around: StageName | None = None) -> Iterator[tuple[int, str, ModuleNode]]:
    """(how often in the model, the vendor's class, node): of a module that the twin lacks, its own class."""
    stage, number = stage_of(node.path), times * node.repeats
    top = _TOP.get(stage) if stage is not None and around is None else None
    if node.class_name != "ModuleList" or node.twin is not None:
        yield number, top or node.twin or node.class_name, node
    for child in node.children:
        yield from _named(child, number, stage)


def _part(path: str) -> Part:
    stage = stage_of(path)
    return "model" if stage is None else "vision" if stage in VISION else "decoder"
