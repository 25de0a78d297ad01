"""What a run prints, of a run that is made up by hand."""

import attrs
import pytest
from support.devices import made_up

from modelmeter import Conventions, Cost, ViewPlan
from modelmeter.core.precision import Precision
from modelmeter.documents import Page
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import Levels
from modelmeter.live.calibration.clock import Timing
from modelmeter.live.running.rates import StageRun, Work
from modelmeter.live.running.summary import Equality, PageRun, RunSummary
from modelmeter.live.running.tables import run_lines, run_tables
from modelmeter.live.session.result import RunResult
from modelmeter.live.shadow.aggregate import Reached
from modelmeter.report.analysis import Workload

WORK = Work(cost=Cost(tensor_flops=10**12, weight_read_bytes=10**9), needed_flops={"bf16": 10**12}, used_bytes=10**9)
PREFILL = StageRun(
    seconds=0.5,
    work=WORK,
    tokens=100,
    spread=Timing.of([0.4, 0.5, 0.9]),
    predicted=0.25,
    levels=Levels(bound=0.01, roofline=0.25),
    device=made_up(),  # 100 TFLOP/s, 1 TB/s
)
RESULT = RunResult(
    batch_size=2,
    context_len=50,
    image_tokens=40,
    prompt_tokens=10,
    views=None,
    generated_ids=((1, 2), (1, 2)),
    stop_reason="length",
    prefill=PREFILL.spread,
    vision=None,
    parts={},
    decode=None,
    decode_steps=(0.1,),
    peak_memory_bytes=3 * 2**30,
    kv_cache_bytes=2**20,
    warm_up=0,
    repeats=3,
    complete=True,
    text=None,
    stats=None,
)
SAME = Equality(quantity="FLOPs", of="projector", measured=7, expected=7)


@pytest.fixture
def page() -> PageRun:
    return PageRun(
        page=Page("a.png", 1, 300, 400, "a.png"),
        views=ViewPlan.from_grid((1, 1), base_size=256),
        result=RESULT,
        stages={"prefill": PREFILL},
        checks=(SAME, attrs.evolve(SAME, of="sam_model"), attrs.evolve(SAME, quantity="bytes", of="KV cache")),
    )


@pytest.fixture
def summary(page: PageRun) -> RunSummary:
    return RunSummary(
        run_id="one",
        folder="runs/one",
        started="2026-11-21T16:05:00Z",
        model="a model",
        parameters=1,
        weights_bytes=2,
        device="cpu",
        device_title="A CPU",
        conventions=Conventions(),
        precision=Precision(),
        workload=Workload(),
        machine=Machine(device=made_up()),
        pages=(page,),
        errors=(),
        complete=True,
    )


def test_a_row_is_work_over_time(summary: RunSummary) -> None:
    (table,) = run_tables(summary)
    assert table.title == "a.png: 2 times, each 50 tokens in, 2 out"
    time, quartiles, *rates = table.rows[0][1:]
    assert (table.rows[0][0], time) == ("prefill (vision in it)", "500 ms")
    assert quartiles == "450 ms to 700 ms, 3 times"  # half way between 0.4, 0.5 and 0.9
    assert rates == ["200", "2", "2%", "2", "0.2%", "250 ms", "2"]  # 100 tokens, 1 TFLOP, 1 GB in half a second


def test_what_is_not_known_is_a_dash(summary: RunSummary, page: PageRun) -> None:
    bare = attrs.evolve(PREFILL, device=None, predicted=None, levels=None, spread=None)
    host = StageRun(seconds=0.1, work=Work(cost=Cost()), tokens=0)
    shown = attrs.evolve(summary, pages=(attrs.evolve(page, stages={"host": host, "prefill": bare}),))
    (table,) = run_tables(shown)
    assert table.rows[0] == ("host: reading, views", "100 ms", "", *["-"] * 7)
    assert table.rows[1][2:] == ("", "200", "2", "-", "2", "-", "-", "-")


def test_a_page_that_was_cut_short_says_so(summary: RunSummary, page: PageRun) -> None:
    (table,) = run_tables(attrs.evolve(summary, pages=(attrs.evolve(page, reason="interrupted"),)))
    assert table.title.startswith("a.png (cut short): ")


def test_several_pages_are_added_up(summary: RunSummary, page: PageRun) -> None:
    *_, table = run_tables(attrs.evolve(summary, pages=(page, page)))
    assert table.title == "All 2 pages, one after the other"
    assert table.rows[0][1] == "1.00 s" and table.rows[0][-1] == "2"


def test_the_sum_says_what_it_is_of(summary: RunSummary, page: PageRun) -> None:
    """Its last row is not one page, and a page of which a part is missing is told."""
    cut = attrs.evolve(page, reason="interrupted", stages={"prefill": PREFILL, "page": PREFILL})
    *_, table = run_tables(attrs.evolve(summary, pages=(page, cut, cut)))
    assert table.title == "All 3 pages, one after the other (2 cut short)"
    assert [row[0] for row in table.rows] == ["prefill (vision in it)", "all pages"]


def test_a_batch_is_told_to_be_one_page_again_and_again(summary: RunSummary, page: PageRun) -> None:
    """Its sequences reach the same experts, and are predicted as if they did not."""
    batch = attrs.evolve(summary, workload=attrs.evolve(summary.workload, batch_size=2))
    read = attrs.evolve(page, stages={"host": PREFILL, "prefill": PREFILL})
    (line,) = [line for line in run_lines(attrs.evolve(batch, pages=(read,))) if "batch" in line]
    for other in (attrs.evolve(summary, pages=(read,)), batch):  # one page at a time; pages of noise
        assert not [line for line in run_lines(other) if "batch" in line]
    assert line.startswith("a batch is one page 2 times") and "same experts" in line


def test_what_is_equal_is_one_line(summary: RunSummary) -> None:
    first, memory, *_ = run_lines(summary)
    assert first.endswith("agree to the integer: FLOPs of projector, sam_model; bytes of KV cache")
    assert memory == "most memory 3.00 GiB (resident, of the whole process), largest KV cache 1.00 MiB"
    assert summary.ok


def test_what_differs_is_a_line_each_and_no_success(summary: RunSummary, page: PageRun) -> None:
    wrong = attrs.evolve(SAME, measured=1234567)
    shown = attrs.evolve(summary, pages=(attrs.evolve(page, checks=(*page.checks, wrong)),))
    first, second, *_ = run_lines(shown)
    assert first == "DIFFERS: FLOPs of projector: 1,234,567 in the run, 7 in the static model"
    assert "agree" not in second
    assert not shown.ok


def test_experts_are_a_line_for_each_stage(summary: RunSummary) -> None:
    """The mean of 3 over one pass and 6 over two is 5."""
    one = Reached(
        layer_idx=1, stage="decode", passes=1, hit=3, expected=4, weight_bytes=2**20, weight_bytes_observed=2**19
    )
    two = attrs.evolve(one, layer_idx=2, passes=2, hit=6)
    line = next(line for line in run_lines(attrs.evolve(summary, experts=(one, two))) if line.startswith("experts"))
    assert line == (
        "experts reached in decode: 5.0 a layer and pass (expected 4.0); the layers' weights read with them 1.00 MiB "
        "(expected 2.00 MiB)"
    )
