"""A profile beside its prediction: which stages are compared, with how much work, over which time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import MAX_SIDE
from modelmeter.hardware.roofline import machine_of
from modelmeter.report.analysis import Workload
from modelmeter.report.profiles.build import Expected, ProfileReport, StageRow, import_profile, one_page, stage_rows
from modelmeter.report.timing.timing import time_pages

from .conftest import PAGE, TOTAL

With = Callable[..., Expected]
H200 = machine_of("h200").device


def rows(report: ProfileReport) -> dict[str, StageRow]:
    """By name."""
    return {row.name: row for row in stage_rows(report)}


def test_a_profile_alone_is_measured_alone(trace: Path) -> None:
    report = import_profile(trace)
    assert (report.runs, report.decode_steps, report.prediction) == (1, 2, None)
    found = rows(report)
    assert list(found) == [
        "sam",
        "clip",
        "projector",
        "all vision",
        "prefill",
        "decode",
        "unknown",
        "all stages",
        "total",
    ]
    assert all(row.predicted is None and row.shares is None for row in found.values())
    assert found["total"].measured.nanoseconds == TOTAL * 1000
    assert found["all vision"].measured.nanoseconds == (30 + 5 + 20 + 1) * 1000
    assert found["all stages"].measured.nanoseconds == (TOTAL - 3) * 1000
    assert found["decode"].launches_per_token == 4 / 2  # two kernels a step
    assert found["prefill"].launches_per_token is None


def test_what_is_predicted_is_what_time_says(trace: Path, expected: With) -> None:
    given = expected()
    found = rows(import_profile(trace, given))
    work = Workload(decode_tokens=2)
    [page] = time_pages([PAGE], given.machine, workload=work, conventions=given.conventions, host=0.0).pages
    predicted = {name: row.predicted for name, row in found.items()}
    assert predicted["unknown"] is None and predicted["total"] is None  # the copy outside is not predicted
    assert predicted["all stages"] is not None
    assert predicted["all stages"].seconds == pytest.approx(page.time.total.roofline, rel=1e-9)
    assert predicted["decode"] is not None
    assert predicted["decode"].seconds == pytest.approx(page.time.decode_total.roofline, rel=1e-9)


def test_shares_are_of_the_elapsed_time(trace: Path, expected: With) -> None:
    """MFU and MBU as docs/time.md has them, over what the stage took with its waiting."""
    report = import_profile(trace, expected())
    found, work = rows(report), report.prediction.work
    for name in ("all vision", "prefill", "decode"):
        row = found[name]
        assert row.elapsed is not None and row.shares is not None
        flops, num_bytes = sum(work[name].needed_flops.values()), work[name].used_bytes
        assert row.shares == pytest.approx(
            (flops / H200.peaks["bf16"] / row.elapsed, num_bytes / H200.bandwidth / row.elapsed), rel=1e-9
        )
    assert found["sam"].shares is None  # what is needed is known of the vision as a whole
    whole = sum(sum(part.needed_flops.values()) for part in work.values())
    assert found["all stages"].shares is not None
    assert found["all stages"].shares[0] == pytest.approx(
        whole / H200.peaks["bf16"] / found["all stages"].elapsed, rel=1e-9
    )


def test_a_summary_has_kernel_time_alone(summary: Path, expected: With) -> None:
    report = import_profile(summary, expected(), stage="decode", decode_tokens=10)
    found = rows(report)
    assert list(found) == ["decode", "total"]
    row = found["decode"]
    assert (row.elapsed, row.ranges) == (None, None)
    assert row.launches_per_token == (900 + 400) / 10
    assert row.shares is not None
    num_bytes = report.prediction.work["decode"].used_bytes
    assert row.shares[1] == pytest.approx(num_bytes / H200.bandwidth / 0.010)  # 9 + 1 ms of kernels


def test_a_summary_of_a_whole_run_is_compared_as_a_whole(summary: Path, expected: With) -> None:
    report = import_profile(summary, expected(), decode_tokens=3)
    assert set(rows(report)) == {"unknown", "total"}
    assert report.prediction.stages == ("unknown",)
    assert rows(report)["total"].shares is not None


@pytest.mark.parametrize("stage", ["prefill", "vision"])
def test_a_summary_of_another_stage_has_no_decode_steps(summary: Path, expected: With, stage: str) -> None:
    report = import_profile(summary, expected(), stage=stage)
    assert (report.decode_steps, report.prediction.stages) == (0, (stage,))


@pytest.mark.parametrize("stage", [None, "decode"])
def test_without_marked_steps_their_number_is_asked_for(summary: Path, expected: With, stage: str | None) -> None:
    with pytest.raises(ModelMeterError, match="marks no decode steps: --decode-tokens"):
        import_profile(summary, expected(), stage=stage)
    assert import_profile(summary, stage=stage).decode_steps is None  # nobody asks for what is not used


def test_several_runs_are_as_many_pages(trace: Path, expected: With) -> None:
    once, twice = (import_profile(trace, expected(), runs=runs) for runs in (1, 2))
    assert once.expected.workload.decode_tokens == 2
    assert twice.expected.workload.decode_tokens == 1
    assert twice.prediction.of(["sam"]).seconds == 2 * once.prediction.of(["sam"]).seconds


def test_steps_that_do_not_divide_are_refused(trace: Path, expected: With) -> None:
    with pytest.raises(ModelMeterError, match=r"has 2 decode ranges in 3 runs"):
        import_profile(trace, expected(), runs=3)


def test_steps_that_are_given_replace_those_marked(trace: Path, expected: With) -> None:
    report = import_profile(trace, expected(), decode_tokens=8)
    assert report.decode_steps == 8
    assert rows(report)["decode"].launches_per_token == 4 / 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stage": "unknown"}, "stage 'unknown': choose sam, clip"),
        ({"stage": "decoder"}, "stage 'decoder': choose"),
        ({"runs": 0}, "runs"),
        ({"decode_tokens": -1}, "decode_tokens"),
    ],
)
def test_options_that_cannot_be(trace: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(ModelMeterError, match=said):
        import_profile(trace, **options)


def test_a_profile_is_of_one_page() -> None:
    assert one_page("600x620").width == 600
    sample = Path(__file__).parents[3] / "examples" / "sample.pdf"
    with pytest.raises(ModelMeterError, match="has 4 pages, a profile is of one"):
        one_page(str(sample))
    with pytest.raises(ModelMeterError, match=r"missing\.png"):
        one_page("missing.png")
    with pytest.raises(ModelMeterError, match=f"{MAX_SIDE:,}"):
        one_page("1x99999999")
