"""Whether hooks and the real cache say the same as the static analytic model: integers, side by side."""

from collections.abc import Iterable, Iterator

import attrs

from modelmeter.core.cost import Cost
from modelmeter.documents import Page
from modelmeter.live.running.summary import Equality
from modelmeter.live.running.twin import HOOKED, LAYERS, PageTwin
from modelmeter.live.session.result import RunResult
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.models.deepseek_ocr.views import ViewPlan


@attrs.frozen(kw_only=True)
class Mark:
    """A place in the records of hooks: where a page begins. `stats` is None without hooks."""

    stats: AnalyticRunStats | None
    decoder_steps: int = 0
    vision_steps: int = 0

    @classmethod
    def now(cls, shadow: Shadow | None, page: Page) -> "Mark":
        """Here; what the shadow sees from now on is of `page`."""
        if shadow is None:
            return cls(stats=None)
        shadow.start_document(page.source, page=page.number)
        stats = shadow.stats
        return cls(stats=stats, decoder_steps=len(stats.decoder_steps), vision_steps=len(stats.vision_steps))

    def hooked(self) -> dict[str, Cost]:
        """What hooks recorded since, by module."""
        if self.stats is None:
            return {}
        found = {LAYERS: _total(step.cost.cost for step in self.stats.decoder_steps[self.decoder_steps :])}
        for step in self.stats.vision_steps[self.vision_steps :]:
            found[step.module] = found.get(step.module, Cost()) + step.cost.cost
        return found


def page_checks(views: ViewPlan, result: RunResult, twin: PageTwin, mark: Mark) -> tuple[Equality, ...]:
    """The KV cache's bytes as its tensors have them, and what hooks found, beside the static model."""
    expected = twin.expected(views, result.prompt_tokens, result.batch_size, len(result.decode_steps))
    held, static = result.kv_cache_bytes, expected.kv_cache_bytes
    cache = Equality(quantity="bytes", of="KV cache", measured=held, expected=static)
    return (cache, *_hooks(mark.hooked(), expected.hooked))


def _hooks(found: dict[str, Cost], expected: dict[str, Cost]) -> Iterator[Equality]:
    if not found:
        return
    for module in HOOKED:
        ours, static = found.get(module, Cost()), expected[module]
        yield Equality(quantity="FLOPs", of=module, measured=int(ours.flops), expected=int(static.flops))
        moved = int(ours.io_bytes), int(static.io_bytes)
        yield Equality(quantity="bytes moved", of=module, measured=moved[0], expected=moved[1])


def _total(costs: Iterable[Cost]) -> Cost:
    return sum(costs, Cost())
