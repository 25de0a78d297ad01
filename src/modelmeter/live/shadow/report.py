"""A shadow run as an `AnalyticModelReport`: the report of the pages that were run, with what was observed."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from modelmeter.core.cost import StageCost
from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import Page, PageError
from modelmeter.live.shadow.aggregate import Aggregates, Record, aggregate, module_path
from modelmeter.live.shadow.records import DecoderStep, added
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.report.analysis import Workload
from modelmeter.report.model_report.build import build_report
from modelmeter.report.model_report.data import AnalyticModelReport
from modelmeter.report.model_report.observed import ObservedPage, ObservedRun, ObservedSnapshot

SNAPSHOTS: Final = {
    "sam_model": "vision/image_encoder_vit",
    "vision_model": "vision/vit_model",
    "projector": "vision/mlp_projector",
}
DECODER: Final = "decoder/deepseek_v2_decoder_layer"
"""Names of snapshots: the part, and the class of the vendor's module."""


def observed_report(
    stats: AnalyticRunStats,
    pages: Iterable[Page | PageError],
    *,
    workload: Workload | None = None,
    seconds: Mapping[str, float] | None = None,
    **options: Any,
) -> AnalyticModelReport:
    """The report of `pages`, run as they were observed to be, with `observed_run(stats, seconds)` in it.

    Without a `workload` its prompt, decoded tokens and batch are those of the longest page observed. `options` are
    those of `build_report`: config, conventions, precision, machine. Raises `ModelMeterError` where nothing was
    observed, as `flush()` was not called, or nothing ran.
    """
    sums = aggregate(stats)
    if not sums.observed:
        raise ModelMeterError("observed_report() found no pass in these stats: run under hooked(), then flush()")
    report = build_report(pages, workload=workload or _workload(sums), **options)
    return attrs.evolve(report, observed=observed_run(stats, seconds))


def observed_run(stats: AnalyticRunStats, seconds: Mapping[str, float] | None = None) -> ObservedRun:
    """Pages, and the sums of each class of hooked modules; `seconds` are measured ones by the snapshot's name."""
    sums, measured = aggregate(stats), dict(seconds or {})
    groups: dict[str, list[Record]] = {}
    records: list[Record] = [*stats.vision_steps, *stats.decoder_steps]
    for record in records:
        name = DECODER if isinstance(record, DecoderStep) else SNAPSHOTS[record.module]
        groups.setdefault(name, []).append(record)
    unknown = sorted(set(measured) - set(groups))
    if unknown:
        raise ModelMeterError(f"observed_run(): seconds of {unknown[0]!r}, which is none of {', '.join(groups)}")
    rest = None if sums.not_hooked is None else added(sums.not_hooked.values())
    return ObservedRun(
        pages=tuple(ObservedPage(**attrs.asdict(page)) for page in sums.observed),
        snapshots={name: _snapshot(group, measured.get(name)) for name, group in groups.items()},
        not_hooked=rest,
    )


def _snapshot(records: list[Record], seconds: float | None) -> ObservedSnapshot:
    """Weights are those of every module once; the cache is what each layer held when it held most."""
    weights = {module_path(record): record.cost.weights_bytes for record in records}
    caches: dict[str, int] = {}
    for record in records:
        path = module_path(record)
        caches[path] = max(caches.get(path, 0), record.cost.kv_cache_bytes)
    cost = StageCost(
        cost=added(record.cost.cost for record in records),
        weights_bytes=sum(weights.values()),
        activations_bytes=max(record.cost.activations_bytes for record in records),
        kv_cache_bytes=sum(caches.values()),
    )
    return ObservedSnapshot(calls=len(records), cost=cost, measured_seconds=seconds)


def _workload(sums: Aggregates) -> Workload:
    longest = max(sums.observed, key=lambda page: (page.decode_tokens, page.context_len))
    return Workload(
        prompt_tokens=longest.context_len - (longest.image_tokens or 0),
        decode_tokens=longest.decode_tokens,
        batch_size=longest.batch_size,
    )
