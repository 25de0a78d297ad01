"""Whole forward passes: the stateful analytic model moved along with the real one, and what of it has no hook."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from modelmeter.core.cost import StageCost
from modelmeter.live.shadow.seen import SeenVision
from modelmeter.live.shadow.twin import MEMO_LIMIT, Twin, split
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan


class Pass(NamedTuple):
    """A forward pass of `tokens` onto what makes `kv_len` keys, with the views of a page in each sequence or none.

    Views are encoded in it, and their image tokens are among its tokens.
    """

    batch: int
    tokens: int
    kv_len: int
    views: ViewPlan | None = None

    @property
    def past(self) -> int:
        """Tokens cached before it."""
        return self.kv_len - self.tokens


class WholePasses:
    """The model's cost of passes, each kind of pass asked once."""

    def __init__(self, twin: Twin) -> None:
        self._model: DeepseekOCRModel = twin.model
        self._page_by_page = twin.conventions.implementation == "vendor"
        self._known: dict[Pass, StageCost] = {}
        self._vision: dict[tuple[ViewPlan, int], StageCost] = {}

    def learn(self, passes: Iterable[Pass]) -> None:
        """Ask for all passes that are new: decode steps at once, over an array of lengths."""
        if len(self._known) > MEMO_LIMIT:
            self._known.clear()
        decodes: dict[int, list[int]] = {}
        for asked in dict.fromkeys(passes):
            if asked in self._known:
                continue
            if asked.tokens == 1 and asked.past and asked.views is None:
                decodes.setdefault(asked.batch, []).append(asked.kv_len)
            else:
                self._known[asked] = self._ask(asked)
        for batch, lengths in decodes.items():
            self._start_after(np.array(lengths) - 1, batch)
            costs = split(self._model.get_forward_cost(), len(lengths))
            self._known |= {Pass(batch, 1, length): cost for length, cost in zip(lengths, costs, strict=True)}

    def cost(self, asked: Pass) -> StageCost:
        """The cost of a pass that `learn` was given."""
        return self._known[asked]

    def vision(self, views: ViewPlan, batch: int) -> StageCost:
        """Vision of `batch` pages as it runs: at once, or by the vendor's code one page after another."""
        if (views, batch) not in self._vision:
            self._model.set_views(views)
            self._model.start_vision(1 if self._page_by_page else batch)
            cost = self._model.get_forward_cost()
            pages = batch if self._page_by_page else 1
            self._vision[views, batch] = StageCost(
                cost=cost.cost * pages, weights_bytes=cost.weights_bytes, activations_bytes=cost.activations_bytes
            )
        return self._vision[views, batch]

    def _ask(self, asked: Pass) -> StageCost:
        model = self._model
        model.set_views(asked.views)
        if asked.past:
            self._start_after(asked.past, asked.batch)
            model.extend_prefill(asked.tokens)
            cost = model.get_forward_cost()
            return cost if asked.views is None else self._with_page(cost, asked)
        model.start_prefill(asked.tokens, asked.batch, model.engine.new_cache(asked.batch))
        cost = model.get_forward_cost()
        if asked.views is None or asked.batch == 1 or not self._page_by_page:
            return cost
        model.start_vision(asked.batch)
        together, apart = model.get_forward_cost().cost, self.vision(asked.views, asked.batch).cost
        return StageCost(
            cost=cost.cost + together * -1 + apart,
            weights_bytes=cost.weights_bytes,
            activations_bytes=cost.activations_bytes,
            kv_cache_bytes=cost.kv_cache_bytes,
        )

    def _with_page(self, cost: StageCost, asked: Pass) -> StageCost:
        """`cost` of a pass of text, with what a page adds to one of as many tokens; that is the same onto any past."""
        page = self._ask(Pass(asked.batch, asked.tokens, asked.tokens, asked.views))
        text = self._ask(Pass(asked.batch, asked.tokens, asked.tokens))
        return StageCost(
            cost=cost.cost + page.cost + text.cost * -1,
            weights_bytes=cost.weights_bytes,
            activations_bytes=max(cost.activations_bytes, page.activations_bytes),
            kv_cache_bytes=cost.kv_cache_bytes,
        )

    def _start_after(self, past: object, batch: int) -> None:
        """Decode after `past` tokens: an int, or an array of them."""
        cache = self._model.engine.new_cache(batch)
        cache.context_len = past
        self._model.start_decode(cache)


def views_of(group: Sequence[SeenVision], batch: int, patch_size: int) -> ViewPlan | None:
    """The views of each of `batch` pages, from what SAM saw; None where nobody said the grid of tiles.

    Views that were announced have to be those that SAM saw.
    """
    seen: dict[int, int] = {}
    for call in group:
        if call.module == "sam_model":
            seen[call.shape[-1]] = seen.get(call.shape[-1], 0) + call.shape[0]
    said = group[0].place.views
    if said is None and len(seen) == 1:
        side = next(iter(seen))
        said = ViewPlan("custom", None, None, None, (1, 1), side, None, patch_size)
    if said is None:
        return None
    wanted: dict[int, int] = {}
    for count, side in said.views:
        wanted[side] = wanted.get(side, 0) + count * batch
    return said if wanted == seen else None
