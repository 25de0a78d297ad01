"""The real model with random weights, run stage by stage under a clock, each stage beside its analytic twin."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Final

import attrs
import torch

from modelmeter.live.calibration.clock import Clock, Timing
from modelmeter.live.calibration.graph import captured, check_same
from modelmeter.live.recording.caches import cached_tensors
from modelmeter.live.reference.adapter import ExpertsRun
from modelmeter.live.reference.transformers5 import SDPA_OR_EAGER, build, config_like, routers_of
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.nn.attention import AttentionKind

WARM_UPS: Final = 2
_DEVIATION: Final = 0.02  # of random weights, as the released configuration initialises them


@attrs.frozen(kw_only=True)
class StageRun:
    """A measured stage: its seconds, its twin in the state before it, and how many experts a layer reached (None: no
    layer routes, or it was not looked at)."""

    name: str
    timing: Timing
    twin: DeepseekOCRModel
    experts_reached: float | None = None


class Stages:
    """The real model of a configuration in bf16 on the device of a clock; the twin runs with the same conventions.

    `model` is one that is there already, built with the same choices; by default it is made with random weights.
    """

    def __init__(
        self,
        config: DeepseekOCRConfig,
        clock: Clock,
        *,
        attention: AttentionKind = "flash",
        experts: ExpertsRun = "eager",
        model: Any = None,
    ) -> None:
        self.config, self.clock, self.attention, self.experts = config, clock, attention, experts
        self.model = self._built() if model is None else model
        self._reached: list[int] = []

    def _built(self) -> Any:
        with torch.random.fork_rng(), torch.device(self.clock.device):
            torch.manual_seed(0)
            return build(config_like(self.config), attention=SDPA_OR_EAGER[self.attention], experts=self.experts)

    def vision(self, views: ViewPlan, batch: int, repeats: int) -> StageRun:
        """Views of `batch` pages to image tokens."""
        pixels = self._pixels(views, batch)
        twin = self._twin()
        twin.set_views(views)
        twin.start_vision(batch)
        times = self._timed(lambda: self.model.model.get_image_features(**pixels), repeats)
        sides = " + ".join(f"{count} x {side}" for count, side in views.views)
        return StageRun(name=f"vision {sides}, batch {batch}", timing=Timing.of(times), twin=twin)

    def prefill(self, batch: int, context: int, repeats: int) -> StageRun:
        """Text tokens into an empty cache, logits of the last position."""
        with self._routing():
            times = self._timed(lambda: self._prefill(batch, context), repeats)
        twin = self._twin(self._mean_reached())
        twin.start_prefill(context, batch)
        name = f"prefill {context}, batch {batch}"
        return StageRun(name=name, timing=Timing.of(times), twin=twin, experts_reached=self._mean_reached())

    def decode(self, batch: int, context: int, repeats: int) -> StageRun:
        """Steps one after another after a prefill of `context`; the twin is in the middle one."""
        cache = self._prefill(batch, context)
        with self._routing():
            times = self._timed(lambda: self._step(batch, cache), repeats)
        twin = self._twin(self._mean_reached())
        twin.start_prefill(context + WARM_UPS + repeats // 2, batch)
        twin.start_decode()
        name = f"decode after {context}, batch {batch}"
        return StageRun(name=name, timing=Timing.of(times), twin=twin, experts_reached=self._mean_reached())

    @torch.no_grad()
    def decode_graph(self, batch: int, context: int, repeats: int) -> StageRun:
        """One decode step captured as a CUDA graph and replayed.

        Every replay is the same step onto the same `context` cached tokens: `DynamicCache` makes its copy with the new
        token in it, anew each time. It has no attention mask: while a graph is captured transformers does not look
        whether a mask is all ones, and would give its attention one, and so another kernel than a step outside has.
        Raises `ModelMeterError` where it cannot be captured, or where a replay has other logits than the step.
        """
        cache, ids = self._prefill(batch, context), self._ids(batch, 1)
        read = cached_tensors(cache)  # by every replay; the cache lets go of them in the step
        eager = self._logits(ids, deepcopy(cache))
        replay, logits = captured(
            lambda: self._logits(ids, cache), lambda: self._logits(ids, deepcopy(cache)), self.clock.device
        )
        timing = Timing.of(self._timed(replay, repeats))
        check_same(logits, eager)
        del read
        twin = self._twin("expected")
        twin.start_prefill(context, batch)
        twin.start_decode()
        return StageRun(name=f"decode after {context}, batch {batch}, CUDA graph", timing=timing, twin=twin)

    def _timed(self, call: Callable[[], Any], repeats: int) -> list[float]:
        with torch.no_grad():
            for _ in range(WARM_UPS):
                call()
            self._reached.clear()
            return [self.clock.stage(call) for _ in range(repeats)]

    @torch.no_grad()
    def _prefill(self, batch: int, context: int) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config.text_config)
        ids = self._ids(batch, context)
        mask = torch.ones_like(ids)
        self.model(input_ids=ids, attention_mask=mask, use_cache=True, past_key_values=cache, logits_to_keep=1)
        return cache

    def _step(self, batch: int, cache: Any) -> None:
        keys = cache.get_seq_length() + 1
        mask = torch.ones(batch, keys, dtype=torch.long, device=self.clock.device)
        self.model(input_ids=self._ids(batch, 1), attention_mask=mask, use_cache=True, past_key_values=cache)

    def _logits(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        return self.model(input_ids=ids, use_cache=True, past_key_values=cache).logits

    def _ids(self, batch: int, tokens: int) -> torch.Tensor:
        most = self.config.decoder.vocab_size // 2  # the token of an image stands at the end
        return torch.randint(0, most, (batch, tokens), device=self.clock.device)

    def _pixels(self, views: ViewPlan, batch: int) -> dict[str, Any]:
        def noise(count: int, side: int) -> torch.Tensor:
            shape = (batch * count, self.config.sam.in_channels, side, side)
            return torch.randn(*shape, dtype=torch.bfloat16, device=self.clock.device)

        pixels: dict[str, Any] = {"pixel_values": noise(1, views.base_size)}
        if views.num_tiles and views.tile_size:
            pixels["pixel_values_local"] = noise(views.num_tiles, views.tile_size)
            pixels |= {"num_local_patches": [views.num_tiles] * batch, "patches_grid": [list(views.grid)] * batch}
        return pixels

    def _twin(self, coverage: Any = "expected") -> DeepseekOCRModel:
        return DeepseekOCRModel.from_config(
            self.config,
            implementation="transformers",
            attention=self.attention,
            experts="loop" if self.experts == "eager" else "grouped",
            logits="last",
            position_ids="batch",
            causal="triangle",
            coverage="expected" if coverage is None else coverage,
        )

    @contextmanager
    def _routing(self) -> Iterator[None]:
        """While this runs, the experts that each layer reaches are counted: that is a wait for the device, on a CPU
        none."""
        self._reached.clear()
        routers = routers_of(self.model) if self.clock.device.type == "cpu" else []
        handles = [router.register_forward_hook(self._routed) for router in routers]
        yield
        for handle in handles:
            handle.remove()

    def _routed(self, _router: Any, _inputs: Any, output: Any) -> None:
        self._reached.append(int(output[-1].unique().numel()))

    def _mean_reached(self) -> float | None:
        return sum(self._reached) / len(self._reached) if self._reached else None
