"""What a run of the real model was observed to do, beside what a report predicts of it."""

import attrs

from modelmeter.core.cost import Cost, StageCost
from modelmeter.report.model_report import checks


@attrs.frozen(kw_only=True)
class ObservedPage:
    """Tokens of each sequence that read a page: prefilled (image tokens among them, None: not known) and decoded."""

    document: str | None = None
    page: int | None = None
    batch_size: int = attrs.field(validator=checks.whole(1))
    context_len: int = attrs.field(validator=checks.whole())
    image_tokens: int | None = attrs.field(default=None, validator=attrs.validators.optional(checks.whole()))
    decode_tokens: int = attrs.field(validator=checks.whole())


@attrs.frozen(kw_only=True)
class ObservedSnapshot:
    """A class of modules over the whole run: its calls and the exact cost of their shapes, all added up.

    `cost.weights_bytes` and `cost.kv_cache_bytes` are those of all modules of the class, `cost.activations_bytes` the
    largest peak of a call.
    """

    calls: int = attrs.field(validator=checks.whole(1))
    cost: StageCost = attrs.field(validator=checks.exact)
    measured_seconds: float | None = attrs.field(default=None, validator=checks.seconds)


@attrs.frozen(kw_only=True)
class ObservedRun:
    """The pages that were run, and snapshots by name ("vision/vit_model", ...); `not_hooked` is what had no hook.

    It is None where the whole of a pass is not known.
    """

    pages: tuple[ObservedPage, ...]
    snapshots: dict[str, ObservedSnapshot]
    not_hooked: Cost | None = None
