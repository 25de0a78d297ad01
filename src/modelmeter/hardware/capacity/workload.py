"""What is asked of a GPU: kinds of pages and how many tokens each one's text takes."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from modelmeter.core.errors import ModelMeterError

Floats = npt.NDArray[np.float64]
KV_BLOCK = 16
"""Tokens of a block of a paged KV cache (vLLM's default block size)."""


def _positive(instance: Any, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not 0 < value < float("inf"):
        raise ModelMeterError(f"{type(instance).__name__}: {attribute.name} must be positive, got {value}")


def _some(instance: Any, attribute: "attrs.Attribute[Any]", value: Sequence[Any]) -> None:
    if not value:
        raise ModelMeterError(f"{type(instance).__name__}: {attribute.name} is empty: give at least one")


@attrs.frozen(kw_only=True)
class PageKind:
    """Pages that run alike: the tokens of their prompt (image tokens included), and their share of all pages."""

    name: str
    context: int = attrs.field(validator=_positive)
    weight: float = attrs.field(default=1.0, validator=_positive)


@attrs.frozen
class OutputTokens:
    """The tokens of a page's text, as values (1 or more) and the weight of each.

    The prefill yields the first of them: a page of N tokens takes N - 1 decode steps.
    """

    values: tuple[int, ...] = attrs.field(validator=_some)
    weights: tuple[float, ...] = attrs.field(validator=_some)

    def __attrs_post_init__(self) -> None:
        if len(self.values) != len(self.weights):
            raise ModelMeterError("OutputTokens: give as many weights as values")
        if min(self.values) < 1:
            raise ModelMeterError(f"OutputTokens: a page has at least 1 output token, got {min(self.values)}")
        if min(self.weights) <= 0:
            raise ModelMeterError("OutputTokens: weights must be positive")

    @classmethod
    def constant(cls, tokens: int) -> "OutputTokens":
        """The same number for every page."""
        return cls((tokens,), (1.0,))

    @classmethod
    def empirical(cls, observed: Iterable[int]) -> "OutputTokens":
        """The numbers of a sample of pages, each as often as it was seen."""
        counts: dict[int, float] = {}
        for tokens in observed:
            counts[tokens] = counts.get(tokens, 0.0) + 1.0
        values = tuple(sorted(counts))
        return cls(values, tuple(counts[value] for value in values))


@attrs.frozen
class PageMix:
    """Kinds of pages and output tokens. The tokens of a page are drawn independently of its kind."""

    kinds: tuple[PageKind, ...] = attrs.field(validator=_some)
    outputs: OutputTokens

    @cached_property
    def shares(self) -> Floats:
        """Share of each kind; they add up to 1."""
        return _shares([kind.weight for kind in self.kinds])

    @cached_property
    def contexts(self) -> Floats:
        """Prompt tokens of each kind."""
        return np.array([kind.context for kind in self.kinds], dtype=np.float64)

    @cached_property
    def tokens(self) -> Floats:
        """Values of the output tokens."""
        return np.array(self.outputs.values, dtype=np.float64)

    @cached_property
    def token_shares(self) -> Floats:
        """Share of each value; they add up to 1."""
        return _shares(self.outputs.weights)

    @cached_property
    def steps(self) -> float:
        """Mean decode steps of a page: one fewer than its tokens."""
        return float(self.token_shares @ (self.tokens - 1))

    @cached_property
    def cached(self) -> float:
        """Mean tokens that a decoding sequence holds, over decode steps.

        Step j of a page (from 1) reads its prompt and the j - 1 tokens decoded before: a page of N tokens has
        N - 1 steps, of mean prompt + (N - 2) / 2; long pages weigh more, as they have more steps.
        """
        if self.steps == 0:
            return float(self.shares @ self.contexts)
        steps = self.tokens - 1
        decoded = float(self.token_shares @ (steps * (steps - 1))) / 2 / self.steps
        return float(self.shares @ self.contexts) + decoded

    def blocks(self, kind: int, tokens: int) -> int:
        """KV blocks that a page holds at its end: its prompt and all output tokens but the last, never read."""
        return -(-(self.kinds[kind].context + tokens - 1) // KV_BLOCK)

    @cached_property
    def held_blocks(self) -> float:
        """Mean KV blocks at their end of the pages that decode at a time: long ones are met more often."""
        held = np.ceil((self.contexts[:, None] + self.tokens[None, :] - 1) / KV_BLOCK)
        met = self.token_shares * (self.tokens - 1) / self.steps if self.steps else self.token_shares
        return float(self.shares @ held @ met)

    @cached_property
    def most_blocks(self) -> int:
        """KV blocks of the largest page."""
        most = max(range(len(self.kinds)), key=lambda kind: self.kinds[kind].context)
        return self.blocks(most, max(self.outputs.values))


def _shares(weights: Sequence[float]) -> Floats:
    array = np.array(weights, dtype=np.float64)
    return array / array.sum()
