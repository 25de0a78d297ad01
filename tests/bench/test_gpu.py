"""bench/gpu.py from end to end on a CPU: a small model on a bare machine, and transformers without the architecture."""

import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

import modelmeter
from modelmeter.hardware.roofline import machine_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "bench" / "gpu.py"
LACKING = ("cattrs", "dask", "platformdirs", "pypdfium2", "simpy")
"""What a machine lent for measuring may not have, though modelmeter brings it."""
BLOCK = f"""
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {LACKING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Lacking())
"""
DONE = {"equality", "pages", "overhead", "scaling", "calibration"}


@attrs.frozen
class Ran:
    """A finished run: its exit code, what it printed, its file."""

    code: int
    printed: str
    file: Path

    @property
    def data(self) -> dict[str, Any]:
        """What the file holds."""
        found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return found

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """By name."""
        return {section["name"]: section for section in self.data["sections"]}


def gpu(folder: Path, *arguments: str, python_path: Path | None = None) -> Ran:
    """Run the script with one thread; `python_path` comes before all other packages."""
    file = folder / "result.json"
    paths = [str(path) for path in (python_path, Path(modelmeter.__file__).parents[1]) if path is not None]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    call = [sys.executable, str(SCRIPT), "--device", "cpu", "--quick", "-o", str(file), *arguments]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return Ran(done.returncode, done.stdout, file)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The small model, where nothing is installed that a bare machine lacks."""
    folder = tmp_path_factory.mktemp("quick")
    (folder / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
    return gpu(folder, python_path=folder)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a transformers of another time."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "transformers").mkdir()
    (folder / "transformers" / "__init__.py").write_text('__version__ = "5.17.0"\n', encoding="utf-8")
    metadata = folder / "transformers-5.17.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 5.17.0\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_every_section_runs_on_a_bare_machine(quick: Ran) -> None:
    found = quick.data
    assert found["schema"] == "modelmeter.gpu-bench/1"
    assert found["complete"]
    assert found["arguments"] == {"device": "cpu", "layers": None, "quick": True}
    assert found["used_seconds"] <= found["budget_seconds"] == 480
    states = {name: section["state"] for name, section in quick.sections.items()}
    assert states == {**dict.fromkeys(DONE, "done"), "graphs": "left out"}
    assert quick.sections["graphs"]["reason"] == "it needs a CUDA device"
    for name in DONE:
        rows = quick.sections[name]["rows"]
        assert rows and not [row for row in rows if {"failed", "skipped"} & set(row)], name


@pytest.mark.slow
def test_it_says_on_what_it_was_measured(quick: Ran) -> None:
    found = quick.data
    provenance = found["provenance"]
    assert provenance["modelmeter"] == modelmeter.__version__
    assert provenance["versions"]["torch"] and provenance["versions"]["transformers"]
    assert found["device"]["torch_device"] == "cpu" and found["device"]["threads"] == 1
    assert found["model"]["decoder_layers"] == 4  # the small model's
    text = quick.file.read_text(encoding="utf-8")
    assert str(quick.file.parent) not in text and str(ROOT) not in text  # a committed file names no machine's folders


@pytest.mark.slow
def test_hooks_counter_and_cache_agree(quick: Ran) -> None:
    rows = quick.sections["equality"]["rows"]
    assert [row["name"] for row in rows] == [
        "4 layers, batch 1",
        "4 layers, batch 2",
        "2 layers, eager, expert by expert, batch 2",
    ]
    for row in rows:
        assert (row["whole_difference"], row["module_difference"], row["kv_difference"]) == (0, 0, 0)
        assert row["passes"] == 1 + 8  # a prefill and the decode steps
    one, two, _ = rows
    assert two["counted_flops"] == 2 * one["counted_flops"]  # the second batch is twice the first
    # 2 tensors x 4 layers x 4 heads x 64 values of 2 bytes a token: image tokens, 10 of text, 8 decoded
    tokens = one["kv_cache_bytes"] // (2 * 4 * 4 * 64 * 2)
    assert one["kv_cache_bytes"] == tokens * 2 * 4 * 4 * 64 * 2 and two["kv_cache_bytes"] == 2 * one["kv_cache_bytes"]
    # both views of 256 and 128 px: q = 4 and 2; 4 * 5 + 1 global, (2 * 2 + 1) * 2 of two tiles side by side
    assert tokens == 21 + 10 + 10 + 8
    exact = [check for check in quick.data["checks"] if "=" in check["what"] or "KV cache" in check["what"]]
    assert len(exact) >= 2 * 3 + 3 * 2 + 2 and all(check["ok"] for check in exact)


@pytest.mark.slow
def test_pages_have_their_times(quick: Ran) -> None:
    for row in quick.sections["pages"]["rows"]:
        times = {name: one["seconds"] for name, one in row["times"].items()}
        assert set(times) == {"vision", "sam", "clip", "projector", "prefill", "decode"}
        assert 0 < max(times["sam"], times["clip"], times["projector"]) <= times["vision"] <= times["prefill"]
        assert row["tokens_per_second"] == pytest.approx(row["batch"] / times["decode"])
        assert 3 <= row["experts_reached"]["decode"] <= 3 * row["batch"]  # a token takes 3 experts
        assert row["experts_reached"]["decode"] <= row["experts_reached"]["prefill"] <= 16
        assert row["kv_cache"]["measured"] == row["kv_cache"]["analytic"]
        assert row["peak_memory"] is None  # nobody counts tensors on a CPU


@pytest.mark.slow
def test_everything_measured_is_predicted(quick: Ran) -> None:
    found = quick.data["predictions"]
    assert found["device"]["calibrated"]
    stages = found["stages"]
    pages, lengths = (len(quick.sections[name]["rows"]) for name in ("pages", "scaling"))
    assert len(stages) == 3 * pages + 2 * lengths  # vision, prefill, decode; prefill, decode
    for row in stages:
        seconds = row["seconds"]
        assert 0 < seconds["bound"] <= seconds["roofline"] <= seconds["calibrated"], row["name"]
        assert row["ratio"]["roofline"] == pytest.approx(row["measured"]["seconds"] / seconds["roofline"])
        assert row["unpredicted"] is None
    check_summary(found["summary"], stages)
    bound = next(check for check in quick.data["checks"] if "bound" in check["what"])
    assert bound["ok"] is all(row["seconds"]["bound"] <= row["measured"]["low"] for row in stages)


def check_summary(summary: list[dict[str, Any]], stages: list[dict[str, Any]]) -> None:
    """Each group is of its stages: the median of their ratios, and the one furthest from 1."""
    assert [group["stage"] for group in summary] == ["vision", "prefill", "decode", "all"]
    for group in summary:
        rows = [row for row in stages if group["stage"] in ("all", row["stage"])]
        assert group["points"] == len(rows)
        for level in ("bound", "roofline", "calibrated"):
            ratios = [row["ratio"][level] for row in rows]
            assert group[level]["median_ratio"] == pytest.approx(statistics.median(ratios))
            assert group[level]["worst_ratio"] in ratios
            furthest = abs(math.log(group[level]["worst_ratio"]))
            assert furthest == pytest.approx(max(abs(math.log(ratio)) for ratio in ratios))


@pytest.mark.slow
def test_the_calibrated_device_can_be_used(quick: Ran) -> None:
    machine = machine_of(quick.file.with_name("result-device.toml"))
    found = quick.data["predictions"]["device"]
    assert machine.calibration is not None
    assert (machine.device.name, machine.host_seconds) == (found["name"], found["host_seconds_a_kernel"])


@pytest.mark.slow
def test_the_tables_are_printed_and_can_be_printed_again(quick: Ran) -> None:
    titles = ("Pages and batches", "Measured scaling", "Every stage", "Measured over predicted", "Checks")
    again = subprocess.run(
        [sys.executable, str(SCRIPT), "--show", str(quick.file)], capture_output=True, text=True, check=True
    )
    for title in titles:
        assert title in quick.printed and title in again.stdout
    assert "Decode steps, eager and in a CUDA graph: left out: it needs a CUDA device" in again.stdout
    assert again.stdout in quick.printed  # but for the progress before it and the file's name after it


@pytest.mark.slow
def test_a_gpu_would_stand_on_the_accuracy_page(quick: Ran, part: Callable[[str], ModuleType], tmp_path: Path) -> None:
    docs, data = part("docs"), quick.data
    tried = tmp_path / "gpu-tried.json"
    tried.write_text(json.dumps(data), encoding="utf-8")
    assert docs.gpu(tmp_path) == docs.NONE_YET  # what was only tried is no result
    data["arguments"]["quick"] = False
    tried.write_text(json.dumps(data), encoding="utf-8")
    for proof in docs.PROOFS:
        (tmp_path / f"{proof}.json").write_bytes((docs.RESULTS / f"{proof}.json").read_bytes())
    page = docs.refresh(docs.PAGE.read_text(encoding="utf-8"), tmp_path)
    assert docs.NONE_YET not in page and page.count("<!-- end -->") == len(docs.BLOCKS)
    assert f"### {data['device']['title']}\n" in page
    (group,) = [group for group in data["predictions"]["summary"] if group["stage"] == "prefill"]
    median, worst = group["calibrated"]["median_error"], group["calibrated"]["worst_error"]
    assert f"| {median:.1%}, {worst:.1%} |" in next(
        line for line in page.splitlines() if line.startswith("| prefill |")
    )
    assert "- Decode steps, eager and in a CUDA graph: left out: it needs a CUDA device" in page


@pytest.mark.slow
def test_the_exit_code_is_that_of_the_checks(quick: Ran) -> None:
    assert quick.code == int(not all(check["ok"] for check in quick.data["checks"]))


@pytest.mark.slow
def test_without_the_architecture_the_rest_is_done(old: Path, tmp_path: Path) -> None:
    found = gpu(tmp_path, python_path=old)
    states = {name: section["state"] for name, section in found.sections.items()}
    assert states == {
        **dict.fromkeys(("equality", "pages", "graphs", "overhead", "scaling"), "left out"),
        **dict.fromkeys(("calibration", "planned"), "done"),
    }
    assert found.sections["pages"]["reason"] == "the model needs transformers 5.23 or newer, not 5.17.0"
    for row in found.sections["planned"]["rows"]:
        for stage in ("vision", "prefill", "decode"):
            levels: Mapping[str, float] = row[stage]
            assert 0 < levels["bound"] <= levels["roofline"] <= levels["calibrated"]
    assert (found.code, found.data["predictions"]["stages"]) == (0, [])
    assert "Predicted, not measured" in found.printed


@pytest.mark.slow
def test_another_transformers_takes_the_place_of_the_old_one(old: Path, tmp_path: Path) -> None:
    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.origin is not None
    found = gpu(tmp_path, "--transformers", str(Path(spec.origin).parent), python_path=old)
    installed = found.data["provenance"]["versions"]["transformers"]
    assert installed != "5.17.0"
    assert found.data["notes"] == [f"transformers {installed} from transformers"]
    assert found.sections["equality"]["state"] == "done"


@pytest.mark.parametrize("text", [None, "no JSON", "[]", '{"schema": "modelmeter.report/1"}'])
def test_what_is_no_result_is_one_line(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "x.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--show", str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "x.json is no result of this script: " in done.stderr and done.stderr.count("\n") == 1


def test_a_device_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    call = [sys.executable, str(SCRIPT), "--device", "cuda:99", "-o", str(tmp_path / "x.json")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("bench/gpu.py: --device cuda:99: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "x.json").exists()
