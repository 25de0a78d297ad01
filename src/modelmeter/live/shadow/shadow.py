"""`Shadow`: takes down the shapes that hooks see, and has the analytic model say afterwards what they cost."""

from collections.abc import Sequence
from typing import Any

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.live.shadow.process import get_analytic_run_stats
from modelmeter.live.shadow.records import ViewKind, VisionModule
from modelmeter.live.shadow.seen import Place, SeenPass, SeenVision
from modelmeter.live.shadow.settle import Settler
from modelmeter.live.shadow.stage import current_stage
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.live.shadow.twin import Twin
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.views import ViewPlan


class Shadow:
    """Hooks tell it shapes (`saw_layer`, `saw_vision`): a check and an entry in a list, nothing more.

    `flush()` asks the analytic model and brings `stats` up to date: call it between stages, outside what is timed.
    """

    def __init__(
        self,
        config: DeepseekOCRConfig,
        conventions: Conventions,
        precision: Precision | None = None,
        stats: AnalyticRunStats | None = None,
    ) -> None:
        self.config = config
        self.conventions = conventions
        self.stats = get_analytic_run_stats() if stats is None else stats
        self.twin = Twin(config, conventions, precision)
        self._settler = Settler(self.twin, self.stats)
        self._place = Place()
        self._seen: list[SeenPass | SeenVision] = []
        self._pass: SeenPass | None = None
        self._step = 0
        self._steps: dict[str, int] = {}
        self._sam_calls = 0
        self._view: ViewKind = "global"
        decoder = config.decoder
        self._hidden = decoder.hidden_size
        self._heads = (decoder.num_key_value_heads, decoder.head_dim)

    def start_document(self, name: str | None, *, page: int | None = None) -> None:
        """What comes is of document `name` (None: of none), and of its page `page` where that is known."""
        self._move_to(Place(document=name, page=page))

    def start_page(self, page: int | None, *, views: ViewPlan | None = None) -> None:
        """What comes is of page `page` of the same document; `views` as in `set_views`."""
        self._move_to(Place(document=self._place.document, page=page, views=views))

    def set_views(self, views: ViewPlan | None) -> None:
        """The views of the page that comes; a session says them.

        Shapes do not tell a grid of 2 x 3 tiles from one of 3 x 2: without its views the whole pass of a page with
        tiles is not known, only what is hooked.
        """
        self.start_page(self._place.page, views=views)

    def saw_layer(self, layer_idx: int, shape: Sequence[int], keys: Sequence[int] | None, hit: Any = None) -> None:
        """A decoder layer ran on [b q hidden]; its cache then held `keys` [b heads kv d], or there is none.

        Raises `ModelMeterError` where the sizes are not the configuration's.
        """
        seen, stage = self._pass, current_stage()
        if (
            seen is None
            or layer_idx != seen.first + seen.count
            or shape != seen.shape
            or keys != seen.keys
            or stage != seen.stage
        ):
            seen = self._begin_pass(layer_idx, shape, keys, stage)
        seen.count += 1
        if hit is not None:
            seen.hits[layer_idx] = hit

    def saw_vision(self, module: VisionModule, shape: Sequence[int]) -> None:
        """SAM ran on [n c s s], CLIP on features [n c h h], the projector on rows [n s c].

        Raises `ModelMeterError` where the sizes are not the configuration's.
        """
        self._check_vision(module, tuple(shape))
        if module == "sam_model":
            self._view = self._view_of(shape[0])
            self._sam_calls += 1
        self._seen.append(SeenVision(module, tuple(shape), current_stage(), self._view, self._place))

    def flush(self) -> AnalyticRunStats:
        """Ask the analytic model for all that was seen since, and return the stats, up to date.

        Between passes, not within one. Raises `ModelMeterError` where the analytic model cannot say; nothing is lost
        then, nor recorded.
        """
        self._settler.settle(self._seen)
        self._seen, self._pass = [], None
        return self.stats

    def _begin_pass(self, layer_idx: int, shape: Sequence[int], keys: Sequence[int] | None, stage: str) -> SeenPass:
        """Layer 0 begins another pass of its stage, or the first of a sequence; other layers may run on their own."""
        self._check_layer(layer_idx, shape, keys)
        if layer_idx == 0:
            if keys is None or keys[2] == shape[1]:
                self._steps.clear()
            self._step = self._steps.get(stage, 0)
            self._steps[stage] = self._step + 1
            self._sam_calls = 0
        self._pass = SeenPass(stage=stage, step=self._step, shape=shape, keys=keys, place=self._place, first=layer_idx)
        self._seen.append(self._pass)
        return self._pass

    def _check_layer(self, layer_idx: int, shape: Sequence[int], keys: Sequence[int] | None) -> None:
        batch, tokens, hidden = shape
        if hidden != self._hidden:
            raise mismatch(f"model.layers.{layer_idx}", f"a hidden size of {hidden}", f"{self._hidden}")
        if keys is None:
            return
        cached_batch, heads, kv_len, width = keys
        if (heads, width) != self._heads or cached_batch != batch or kv_len < tokens:
            wanted = f"[{batch} {self._heads[0]} kv {self._heads[1]}] of at least {tokens} keys"
            raise mismatch(f"model.layers.{layer_idx}", f"a cache of {list(keys)}", wanted)

    def _move_to(self, place: Place) -> None:
        self._place, self._pass, self._sam_calls = place, None, 0

    def _view_of(self, number: int) -> ViewKind:
        """Which views SAM is given `number` of.

        The vendor's code takes a page at a time: its tiles (two or more), then its global view. transformers takes all
        global views, then all tiles.
        """
        if self.conventions.implementation == "vendor":
            return "tiles" if number > 1 else "global"
        views = self._place.views
        has_tiles = views is None or views.num_tiles > 0
        return "tiles" if has_tiles and self._sam_calls % 2 else "global"

    def _check_vision(self, module: VisionModule, shape: tuple[int, ...]) -> None:
        sam, clip = self.config.sam, self.config.clip
        if module == "projector":
            channels, square = self.config.projector.input_dim, len(shape) == 3
            found, wanted = shape[-1], f"rows [n s {channels}]"
        else:
            channels = sam.in_channels if module == "sam_model" else clip.width
            square = len(shape) == 4 and shape[2] == shape[3]
            found, wanted = shape[1], f"squares [n {channels} s s]"
        if module == "sam_model":
            square, wanted = square and shape[2] % sam.patch_size == 0, f"{wanted}, s a multiple of {sam.patch_size}"
        if found != channels or not square:
            raise mismatch(module, f"an input of {list(shape)}", wanted)


def mismatch(module: str, found: str, expected: str) -> ModelMeterError:
    """The error of a real model that is not the one of the configuration."""
    return ModelMeterError(
        f"{module} has {found}, the configuration says {expected}: build the Shadow from the model's own configuration"
    )
