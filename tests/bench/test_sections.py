"""Sections of bench/gpu.py stand alone: one that fails, lacks memory or has no time left does not end the others."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.session.memory import NotEnoughMemory
from modelmeter.live.verification.real_run import SMALL

Part = Callable[[str], ModuleType]
Row = dict[str, Any]


@pytest.fixture
def make(part: Part, tmp_path: Path) -> Callable[..., Any]:
    """make(seconds): a run on the CPU without a model, and the lines that it says."""

    def bench(seconds: float = 100.0) -> Any:
        lines: list[str] = []
        return part("bench").Bench(
            device=torch.device("cpu"),
            config=SMALL,
            budget=part("budget").Budget(seconds),
            predictions=part("predict").Predictions(SMALL, None),
            device_file=tmp_path / "device.toml",
            say=lines.append,
        )

    return bench


@pytest.fixture
def run(part: Part) -> Callable[..., Any]:
    """run(bench, section's function, ...): what came of it."""

    def one(bench: Any, function: Callable[[Any], Iterator[Row]], *, saved: Any = None, **more: Any) -> Any:
        runner = part("runner")
        section = runner.Section(name="test", title="Test", run=function, **{"needs_model": False, **more})
        outcome = runner.Outcome(section=section)
        runner.run_section(section, bench, outcome, saved or (lambda: None))
        return outcome

    return one


def broken(_bench: Any) -> Iterator[Row]:
    yield {"name": "first"}
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with ...")


def test_a_section_that_fails_keeps_its_rows(make: Any, run: Any) -> None:
    outcome = run(make(), broken)
    assert (outcome.state, [row["name"] for row in outcome.rows]) == ("failed", ["first"])
    assert outcome.reason == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert outcome.traceback[-1].startswith("test_sections.py:")
    assert "in broken: raise RuntimeError" in outcome.traceback[-1]


def test_a_point_that_fails_or_lacks_memory_says_so_and_the_next_follows(make: Any, run: Any) -> None:
    def fails(error: BaseException) -> Callable[[], Row]:
        def measure() -> Row:
            raise error

        return measure

    def points(bench: Any) -> Iterator[Row]:
        yield from bench.points(
            [
                ("room", fails(NotEnoughMemory("3 GiB are needed, 2 GiB free"))),
                ("torch", fails(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nmore"))),
                ("ours", fails(ModelMeterError("no such thing: do that"))),
                ("theirs", fails(KeyError("name"))),
                ("good", lambda: {"value": 1}),
            ]
        )

    outcome = run(make(), points)
    assert outcome.state == "done"
    assert outcome.rows == [
        {"name": "room", "skipped": "3 GiB are needed, 2 GiB free"},
        {"name": "torch", "skipped": "OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB"},
        {"name": "ours", "failed": "no such thing: do that"},
        {"name": "theirs", "failed": "KeyError: 'name'"},
        {"name": "good", "value": 1},
    ]


def test_a_section_whose_points_all_fail_has_failed(make: Any, run: Any) -> None:
    outcome = run(make(), lambda _bench: iter([{"name": "a", "failed": "x"}, {"name": "b", "failed": "y"}]))
    assert (outcome.state, outcome.reason) == ("failed", "every point failed")


def endless(_bench: Any) -> Iterator[Row]:
    yield {"name": "first"}
    while True:
        time.sleep(0.01)


def test_a_section_ends_when_its_share_is_over(make: Any, run: Any) -> None:
    bench = make(100.0)
    outcome = run(bench, endless, share=0.003)  # 0.3 s
    assert (outcome.state, outcome.reason) == ("stopped", "its 0 s were up")
    assert [row["name"] for row in outcome.rows] == ["first"]
    assert bench.budget.left > 0
    assert run(bench, lambda _: iter([{"name": "next"}])).state == "done"  # nothing is left of the alarm


def test_a_section_ends_when_the_budget_is_over_and_none_begins_then(make: Any, run: Any) -> None:
    bench = make(0.5)
    outcome = run(bench, endless, least=0.0)
    assert (outcome.state, outcome.reason) == ("stopped", "the budget is used up")
    late = run(bench, lambda _: iter([{"name": "never"}]), least=5.0)
    assert (late.state, late.reason, late.rows) == ("skipped", "0 s are left, it needs 5 s or more", [])


def test_libraries_that_swallow_errors_do_not_swallow_the_end(part: Part, make: Any, run: Any) -> None:
    def swallows(_bench: Any) -> Iterator[Row]:
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # as a library may
                continue
            yield from ()

    assert run(make(100.0), swallows, share=0.002).state == "stopped"
    assert not issubclass(part("budget").OutOfTime, Exception)


def test_what_needs_cuda_is_left_out_without(make: Any, run: Any) -> None:
    outcome = run(make(), endless, needs_cuda=True)
    assert (outcome.state, outcome.reason) == ("left out", "it needs a CUDA device")


def test_a_transformers_that_breaks_while_it_is_imported_is_left_alone(
    part: Part, make: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(part("bench"), "import_module", breaks)
    part("bench").no_model.cache_clear()
    outcome = run(make(), endless, needs_model=True)
    part("bench").no_model.cache_clear()
    assert outcome.state == "left out"
    assert outcome.reason == (
        "transformers cannot be imported (RuntimeError: operator torchvision::nms does not exist)"
    )


@pytest.fixture
def document(part: Part, make: Any, tmp_path: Path) -> Any:
    """The file of a run that has not begun."""
    return part("document").Document(tmp_path / "result.json", make(), {"device": "cpu", "quick": True})


def test_the_file_is_whole_after_every_row(part: Part, document: Any, run: Any) -> None:
    seen: list[list[str]] = []
    runner = part("runner")

    def look(_bench: Any) -> Iterator[Row]:
        for name in ("one", "two", "three"):
            yield {"name": name}
            (section,) = json.loads(document.path.read_text(encoding="utf-8"))["sections"]
            seen.append([row["name"] for row in section["rows"]])

    section = runner.Section(name="test", title="Test", run=look, needs_model=False)
    document.outcomes.append(runner.Outcome(section=section))
    runner.run_section(section, document.bench, document.outcomes[0], document.save)
    assert seen == [["one"], ["one", "two"], ["one", "two", "three"]]


def test_an_interrupted_run_keeps_what_it_has(part: Part, document: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, everything = part("runner"), part("everything")

    def interrupted(_bench: Any) -> Iterator[Row]:
        yield {"name": "first"}
        raise KeyboardInterrupt

    asked = runner.Section(name="test", title="Test", run=interrupted, needs_model=False)
    monkeypatch.setattr(everything, "_sections", lambda _bench: [asked])
    with pytest.raises(KeyboardInterrupt):
        everything._run(document.bench, document)
    found = json.loads(document.path.read_text(encoding="utf-8"))
    assert not found["complete"]
    (section,) = found["sections"]
    assert (section["state"], section["reason"]) == ("stopped", "interrupted")
    assert section["rows"] == [{"name": "first"}]


@pytest.mark.parametrize(("failing", "checks", "code"), [(False, True, 0), (True, True, 1), (False, False, 1)])
def test_the_exit_code_tells(
    part: Part, document: Any, monkeypatch: pytest.MonkeyPatch, failing: bool, checks: bool, code: int
) -> None:
    runner, everything = part("runner"), part("everything")

    def one(bench: Any) -> Iterator[Row]:
        bench.check("a check", checks)
        yield {"name": "first"}

    sections = [runner.Section(name="one", title="One", run=one, needs_model=False)]
    if failing:
        sections.append(runner.Section(name="two", title="Two", run=broken, needs_model=False))
    monkeypatch.setattr(everything, "_sections", lambda _bench: sections)
    assert everything._run(document.bench, document) == code
    assert json.loads(document.path.read_text(encoding="utf-8"))["complete"]
