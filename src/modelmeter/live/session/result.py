"""What a run gives back."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from modelmeter.live.calibration.clock import Timing
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.models.deepseek_ocr.views import ViewPlan

StopReason: TypeAlias = Literal["length", "stop", "interrupted"]


@attrs.frozen(kw_only=True)
class RunResult:
    """One run: lengths, generated ids, seconds and bytes.

    `generated_ids` are those of each sequence, up to and with its first stop token. `prefill` has vision in it;
    `vision` is from SAM's first start to the projector's last end in it, `parts` are sam, clip and projector, all views
    together. `decode` is a step, of all sequences; `decode_steps` are the steps in order, seconds. None where nothing
    of it was finished, or there are no images. `peak_memory_bytes` is of the whole run: on CUDA what torch's allocator
    held at most, weights included; on Linux without CUDA the process's largest resident set; None elsewhere.
    `kv_cache_bytes` are measured on the cache's tensors. `text` is that of the first sequence. `complete` is False
    where the run was cut short.
    """

    batch_size: int
    context_len: int
    image_tokens: int
    prompt_tokens: int
    views: ViewPlan | None
    generated_ids: tuple[tuple[int, ...], ...]
    stop_reason: StopReason
    prefill: Timing | None
    vision: Timing | None
    parts: Mapping[str, Timing]
    decode: Timing | None
    decode_steps: tuple[float, ...]
    peak_memory_bytes: int | None
    kv_cache_bytes: int
    warm_up: int
    repeats: int
    complete: bool
    text: str | None
    stats: AnalyticRunStats | None

    @property
    def generated_tokens(self) -> int:
        """Tokens that the passes made for each sequence: the prefill's one and one a decode step."""
        return 0 if self.prefill is None else 1 + len(self.decode_steps)
