"""Studies of how a page is run: pages at once, precision, device."""

from collections.abc import Sequence
from itertools import product
from typing import Any, Final, cast

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.sweeps.studies.setup import A4, Setup, make_study, one_page
from modelmeter.sweeps.study import Study

BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64)
WEIGHTS: Final = ("bf16", "fp8", "int8", "int4")
DEVICES: Final = ("h200", "a100-40g", "l40s", "rtx-4090")


@attrs.frozen(kw_only=True)
class Prompt:
    """What is prefilled: a page of so many pixels and some text, or `context_len` tokens of text alone."""

    page: tuple[int, int] = A4
    mode: str = "gundam"
    prompt_tokens: int = 10
    context_len: int | None = None

    @property
    def has_page(self) -> bool:
        """Whether there is vision."""
        return self.context_len is None

    @property
    def views(self) -> dict[str, Any]:
        """The dimensions of the page, each of one value."""
        return {"page": one_page(self.page), "mode": self.mode} if self.has_page else {}

    @property
    def lengths(self) -> dict[str, Any]:
        """The dimension of the context, of one value."""
        return {"prompt_tokens": self.prompt_tokens} if self.has_page else {"context_len": self.context_len}

    def __str__(self) -> str:
        if not self.has_page:
            return f"a prompt of {self.context_len} tokens of text"
        return f"a page of {one_page(self.page)} pixels"


def batch(setup: Setup, batch_sizes: Sequence[int] = BATCH_SIZES, *, prompt: Prompt | None = None) -> Study:
    """Vision, prefill and one decode step over the number of equal pages at once."""
    prompt = prompt or Prompt()
    text = f"What {prompt} costs, several at once, and one decode step after them."
    return make_study("batch", text, _stages(setup, {"batch_size": list(batch_sizes)}, prompt))


def precision(
    setup: Setup,
    weights: Sequence[str] = WEIGHTS,
    kv: Sequence[str | None] = (None,),
    *,
    prompt: Prompt | None = None,
    batch_size: int = 1,
) -> Study:
    """Vision, prefill and one decode step over kinds of weights and of the KV cache; None is the 16-bit float."""
    prompt, base = prompt or Prompt(), setup.model.precision
    several = [
        attrs.evolve(base, weights=cast("Any", kind), kv=cast("Any", cache)) for kind, cache in product(weights, kv)
    ]
    over = {"precision": several, "batch_size": batch_size}
    text = f"What {prompt} costs, and one decode step after it, by the precision of weights and KV cache."
    return make_study("precision", text, _stages(setup, over, prompt))


def device(setup: Setup, *, prompt: Prompt | None = None, batch_size: int = 1) -> Study:
    """Vision, prefill and one decode step on the devices of the setup, without any on `DEVICES`."""
    setup = attrs.evolve(setup, devices=setup.devices or DEVICES)
    if len(setup.devices) == 1:
        raise ModelMeterError("the study device compares devices: name two or more")
    prompt = prompt or Prompt()
    text = f"How long {prompt} takes, and one decode step after it, on {len(setup.devices)} devices."
    return make_study("device", text, _stages(setup, {"batch_size": batch_size}, prompt))


def _stages(setup: Setup, over: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    """Vision (of a page), prefill and one decode step."""
    found = {"vision": setup.sweep({**over, **prompt.views}, "vision")} if prompt.has_page else {}
    for stage in ("prefill", "decode"):
        found[stage] = setup.sweep({**over, **prompt.views, **prompt.lengths}, stage)
    return found
