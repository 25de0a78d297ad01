"""A pass taken apart: joining is told from the masks by what vision runs alone, and peaks stay those of the pass."""

import pytest
from support.small import CONTEXT

from modelmeter.core.trace import Trace
from modelmeter.live.analyser.analyser import DeepseekOCRStaticAnalyzer
from modelmeter.live.analyser.split import joining_of, split_pass, together
from modelmeter.live.analyser.stages import stage_of
from modelmeter.live.verification.verify import Point, passes

from .conftest import SMALL_VIEWS


@pytest.fixture(scope="module", params=["measured", "analytic"])
def traces(request: pytest.FixtureRequest, small: DeepseekOCRStaticAnalyzer) -> tuple[Trace, Trace]:
    """A vision pass and the page that has it in, of either side."""
    points = [Point(stage="vision", views=SMALL_VIEWS), Point(stage="page", views=SMALL_VIEWS, context_len=CONTEXT)]
    vision, page = passes(small.adapter, points, small.twin)
    return getattr(vision, request.param), getattr(page, request.param)


def test_every_operator_is_in_one_part(traces: tuple[Trace, Trace]) -> None:
    vision, page = traces
    parts = split_pass(page, joining_of(vision))
    assert set(parts) == {"sam", "clip", "projector", "joining", "prefill"}
    whole = together(list(parts.values()))
    assert whole.forward == page.root.numbers
    assert sum(tally.calls for tally in whole.operators.values()) == sum(any(op.numbers) for _, op in page.operators())


def test_joining_is_what_vision_runs_between_its_modules(traces: tuple[Trace, Trace]) -> None:
    vision, page = traces
    joining = split_pass(page, joining_of(vision))["joining"]
    own = [op for path, op in vision.operators() if stage_of(path) is None]
    assert joining.operators["cat"].calls == sum(op.name == "cat" for op in own)
    assert set(joining.operators) == {op.name for op in own} <= {"cat", "clone", "sum"}


def test_without_a_vision_pass_there_is_no_joining(traces: tuple[Trace, Trace]) -> None:
    _, page = traces
    parts = split_pass(page)
    assert "joining" not in parts
    assert together(list(parts.values())).forward == page.root.numbers


def test_a_page_without_what_vision_runs_is_a_bug(traces: tuple[Trace, Trace]) -> None:
    vision, _ = traces
    with pytest.raises(RuntimeError, match="lacks what vision runs alone"):
        split_pass(Trace(vision.root), joining_of(vision) + joining_of(vision))


def test_the_largest_live_peak_is_that_of_the_pass(traces: tuple[Trace, Trace]) -> None:
    for trace in traces:
        peaks = trace.live_peaks(stage_of, "rest")
        assert max(peaks.values()) == trace.peak_bytes
        assert {"sam", "clip", "projector"} <= set(peaks)
    everything = traces[1].live_peaks(lambda path: None, "rest")
    assert everything == {"rest": traces[1].peak_bytes}  # looking inside of everything, down to the last call
