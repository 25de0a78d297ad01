"""An untimed run under hooks and torch's FLOP counter: both sides of it, and the experts that were reached."""

from typing import Any

import attrs
from torch.utils.flop_counter import FlopCounterMode

from modelmeter.live.recording.flops import FLOP_FORMULAS
from modelmeter.live.session.inputs import PreparedInputs
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.shadow.aggregate import Aggregates, aggregate


@attrs.frozen(kw_only=True)
class Watched:
    """A prefill and some decode steps. FLOPs as `FlopCounterMode` counts them, bytes of the cache at the end.

    `hooked` are the shadow's sums; `counted` is the counter's total, `by_module` its FLOPs of each hooked module by the
    vendor's name; `kv_measured` is that of the real cache's tensors, `kv_hooked` that of the shadow's records.
    """

    steps: int
    records: int
    hooked: Aggregates
    counted: int
    by_module: dict[str, int]
    kv_measured: int
    kv_hooked: int

    @property
    def whole_difference(self) -> int | None:
        """The twin's whole passes - the counter's total; None where the twin does not know them all."""
        whole = self.hooked.whole
        return None if whole is None else int(whole.counted_flops) - self.counted

    @property
    def module_differences(self) -> dict[str, int]:
        """Hooked - counted of each module where they differ."""
        pairs = {path: int(total.cost.counted_flops) for path, total in self.hooked.by_layer.items()}
        every = pairs.keys() | self.by_module.keys()
        found = {path: pairs.get(path, 0) - self.by_module.get(path, 0) for path in sorted(every)}
        return {path: difference for path, difference in found.items() if difference}

    def reached(self, stage: str) -> float | None:
        """Experts that a layer reached in a pass of `stage`, on average; None without layers that route."""
        hit = [one.hit for one in self.hooked.experts if one.stage == stage]
        return sum(hit) / len(hit) if hit else None


def watch(session: DeepSeekOCRSession, inputs: PreparedInputs, steps: int) -> Watched:
    """Run `inputs` and `steps` decode steps once, with hooks on all that has one, routers too."""
    shadow = session.shadow()
    counter = FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS)
    with session.start(inputs, shadow=shadow, observe_experts=True, warm_up=0, repeats=1) as run:
        with counter:
            run.prefill()
            for _ in range(steps):
                run.decode_step()
        result = run.result()
    records = shadow.stats.decoder_steps
    layers = session.config.decoder.num_hidden_layers
    return Watched(
        steps=steps,
        records=len(records) + len(shadow.stats.vision_steps),
        hooked=aggregate(shadow.stats),
        counted=counter.get_total_flops(),
        by_module=_by_module(session, counter.get_flop_counts()),
        kv_measured=result.kv_cache_bytes,
        kv_hooked=sum(record.kv_cache_bytes for record in records[-layers:]),
    )


def _by_module(session: DeepSeekOCRSession, counts: dict[str, dict[Any, int]]) -> dict[str, int]:
    """The counter's FLOPs of the hooked modules; it names modules by the class of the outermost and their path."""
    names, root = session.points.names, type(session.model).__name__
    paths = {"model.sam_model": names.sam, "model.vision_model": names.clip, "model.projector": names.projector}
    paths |= {f"model.layers.{i}": f"{names.layers}.{i}" for i in range(len(session.points.layers))}
    found = {ours: counts.get(f"{root}.{theirs}", {}) for ours, theirs in paths.items()}
    return {ours: sum(flops.values()) for ours, flops in found.items()}
