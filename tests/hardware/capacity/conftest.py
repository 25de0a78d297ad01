"""Made-up times of a GPU, whose answers can be worked out by hand."""

import attrs
import pytest

from modelmeter.hardware.capacity.workload import OutputTokens, PageKind, PageMix


@attrs.frozen(kw_only=True)
class LinearTimes:
    """Seconds that are linear in pages, batch, cached tokens and chunk; `sizes` scale vision and prefill by kind."""

    vision: float = 0.02
    prefill: float = 0.03
    step: float = 0.01
    step_page: float = 0.0
    step_token: float = 0.0
    chunk_token: float = 0.0
    host: float = 0.0
    sizes: tuple[float, ...] = (1.0, 1.0)

    def vision_seconds(self, kind, pages):
        return self.vision * pages * self.sizes[kind]

    def prefill_seconds(self, kind, pages):
        return self.vision_seconds(kind, pages) + self.prefill * pages * self.sizes[kind]

    def decode_seconds(self, batch, cached):
        return self.step + self.step_page * batch + self.step_token * batch * cached

    def mixed_seconds(self, batch, cached, chunk_tokens, chunk_past):
        return self.decode_seconds(batch, cached) + self.chunk_token * chunk_tokens

    def host_seconds(self, kind):
        return self.host


@pytest.fixture
def linear():
    """linear(vision=0.02, prefill=0.03, step=0.01, ...): made-up times."""
    return LinearTimes


@pytest.fixture
def pages():
    """pages(tokens, context): equal pages."""

    def make(tokens, context=900):
        return PageMix((PageKind(name="page", context=context),), OutputTokens.constant(tokens))

    return make


@pytest.fixture(scope="session")
def mixed():
    """Two kinds of pages and five lengths."""
    kinds = (PageKind(name="small", context=300, weight=2), PageKind(name="large", context=1300))
    return PageMix(kinds, OutputTokens((100, 300, 600, 1200, 2400), (1, 2, 3, 2, 1)))
