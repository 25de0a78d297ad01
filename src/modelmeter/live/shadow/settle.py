"""From what hooks saw to records: the analytic model is asked once for each shape, decode steps all at once."""

from collections.abc import Sequence

import attrs

from modelmeter.core.cost import Cost, StageCost
from modelmeter.live.shadow.passes import Pass, WholePasses, views_of
from modelmeter.live.shadow.records import added
from modelmeter.live.shadow.seen import SeenPass, SeenVision
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.live.shadow.twin import Call, Twin
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.nn.moe import experts_hit


@attrs.frozen(kw_only=True)
class _Group:
    """One forward pass: its layers, and the vision whose image tokens it takes, or begins to take in chunks."""

    layers: SeenPass
    vision: list[SeenVision]
    views: ViewPlan | None

    @property
    def sizes(self) -> Pass:
        """The pass, with its views where it takes all of their image tokens."""
        return Pass(self.layers.batch, self.layers.tokens, self.layers.kv_len, self.views if self.has_page else None)

    @property
    def has_page(self) -> bool:
        """Whether all image tokens are among its own; a chunk that is shorter has tokens that were made before it."""
        return self.views is not None and self.views.image_tokens <= self.layers.tokens

    @property
    def knows_views(self) -> bool:
        """Whether there are none, or they are known."""
        return not self.vision or self.views is not None

    def is_whole(self, layers: int) -> bool:
        """Whether every layer ran, onto a cache, and the views are known where there are any."""
        return self.layers.layers == range(layers) and self.layers.keys is not None and self.knows_views


class Settler:
    """Turns what was seen into records of `stats`. Vision waits for the pass that takes its image tokens."""

    def __init__(self, twin: Twin, stats: AnalyticRunStats) -> None:
        self._twin, self._stats = twin, stats
        self._whole = WholePasses(twin)
        self._kinds = twin.config.decoder.mlp_layer_types
        self._waiting: list[SeenVision] = []

    def settle(self, seen: Sequence[SeenPass | SeenVision]) -> None:
        """Record all of it, or raise and record nothing."""
        groups, waiting = self._groups(seen)
        passes = [item for item in seen if isinstance(item, SeenPass)]
        self._twin.learn(call for item in passes for call in self._calls(item))
        self._whole.learn(group.sizes for group in groups if group.is_whole(len(self._kinds)))
        vision = [(item, self._vision_cost(item)) for item in seen if isinstance(item, SeenVision)]
        new = AnalyticRunStats()
        for item, cost in vision:
            _record_vision(new, item, cost)
        for group in groups:
            self._record_layers(new, group.layers)
            self._record_pass(new, group)
        self._stats.vision_steps += new.vision_steps
        self._stats.decoder_steps += new.decoder_steps
        self._stats.passes += new.passes
        self._waiting = waiting

    def _groups(self, seen: Sequence[SeenPass | SeenVision]) -> tuple[list[_Group], list[SeenVision]]:
        """The passes in what was seen, and the vision that no pass has taken yet.

        The next pass of its page takes it, unless that is a token decoded meanwhile.
        """
        groups: list[_Group] = []
        waiting = list(self._waiting)
        for item in seen:
            if isinstance(item, SeenVision):
                waiting.append(item)
                continue
            takes = item.tokens > 1 or item.kv_len == 1
            of_page = [call for call in waiting if call.place == item.place] if takes else []
            waiting = [call for call in waiting if call not in of_page]
            views = views_of(of_page, item.batch, self._twin.config.sam.patch_size) if of_page else None
            groups.append(_Group(layers=item, vision=of_page, views=views))
        return groups, waiting

    def _calls(self, item: SeenPass) -> list[Call]:
        """One for each layer."""
        cached = item.keys is not None
        return [Call(self._kinds[index], item.batch, item.tokens, item.kv_len, cached) for index in item.layers]

    def _vision_cost(self, item: SeenVision) -> StageCost:
        size = item.shape[1] if item.module == "projector" else item.shape[2]
        return self._twin.vision(item.module, item.shape[0], size)

    def _record_layers(self, new: AnalyticRunStats, item: SeenPass) -> None:
        decoder = self._twin.config.decoder
        tokens = item.batch * item.tokens
        coverage = self._twin.conventions.coverage
        for index, call in zip(item.layers, self._calls(item), strict=True):
            reached = {}
            if index in item.hits:
                hit = int(item.hits[index])  # on CUDA this waits for the device
                expected = experts_hit(tokens, decoder.n_routed_experts, decoder.num_experts_per_tok, coverage)
                reached = {
                    "experts_hit": hit,
                    "experts_expected": float(expected),
                    "weight_bytes_observed": self._twin.weight_bytes_reaching(call, hit),
                }
            new.add_decoder_step(
                layer_idx=index,
                stage=item.stage,
                step=item.step,
                token_count=item.tokens,
                kv_len=item.kv_len,
                batch_size=item.batch,
                cost=self._twin.layer(call),
                document=item.place.document,
                page=item.place.page,
                **reached,
            )

    def _record_pass(self, new: AnalyticRunStats, group: _Group) -> None:
        """One record of the pass; one more of its vision where that ran in a stage of its own."""
        whole = self._whole.cost(group.sizes) if group.is_whole(len(self._kinds)) else None
        hooked = added(self._twin.layer(call).cost for call in self._calls(group.layers))
        if group.vision:
            vision = added(self._vision_cost(item).cost for item in group.vision)
            alone = None if group.views is None else self._whole.vision(group.views, group.layers.batch)
            together = group.vision[0].stage == group.layers.stage
            if together:
                hooked = hooked + vision
            else:
                _add_pass(new, group, group.vision[0].stage, vision, alone, vision_only=True)
            if whole is not None and alone is not None and together != group.has_page:
                whole = attrs.evolve(whole, cost=whole.cost + alone.cost * (1 if together else -1))
        _add_pass(new, group, group.layers.stage, hooked, whole)


def _record_vision(new: AnalyticRunStats, item: SeenVision, cost: StageCost) -> None:
    new.add_vision_step(
        module=item.module,
        shape=item.shape,
        view=item.view,
        stage=item.stage,
        cost=cost,
        document=item.place.document,
        page=item.place.page,
    )


def _add_pass(
    new: AnalyticRunStats,
    group: _Group,
    stage: str,
    hooked: Cost,
    whole: StageCost | None,
    *,
    vision_only: bool = False,
) -> None:
    item = group.layers
    new.add_pass(
        stage=stage,
        step=item.step,
        token_count=0 if vision_only else item.tokens,
        kv_len=0 if vision_only else item.kv_len,
        batch_size=item.batch,
        image_tokens=(group.views.image_tokens if group.views else 0) if group.knows_views else None,
        hooked=hooked,
        whole=whole,
        document=item.place.document,
        page=item.place.page,
    )
