"""What hooks hand to a `Shadow`: shapes, and where in the run they were."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import attrs

from modelmeter.live.shadow.records import ViewKind, VisionModule
from modelmeter.models.deepseek_ocr.views import ViewPlan


@attrs.frozen(kw_only=True)
class Place:
    """A page of a document; `views` are its views where somebody said."""

    document: str | None = None
    page: int | None = None
    views: ViewPlan | None = None


@attrs.define(kw_only=True, eq=False)
class SeenPass:
    """Decoder layers `first`, `first + 1`, ... in one forward pass, `count` so far: all had the same shapes.

    `shape` is [b q hidden], `keys` [b heads kv d] as the cache held them afterwards (None: no cache). `hits` are the
    experts that layers reached: numbers, or tensors of one that wait on their device.
    """

    stage: str
    step: int
    shape: Sequence[int]
    keys: Sequence[int] | None
    place: Place
    first: int
    count: int = 0
    hits: dict[int, Any] = attrs.field(factory=dict)

    @property
    def layers(self) -> range:
        """Indices of the layers that ran."""
        return range(self.first, self.first + self.count)

    @property
    def batch(self) -> int:
        """Sequences."""
        return self.shape[0]

    @property
    def tokens(self) -> int:
        """Tokens of each sequence."""
        return self.shape[1]

    @property
    def kv_len(self) -> int:
        """Keys that they attend to, their own included."""
        return self.tokens if self.keys is None else self.keys[2]


class SeenVision(NamedTuple):
    """A call of SAM, CLIP or the projector on `shape`."""

    module: VisionModule
    shape: tuple[int, ...]
    stage: str
    view: ViewKind
    place: Place
