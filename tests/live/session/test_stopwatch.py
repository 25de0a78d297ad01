"""Vision parts inside a prefill: their ranges nest, device events time them on CUDA, errors leave none open."""

from typing import Any

import pytest
import torch

from modelmeter.live.session import run as run_module
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.session.stopwatch import PartClock, ProfilerRanges, ranges_of

from .conftest import ONE_VIEW, TILED


class Recorder:
    """NVTX's functions, written down: "(name" opens a range, ")name" closes it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.open: list[str] = []

    def range_push(self, msg: str) -> None:
        """Open."""
        self.open.append(msg)
        self.calls.append(f"({msg}")

    def range_pop(self) -> None:
        """Close the last."""
        self.calls.append(f"){self.open.pop()}")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Stands for NVTX in every run."""
    found = Recorder()
    monkeypatch.setattr(run_module, "ranges_of", lambda device: found)
    return found


A_VIEW = ["(sam", ")sam", "(clip", ")clip", "(projector", ")projector"]


@pytest.mark.parametrize(("views", "times"), [(ONE_VIEW, 1), (TILED, 2)], ids=["page", "tiles"])
def test_ranges_nest(session: DeepSeekOCRSession, recorder: Recorder, quick: Any, views: Any, times: int) -> None:
    session.run(session.synthetic_inputs(40, views=views, batch_size=2), 3, **quick)
    vision = ["(vision", *A_VIEW * times, ")vision"]
    assert recorder.calls == ["(prefill", *vision, ")prefill", *["(decode", ")decode"] * 2]


def test_text_has_two_ranges(session: DeepSeekOCRSession, recorder: Recorder, quick: Any) -> None:
    session.run(session.synthetic_inputs(4), 2, **quick)
    assert recorder.calls == ["(prefill", ")prefill", "(decode", ")decode"]


@pytest.mark.parametrize("part", ["sam", "clip", "projector"])
def test_an_error_leaves_no_range_open(session: DeepSeekOCRSession, recorder: Recorder, quick: Any, part: str) -> None:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    module: torch.nn.Module = getattr(session.points, part)
    before = len(module._forward_hooks), len(module._forward_pre_hooks)
    handle = next(iter(module.modules())).register_forward_hook(fail)
    try:
        with pytest.raises(KeyboardInterrupt):
            session.run(session.synthetic_inputs(40, views=TILED), 1, **quick)
    finally:
        handle.remove()
    assert recorder.open == [] and recorder.calls[-1] == ")prefill"
    assert (len(module._forward_hooks), len(module._forward_pre_hooks)) == before


def test_the_profiler_sees_the_ranges(session: DeepSeekOCRSession, quick: Any) -> None:
    """A trace of a run has its stages by name: a prefill with two batches of views, two decode steps."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        session.run(session.synthetic_inputs(40, views=TILED), 3, **quick)
    found = {event.key: event.count for event in profile.key_averages() if event.is_user_annotation}
    parts = dict.fromkeys(("sam", "clip", "projector"), 2)
    assert found == {"prefill": 1, "vision": 1, "decode": 2, **parts}


def test_cuda_has_nvtx_too(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the fixture's own stand-in
    monkeypatch.setattr(torch.cuda, "nvtx", recorder)
    on_cuda, on_cpu = ranges_of(torch.device("cuda", 0)), ranges_of(torch.device("cpu"))
    for ranges in (on_cuda, on_cpu):
        ranges.range_push("prefill")
        ranges.range_pop()
    assert recorder.calls == ["(prefill", ")prefill"]  # of the first alone


class Event:
    """A device event whose device is a counter: each record is a millisecond after the one before."""

    clock = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        self.at = 0

    def record(self, stream: Any) -> None:
        """Taken down in the stream."""
        Event.clock += 1
        self.at = Event.clock

    def elapsed_time(self, end: "Event") -> float:
        """Milliseconds."""
        return float(end.at - self.at)


def test_seconds_of_device_events(session: DeepSeekOCRSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event is a millisecond after the last: a part's call takes 1, and vision all events but its first."""
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    parts = PartClock(session.points, torch.device("cuda", 0), ProfilerRanges(), projector_calls=2)
    inputs = session.body.place(session.synthetic_inputs(40, views=TILED))
    with parts.watching(), session.body.running():
        session.body.prefill(inputs, session.body.new_cache())
    calls = 2
    events = 2 * (3 * calls + 1)  # both ends of each part's calls and of vision
    seconds = {name: 1e-3 * calls for name in ("sam", "clip", "projector")} | {"vision": 1e-3 * (events - 1)}
    assert parts.seconds() == pytest.approx(seconds)
