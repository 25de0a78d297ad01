"""`fit`: what a model on some pages takes of a device's memory, and how many pages and tokens fit at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from modelmeter.core.dims import as_dim, is_number
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import ActivationKind, Part, Precision, WeightKind
from modelmeter.core.tensor import FP16
from modelmeter.hardware.catalogue import get_device
from modelmeter.hardware.device import Device
from modelmeter.hardware.limits import BatchLimit, ContextLimit, Images, max_batch, max_context
from modelmeter.hardware.memory import DEFAULT_RESERVE, MemoryBudget, Share, Size, memory_budget
from modelmeter.hardware.needs import BLOCK_TOKENS, Needs, StageMemory, Workload
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan

Model: TypeAlias = DeepseekOCRModel | DeepseekOCRConfig | None
"""A model, or the configuration of one with the default conventions; None: the released one."""
SMALLER: Final[tuple[WeightKind, ...]] = ("fp8", "int8", "int4")
DECODER: Final[tuple[Part, ...]] = ("decoder",)
ALL_PARTS: Final[tuple[Part, ...]] = ("decoder", "lm_head", "vision")


@attrs.frozen(kw_only=True)
class CacheFit:
    """What fits with the KV cache held in one way: "concat" or "in_place" as the model's code does, or "blocks".

    `run_bytes` is the most that activations and cache hold together in the run of `batch_size` sequences, `kv_bytes`
    the cache at the end, each the largest of all kinds of page. `limits` are the largest batches of each stage alone
    and of the run; `contexts` the longest contexts at `batch_size`, of the kind that decides.
    """

    held: str
    kv_bytes: int
    run_bytes: int
    limits: tuple[BatchLimit, ...]
    contexts: tuple[ContextLimit, ...]

    @property
    def run(self) -> BatchLimit:
        """The largest batch of the whole run."""
        return self.limits[-1]


@attrs.frozen(kw_only=True)
class PrecisionOption:
    """Other weights: their bytes, whether the device holds them, and whether it then runs the batch."""

    precision: Precision
    weights_bytes: int
    holds_weights: bool
    holds_run: bool


@attrs.frozen(kw_only=True)
class MemoryFit:
    """A device's memory under a model and its workload.

    `workloads` are the kinds of page; `decides` is the index of the one whose run holds the most at `batch_size`, and
    `stages` are its stages at that batch, each alone, with the cache as the model's code holds it. `caches` are first
    that way of holding it, then blocks. `options` are other precisions, where this one does not fit.
    """

    device: Device
    budget: MemoryBudget
    model: DeepseekOCRModel
    workloads: tuple[Workload, ...]
    decides: int
    batch_size: int
    prefill_batch: int | None
    positions: int | None
    kv_bytes_per_token: int
    stages: tuple[StageMemory, ...]
    caches: tuple[CacheFit, ...]
    options: tuple[PrecisionOption, ...]

    @property
    def workload(self) -> Workload:
        """The kind of page that decides."""
        return self.workloads[self.decides]

    @property
    def holds_weights(self) -> bool:
        """Whether weights, context, workspace and reserve fit."""
        return self.budget.free_bytes >= 0

    @property
    def fits(self) -> bool:
        """Whether the run of `batch_size` fits, the cache held in one of the two ways."""
        return any(self.left_bytes(cache) >= 0 for cache in self.caches)

    @property
    def too_long(self) -> bool:
        """Whether context and decode steps are more tokens than the model has positions."""
        return self.positions is not None and self.workload.end > self.positions

    def left_bytes(self, cache: CacheFit) -> int:
        """What the run leaves at its fullest; negative: what it lacks."""
        return self.budget.free_bytes - cache.run_bytes


def fit(
    model: Model,
    device: Device | str | Path,
    *,
    views: ViewPlan | Sequence[ViewPlan] | None = None,
    context_len: int | None = None,
    prompt_tokens: int = 10,
    decode_tokens: int = 512,
    batch_size: int = 1,
    prefill_batch: int | None = None,
    reserve: Share = DEFAULT_RESERVE,
    cuda_context: Size | None = None,
) -> MemoryFit:
    """What fits the memory of `device` where each sequence is a page of `views`, then `decode_tokens` decode steps.

    Several plans are pages of several kinds: the largest decides. Without views the sequence is text of `context_len`
    tokens; with views that is by default their image tokens and `prompt_tokens`. `prefill_batch`, `reserve` and
    `cuda_context` are as in `Needs` and `memory_budget`. Raises `ModelMeterError` for what cannot be; what does not
    fit is an answer, not an error.
    """
    model = model if isinstance(model, DeepseekOCRModel) else DeepseekOCRModel.from_config(model)
    device = get_device(device)
    batch = _whole(batch_size, "batch_size")
    works = workloads(views, context_len=context_len, prompt_tokens=prompt_tokens, decode_tokens=decode_tokens)
    budget = memory_budget(device, model.parameter_bytes(), reserve=reserve, cuda_context=cuda_context)
    positions = None if model.config is None else model.config.decoder.max_position_embeddings
    own, paged = _both_caches(model, works, prefill_batch)
    decides = max(range(len(own)), key=lambda kind: own[kind].peak_bytes("run", batch))
    caches = (
        _cache_fit(model.conventions.cache, own, decides, batch, budget.free_bytes, positions),
        _cache_fit("blocks", paged, decides, batch, budget.free_bytes, positions),
    )
    run_fits = min(cache.run_bytes for cache in caches) <= budget.free_bytes
    return MemoryFit(
        device=device,
        budget=budget,
        model=model,
        workloads=works,
        decides=decides,
        batch_size=batch,
        prefill_batch=prefill_batch,
        positions=positions,
        kv_bytes_per_token=int(model.kv_bytes_per_token()),
        stages=tuple(own[decides].stage(stage, batch) for stage in own[decides].stages if stage != "run"),
        caches=caches,
        options=() if run_fits else precision_options(model, budget, works, batch, prefill_batch),
    )


def workloads(
    views: ViewPlan | Sequence[ViewPlan] | None,
    *,
    context_len: int | None = None,
    prompt_tokens: int = 10,
    decode_tokens: int = 512,
) -> tuple[Workload, ...]:
    """The workload of each plan of views (of text where there is none). Raises for a context that is too short."""
    plans = [views] if views is None or isinstance(views, ViewPlan) else list(views)
    if not plans:
        raise ModelMeterError("fit() needs pages: give a plan of views, or None and context_len for text")
    decoded = _whole(decode_tokens, "decode_tokens", least=0)
    found = []
    for plan in plans:
        if plan is not None and not isinstance(plan, ViewPlan):
            raise ModelMeterError(f"fit(): views must be a ViewPlan, as plan_views() gives, several, or None: {plan!r}")
        images = 0 if plan is None else plan.image_tokens
        if context_len is None and plan is None:
            raise ModelMeterError("fit() without views needs context_len, the tokens of the prompt")
        prompt = _whole(prompt_tokens, "prompt_tokens", least=0)
        context = images + prompt if context_len is None else _whole(context_len, "context_len")
        if context < images:
            raise ModelMeterError(f"context_len {context} is shorter than the {images} image tokens: count them in")
        found.append(Workload(views=plan, context_len=context, decode_tokens=decoded))
    return tuple(found)


def precision_options(
    model: DeepseekOCRModel,
    budget: MemoryBudget,
    works: Sequence[Workload],
    batch: int,
    prefill_batch: int | None = None,
) -> tuple[PrecisionOption, ...]:
    """Smaller weights than the model's: the decoder's alone, then all linear layers. Empty for a model of layers."""
    if model.config is None:
        return ()
    float16: ActivationKind | None = "fp16" if model.precision.float16 is FP16 else None
    conventions = attrs.asdict(model.conventions)
    options = []
    for weights in SMALLER:
        for parts in (DECODER, ALL_PARTS):
            other = attrs.evolve(model.precision, weights=weights, activations=float16, parts=parts)
            smaller = DeepseekOCRModel.from_config(model.config, precision=other, **conventions)
            free = attrs.evolve(budget, weights_bytes=smaller.parameter_bytes()).free_bytes
            caches = _both_caches(smaller, works, prefill_batch)
            run_bytes = min(max(kind.peak_bytes("run", batch) for kind in needs) for needs in caches)
            options.append(
                PrecisionOption(
                    precision=other,
                    weights_bytes=smaller.parameter_bytes(),
                    holds_weights=free >= 0,
                    holds_run=free >= 0 and run_bytes <= free,
                )
            )
    return tuple(option for option in options if option.weights_bytes < budget.weights_bytes)


def _both_caches(
    model: DeepseekOCRModel, works: Sequence[Workload], prefill_batch: int | None
) -> tuple[list[Needs], list[Needs]]:
    """What each workload holds with the cache as the model's code has it, and in blocks."""
    paged = [Needs(model.engine, work, block_tokens=BLOCK_TOKENS, prefill_batch=prefill_batch) for work in works]
    return [Needs(model.engine, work) for work in works], paged


def _cache_fit(
    held: str, needs: Sequence[Needs], decides: int, batch: int, free_bytes: int, positions: int | None
) -> CacheFit:
    need = needs[decides]
    kinds: tuple[Images, ...] = ("text",) if need.work.views is None else ("page", "text")
    return CacheFit(
        held=held,
        kv_bytes=max(kind.kv_bytes(batch, kind.work.end) for kind in needs),
        run_bytes=max(kind.peak_bytes("run", batch) for kind in needs),
        limits=tuple(max_batch(needs, free_bytes, stage) for stage in need.stages),
        contexts=tuple(
            max_context(need, free_bytes, batch=batch, images=images, positions=positions) for images in kinds
        ),
    )


def _whole(value: int, name: str, least: int = 1) -> int:
    size = as_dim(value, name, least=least)
    if not is_number(size):
        raise ModelMeterError(f"fit(): {name} must be a whole number, not {value!r}")
    return int(size)
