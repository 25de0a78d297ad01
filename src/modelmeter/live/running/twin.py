"""What the analytic model says of the pages of a run: the work of each stage, and its time on a known device."""

from copy import copy
from functools import cache
from typing import Final

import attrs
import numpy as np

from modelmeter.core.cost import Cost
from modelmeter.core.dims import exact_plus
from modelmeter.core.precision import Precision
from modelmeter.core.recorder import RecordOptions
from modelmeter.hardware.floor import floor_of
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import Levels, PageTime, time_page, used_bytes
from modelmeter.live.running.rates import Work
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.engine import Step
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.run import sum_of_even_steps
from modelmeter.models.deepseek_ocr.views import ViewPlan

VISION_PARTS: Final = ("sam", "clip", "projector")
LAYERS: Final = "decoder layers"
HOOKED: Final = {
    "sam_model": "model.sam_model",
    "vision_model": "model.vision_model",
    "projector": "model.projector",
    LAYERS: "model.layers",
}
"""What hooks stand on, as their records name it, and its module path in the model."""


@attrs.frozen(kw_only=True)
class Expected:
    """The stages of a page, with vision in the prefill, and all its decode steps together; times on a known device.

    `works` are those of vision, prefill and decode, and of the parts of vision. `kv_cache_bytes` is what is cached at
    the end, `hooked` the cost of what hooks stand on in prefill and decode, by the names of `HOOKED`.
    """

    works: dict[str, Work]
    hooked: dict[str, Cost]
    kv_cache_bytes: int
    decode_steps: int
    time: PageTime | None = None

    def levels(self, stage: str) -> Levels | None:
        """Predicted seconds of vision, prefill, or all decode steps at each level."""
        if self.time is None or (stage == "decode" and self.decode_steps == 0):
            return None
        stages = {"vision": self.time.vision.seconds, "prefill": self.time.prefill.seconds}
        return self.time.decode_total if stage == "decode" else stages[stage]

    def part_seconds(self, part: str) -> float | None:
        """Predicted seconds of a part of vision."""
        return None if self.time is None else float(self.time.prefill.parts[part].seconds)


class PageTwin:
    """The analytic model in the conventions in which the real one runs, and the machine it is predicted on, if any."""

    def __init__(
        self,
        config: DeepseekOCRConfig,
        conventions: Conventions,
        *,
        precision: Precision | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.model = DeepseekOCRModel.from_config(config, precision=precision, **attrs.asdict(conventions))
        self.config, self.conventions, self.machine = config, self.model.conventions, machine
        self.expected = cache(self._expected)

    def _expected(self, views: ViewPlan, prompt_tokens: int, batch_size: int, decode_steps: int) -> Expected:
        """A page of these views with `prompt_tokens` of text, and so many decode steps; remembered."""
        model = self.model
        model.set_views(views)
        works, hooked = self._vision(batch_size)
        model.start_vision(batch_size)
        together = _work(model)
        model.start_prefill(views.image_tokens + prompt_tokens, batch_size)
        prefill = _work(model)
        apart = prefill.cost + together.cost * -1 + works["vision"].cost
        works["vision"] = attrs.evolve(together, cost=works["vision"].cost)
        works["prefill"] = attrs.evolve(prefill, cost=apart)
        works["decode"] = _decode(model, decode_steps, batch_size)
        hooked[LAYERS] = _layers(model, decode_steps, batch_size)
        sizes = {"prompt_tokens": prompt_tokens, "decode_tokens": decode_steps, "batch_size": batch_size}
        return Expected(
            works=works,
            hooked=hooked,
            kv_cache_bytes=int(model.simulate_run(decode_steps).total.kv_cache_bytes),
            decode_steps=decode_steps,
            time=None if self.machine is None else time_page(model, views, self.machine, **sizes),
        )

    def _vision(self, batch_size: int) -> tuple[dict[str, Work], dict[str, Cost]]:
        """Costs of vision and its parts, and of its modules. The vendor's code encodes page after page."""
        by_page = self.conventions.implementation == "vendor"
        self.model.start_vision(1 if by_page else batch_size)
        times = batch_size if by_page else 1
        trace = self.model.trace()
        _, parts = self.model.get_stage_parts()
        works = {"vision": Work(cost=trace.total * times)}
        works |= {part: Work(cost=parts[part].cost * times) for part in VISION_PARTS}
        modules = {name: trace.by_layer(2)[path] * times for name, path in HOOKED.items() if name != LAYERS}
        return works, modules


def _work(model: DeepseekOCRModel) -> Work:
    """The stage last started, with ints for sizes."""
    trace = model.trace()
    return Work(
        cost=trace.total, needed_flops=dict(floor_of(model).flops_by_dtype), used_bytes=used_bytes(model, trace)
    )


def _layers(model: DeepseekOCRModel, steps: int, batch_size: int) -> Cost:
    """The decoder layers of the prefill last started and of `steps` decode steps after it."""
    layers = model.trace().by_layer(2)[HOOKED[LAYERS]]
    past = model.kv_cache.total_len() if model.kv_cache is not None else 0
    if steps == 0:
        return layers
    asked = [Step(mode="decode", batch=batch_size, queries=1, past=past + n) for n in (0, 1, steps - 1)]
    costs = [model.engine.trace(step, RecordOptions()).by_layer(2)[HOOKED[LAYERS]] for step in asked]
    return layers + sum_of_even_steps(costs, steps)


def _decode(model: DeepseekOCRModel, steps: int, batch_size: int) -> Work:
    """`steps` decode steps after the prefill last started, all together. The model is left where it was."""
    cost = model.simulate_run(steps).decode.cost
    if steps == 0:
        return Work(cost=cost)
    probe = copy(model)
    probe.set_views(None)
    cached = exact_plus(model.kv_cache.total_len(), np.arange(steps)) if model.kv_cache is not None else 0
    probe.start_prefill(cached, batch_size, kv_cache=model.engine.new_cache(batch_size))
    probe.start_decode()
    needed = floor_of(probe).flops_by_dtype
    return Work(
        cost=cost,
        needed_flops={dtype: _summed(values, steps) for dtype, values in needed.items()},
        used_bytes=_summed(used_bytes(probe, probe.trace()), steps),
    )


def _summed(values: object, steps: int) -> int:
    """The sum over all steps of what is an array of them, or the same in each."""
    return int(np.broadcast_to(np.asarray(values, dtype=object), (steps,)).sum())
