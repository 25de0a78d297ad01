"""`modelmeter calibrate` from end to end, quickly: the numbers mean little, the path is the real one."""

import contextlib
import os
import sys
from collections.abc import Iterator

import attrs
import pytest
import torch

from modelmeter import ModelMeterError, cli
from modelmeter.hardware.efficiency import CLASSES
from modelmeter.hardware.page_time import time_page
from modelmeter.hardware.roofline import machine_of
from modelmeter.live.calibration import host
from modelmeter.live.calibration.calibrate import calibrate
from modelmeter.live.calibration.clock import CPUClock
from modelmeter.live.calibration.host import host_time
from modelmeter.live.calibration.stages import Stages
from modelmeter.live.verification.real_run import SMALL
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan


@pytest.fixture
def program(monkeypatch, capsys):
    """program(*arguments) -> (exit code, standard output, lines on standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["modelmeter", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err.splitlines()

    return run


def test_a_quick_calibration_of_this_cpu(program, tmp_path):
    path = tmp_path / "my-cpu.toml"
    code, out, err = program("calibrate", "--quick", "--threads", "1", "-o", path)
    assert (code, err) == (0, [f"wrote {path}"])
    assert all(kind.replace("_", " ") in out for kind in CLASSES)
    assert "us a kernel, measured on a model of 4 narrow layers" in out
    machine = machine_of(path)
    assert machine.device.name == "my-cpu"
    assert machine.synchronous
    assert set(machine.calibration.classes) == set(CLASSES)
    provenance = machine.calibration.provenance
    assert (provenance["threads"], provenance["torch"]) == (1, torch.__version__)
    page = time_page(DeepseekOCRModel.from_config(SMALL), ViewPlan.from_grid((1, 1), base_size=256), machine)
    for stage in (page.vision, page.prefill, page.decode):
        assert stage.seconds.bound <= stage.seconds.roofline <= stage.seconds.calibrated


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--device", "gpu"), "--device 'gpu' is unknown: choose cpu or cuda:0"),
        (("--threads", "0"), "--threads 0: give 1 or more"),
    ],
)
def test_wrong_arguments_are_one_line(program, tmp_path, arguments, reason):
    code, out, err = program("calibrate", "--quick", *arguments, "-o", tmp_path / "new" / "mine.toml")
    assert (code, out, err) == (2, "", [f"modelmeter: {reason}"])
    assert os.listdir(tmp_path) == []


def test_without_cuda_it_is_one_line(program, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, err = program("calibrate", "--device", "cuda:7", "-o", tmp_path / "a" / "b" / "mine.toml")
    assert (code, out, len(err)) == (2, "", 1)
    assert "sees no CUDA device" in err[0]
    assert os.listdir(tmp_path) == []


def test_a_file_that_cannot_be_written_is_one_line_at_once(program, tmp_path, monkeypatch):
    monkeypatch.setattr("modelmeter.live.calibration.calibrate.calibrate", pytest.fail)
    (tmp_path / "file").write_text("")
    code, out, err = program("calibrate", "-o", tmp_path / "file" / "mine.toml")
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("modelmeter: cannot write")


@pytest.mark.parametrize("name", ["-", "x.json", "x", ".toml", "new/x.TOML"])
def test_a_file_that_is_no_device_file_is_one_line_at_once(program, tmp_path, monkeypatch, name):
    monkeypatch.setattr("modelmeter.live.calibration.calibrate.calibrate", pytest.fail)
    monkeypatch.chdir(tmp_path)
    code, out, err = program("calibrate", "-o", name)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith(f"modelmeter: --output {name}: ") and ".toml: give for example my-device.toml" in err[0]
    assert os.listdir(tmp_path) == []


@pytest.fixture
def live_anew(monkeypatch):
    """`modelmeter.live` is imported anew, and as before afterwards."""
    for name in [name for name in sys.modules if name.startswith("modelmeter.live")]:
        monkeypatch.delitem(sys.modules, name)


def test_without_torch_it_is_one_line(program, tmp_path, monkeypatch, live_anew):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if not installed
    code, out, err = program("calibrate", "-o", tmp_path / "new" / "mine.toml")
    assert (code, out) == (2, "")
    assert err == ["modelmeter: this needs torch, which is not installed: pip install 'modelmeter[live]'"]
    assert os.listdir(tmp_path) == []


def test_a_torch_that_is_broken_is_one_line_with_the_cause(program, tmp_path, monkeypatch, live_anew):
    (tmp_path / "torch.py").write_text('raise OSError("libcudart.so: cannot open:\\n  no such file")')
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(tmp_path)
    code, out, err = program("calibrate", "-o", tmp_path / "new" / "mine.toml")
    assert (code, out, len(err)) == (2, "", 1)
    assert "torch is installed but cannot be imported (libcudart.so: cannot open: no such file)" in err[0]
    assert "pip install 'modelmeter[live]'" in err[0]
    assert not (tmp_path / "new").exists()


def test_without_scipy_nothing_is_measured(program, tmp_path, monkeypatch):
    monkeypatch.setattr("modelmeter.live.calibration.calibrate.measure", pytest.fail)
    monkeypatch.setitem(sys.modules, "scipy", None)  # as if not installed
    code, out, err = program("calibrate", "--quick", "-o", tmp_path / "mine.toml")
    assert (code, out) == (2, "")
    assert err == ["modelmeter: this needs scipy, which is not installed: pip install 'modelmeter[live]'"]


@pytest.fixture(scope="module")
def stages():
    """The small model on the CPU."""
    return Stages(SMALL, CPUClock())


def test_stages_beside_their_twins(stages):
    views = ViewPlan.from_grid((2, 1), base_size=256, tile_size=128)
    vision, prefill = stages.vision(views, 2, 2), stages.prefill(2, 20, 3)
    decode = stages.decode(2, 20, 5)
    assert (vision.timing.repeats, prefill.timing.repeats, decode.timing.repeats) == (2, 3, 5)
    assert vision.twin.operation_mode == "vision"
    assert (vision.experts_reached, vision.twin.step.images) == (None, ((2, 128), (1, 256)))
    assert (prefill.twin.operation_mode, prefill.twin.step.queries, prefill.twin.step.batch) == ("prefill", 20, 2)
    assert 3 <= prefill.experts_reached <= 16  # each token takes 3 of 16
    assert decode.twin.operation_mode == "decode"
    assert decode.twin.step.past == 20 + 2 + 5 // 2  # after two steps of warm-up the middle of five
    assert 3 <= decode.experts_reached <= 2 * 3
    assert decode.twin.conventions.coverage == decode.experts_reached


def test_a_cuda_graph_needs_cuda(stages):
    with pytest.raises(ModelMeterError, match="needs a CUDA device"):
        stages.decode_graph(1, 20, 2)


@pytest.mark.parametrize("check", ["check_transformers", "check_import"])  # none, or one that is broken
def test_the_host_without_transformers(monkeypatch, device, check):
    def none(*_):
        raise ModelMeterError("no transformers")

    monkeypatch.setattr(host, check, none)
    found = host_time(CPUClock(), device, {}, None, repeats=3)
    assert found.measured_on == "one linear module"
    assert 0 < found.low <= found.seconds <= found.high


def test_events_and_graphs_are_those_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    second, current = torch.device("cuda", 1), []

    class Measured(Exception):
        """Here the measuring would begin."""

    def pool(*_: object) -> None:
        assert current == [second]
        raise Measured

    @contextlib.contextmanager
    def made_current(device: torch.device) -> Iterator[None]:
        current.append(device)
        yield

    module = sys.modules[calibrate.__module__]
    monkeypatch.setattr(module, "find_device", lambda _name: second)
    monkeypatch.setattr(module, "cache_bytes", lambda _device: None)
    monkeypatch.setattr(module, "Pool", pool)
    monkeypatch.setattr(torch.cuda, "device", made_current)
    with pytest.raises(Measured):
        calibrate("cuda:1")


def test_calibrating_says_what_it_does():
    said = []
    found = calibrate("cpu", quick=True, threads=1, say=said.append)
    assert said[0] == "drawing random numbers"
    assert said[-1] == "host time"
    assert attrs.asdict(found.host)["measured_on"] == "a model of 4 narrow layers"
    assert len(found.samples) == sum(one.operators for one in found.fitted.values())
