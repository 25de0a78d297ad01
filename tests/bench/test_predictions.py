"""What bench/gpu.py says of measured stages beside the analytic model, and of the device that it ran on."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
import torch

from modelmeter import Conventions, DeepseekOCRConfig, DeepseekOCRModel, machine_of, plan_views, time_page
from modelmeter.live.calibration.clock import Timing

Part = Callable[[str], ModuleType]
VIEWS = plan_views(1654, 2339, mode="base")
CONVENTIONS = Conventions(implementation="transformers", attention="flash", logits="last", causal="triangle")
PAGE = {"prompt_tokens": 10, "batch_size": 2, "decode_tokens": 1}
CONTEXT = VIEWS.image_tokens + 10
BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def predictions(part: Part) -> Any:
    """Of the released model on an H200's data sheet."""
    return part("predict").Predictions(DeepseekOCRConfig(), machine_of("h200"))


def measured(part: Part, seconds: float, **point: Any) -> Any:
    """A stage that took so long, give or take a tenth."""
    predict = part("predict")
    sizes = {"section": "test", "name": "a stage", "batch": 2, "conventions": CONVENTIONS, **point}
    times = Timing.of([0.9 * seconds, seconds, 1.1 * seconds])
    return predict.Measured(point=predict.Point(**sizes), timing=times)


def test_stages_are_those_of_a_page(part: Part, predictions: Any) -> None:
    model = DeepseekOCRModel.from_config(**attrs.asdict(CONVENTIONS))
    page = time_page(model, VIEWS, machine_of("h200"), **PAGE)
    wanted = {"vision": page.vision, "prefill": page.prefill, "decode": page.decode}
    for stage, tokens, views in (("vision", 0, VIEWS), ("prefill", CONTEXT, VIEWS), ("decode", CONTEXT, None)):
        one = measured(part, 1.0, stage=stage, context_len=tokens, views=views)
        assert predictions.levels(one.point) == wanted[stage].seconds


def test_a_graph_has_no_host(part: Part, predictions: Any) -> None:
    eager, graph = (
        predictions.levels(measured(part, 1.0, stage="decode", context_len=913, execution=execution).point)
        for execution in ("eager", "graph")
    )
    assert graph.bound == eager.bound and graph.roofline < eager.roofline


def test_ratios_are_measured_over_predicted(part: Part, predictions: Any) -> None:
    one = measured(part, 1.0, stage="decode", context_len=913)
    roofline = predictions.levels(one.point).roofline
    predictions.measured = [
        measured(part, times * roofline, stage="decode", context_len=913) for times in (0.25, 1.5, 2.0)
    ]
    rows = predictions.rows()
    assert [row["ratio"]["roofline"] for row in rows] == pytest.approx([0.25, 1.5, 2.0])
    assert [row["ratio"]["calibrated"] for row in rows] == [None, None, None]  # a data sheet has no such level
    (group,) = part("predict").summary(rows)
    found = group["roofline"]
    assert found["median_ratio"] == pytest.approx(1.5)
    assert found["worst_ratio"] == pytest.approx(0.25)  # four times too short is further than twice too long
    # errors are predicted / measured - 1: 3, a third, a half
    assert (found["median_error"], found["worst_error"]) == pytest.approx((0.5, 3.0))
    assert group["calibrated"] is None


def test_a_device_that_becomes_known_predicts_what_was_measured_before(part: Part, predictions: Any) -> None:
    unknown = part("predict").Predictions(DeepseekOCRConfig(), None)
    unknown.measured = [measured(part, 1.0, stage="decode", context_len=913)]
    (before,) = unknown.rows()
    assert before["seconds"] == {"bound": None, "roofline": None, "calibrated": None}
    unknown.machine = machine_of("h200")
    (after,) = unknown.rows()
    assert after["seconds"]["bound"] > 0
    unknown.machine = machine_of("l4")
    assert unknown.rows()[0]["seconds"]["bound"] > after["seconds"]["bound"]


def test_what_cannot_be_predicted_is_told(part: Part, predictions: Any) -> None:
    predictions.measured = [measured(part, 1.0, stage="prefill", context_len=5, views=VIEWS)]
    (row,) = predictions.rows()
    assert "shorter than the 273 image tokens" in row["unpredicted"]
    assert row["ratio"] == {"bound": None, "roofline": None, "calibrated": None}


def test_a_flash_kernel_leaves_out_what_the_mask_hides(part: Part) -> None:
    as_it_runs = part("predict").as_it_runs
    assert as_it_runs(Conventions(attention="flash")).causal == "triangle"
    assert as_it_runs(Conventions(attention="eager")).causal == "full"
    assert as_it_runs(Conventions()).coverage == "expected"
    assert as_it_runs(Conventions(), 12.5).coverage == 12.5


SMI = """#!{python}
import sys
fields = sys.argv[1].removeprefix("--query-gpu=").split(",")
if "clocks_throttle_reasons.active" in fields or {old}:
    if set(fields) - {{"name", "driver_version", "memory.total"}}:
        sys.exit('Field "..." is not a valid field to query.')
for card in ("first", "second"):
    print(", ".join(f"{{card}} {{field}}" for field in fields))
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """smi(old): an nvidia-smi of two cards, which as an old one knows the basic fields alone."""

    def install(old: bool) -> None:
        file = tmp_path / "nvidia-smi"
        file.write_text(SMI.format(python=sys.executable, old=old), encoding="utf-8")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])

    return install


def test_the_driver_is_asked_of_the_card_that_runs(part: Part, smi: Callable[[bool], None]) -> None:
    smi(False)
    facts = part("facts")
    found = facts.driver_facts(torch.device("cuda", 1))
    assert found.keys() == set(facts.ALL)
    assert (found["name"], found["power.limit"]) == ("second name", "second power.limit")


def test_an_old_driver_tells_what_it_knows(part: Part, smi: Callable[[bool], None]) -> None:
    smi(True)
    found = part("facts").driver_facts(torch.device("cuda", 0))
    assert found == {name: f"first {name}" for name in ("name", "driver_version", "memory.total")}


def test_without_a_driver_there_are_no_facts(part: Part, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = part("facts")
    assert facts.driver_facts(torch.device("cuda", 0)) == {}
    assert facts.driver_facts(torch.device("cpu")) == {}
    assert facts.provenance()["commit"] is None  # no git either


def test_a_call_that_never_comes_back_ends_with_the_process() -> None:
    code = (
        "import sys, ctypes; sys.path.insert(0, sys.argv[1]); from gpu_bench.budget import Budget;"
        "Budget(1.0).end_process(); print('waiting', flush=True);"
        "ctypes.PyDLL(None).sleep(60);"  # holds the interpreter, as a driver that hangs
        "print('woke')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(BENCH)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "waiting\n" and "Timeout" in done.stderr


def test_the_accuracy_page_is_that_of_the_committed_results(part: Part) -> None:
    docs = part("docs")
    text = docs.PAGE.read_text(encoding="utf-8")
    assert docs.refresh(text) == text, f"docs/accuracy.md differs from the results: run `{docs.COMMAND}`"
    assert [text.count(f"<!-- accuracy: {name} -->") for name in docs.BLOCKS] == [1, 1]
