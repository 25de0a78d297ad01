"""A decode step in a CUDA graph: what is captured is a valid step, and the capture is refused where it is not."""

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.calibration import stages
from modelmeter.live.calibration.clock import CPUClock
from modelmeter.live.calibration.graph import captured, check_same
from modelmeter.live.calibration.stages import Stages
from modelmeter.live.recording.caches import cached_tensors
from modelmeter.live.verification.real_run import SMALL

CONTEXT, BATCH = 20, 2


@pytest.fixture(scope="module")
def small() -> Stages:
    """The small model on the CPU, its experts in one product: what has no wait in it."""
    return Stages(SMALL, CPUClock(), experts="grouped_mm")


class Operators(TorchDispatchMode):
    """Counts the operators that run, and keeps whether attention was given a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.masked = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[func.overloadpacket.__name__] += 1
        self.masked |= (kwargs or {}).get("attn_mask") is not None
        return func(*args, **(kwargs or {}))


WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "unique", "_unique2")
"""Operators whose result the host waits for: none can be in a graph."""
COPIES_A_CACHE = {"copy_", "empty", "new_empty", "set_"}
"""What `deepcopy` of tensors runs."""


def test_the_captured_step_waits_for_nothing_and_runs_what_a_step_runs(
    small: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Operators] = []

    def capture(step: Callable[[], Any], warm_up: Callable[[], Any], _device: Any) -> Any:
        result: Any = None
        for call, capturing in ((warm_up, False), (step, True)):  # as in a capture, transformers is told so
            with monkeypatch.context() as patch, Operators() as operators:
                patch.setattr(torch.cuda, "is_current_stream_capturing", lambda now=capturing: now)
                result = call()
            seen.append(operators)
        return lambda: None, result

    monkeypatch.setattr(stages, "captured", capture)
    run = small.decode_graph(BATCH, CONTEXT, 3)
    eager, graphed = seen
    assert not set(WAITS) & set(graphed.names)
    assert not graphed.names - eager.names
    assert set(eager.names - graphed.names) <= COPIES_A_CACHE  # the warm-up's, made beforehand
    assert graphed.names["_scaled_dot_product_flash_attention_for_cpu"] == SMALL.decoder.num_hidden_layers
    assert not graphed.masked
    assert (run.twin.step.past, run.twin.step.batch, run.timing.repeats) == (CONTEXT, BATCH, 3)


def test_each_replay_is_the_same_step_onto_the_same_cache(small: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[set[int]] = []

    def capture(step: Callable[[], Any], _warm_up: Callable[[], Any], _device: Any) -> Any:
        held = [cell.cell_contents for cell in step.__closure__ or ()]
        (cache,) = [value for value in held if isinstance(value, DynamicCache)]
        lengths.append({tensor.shape[-2] for tensor in cached_tensors(cache)})
        result = step()
        lengths.append({tensor.shape[-2] for tensor in cached_tensors(cache)})
        return lambda: None, result

    monkeypatch.setattr(stages, "captured", capture)
    small.decode_graph(BATCH, CONTEXT, 1)
    assert lengths == [{CONTEXT}, {CONTEXT + 1}]  # the warm-up's and the eager step's own caches grew, not this one


def test_a_replay_that_computes_something_else_is_no_result(small: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    def capture(step: Callable[[], Any], _warm_up: Callable[[], Any], _device: Any) -> Any:
        return lambda: None, torch.zeros_like(step())

    monkeypatch.setattr(stages, "captured", capture)
    with pytest.raises(ModelMeterError, match="other logits than the step itself"):
        small.decode_graph(1, CONTEXT, 1)


@pytest.mark.parametrize("wrong", [0.9, float("nan")])
def test_results_are_the_same_up_to_rounding(wrong: float) -> None:
    eager = torch.linspace(-1, 1, 64)
    check_same(eager * 1.01, eager)
    with pytest.raises(ModelMeterError):
        check_same(eager * wrong, eager)


class Device:
    """torch.cuda's part in a capture, on a machine without CUDA; `fails` is what the driver says."""

    def __init__(self, fails: str | None = None) -> None:
        self.fails = fails
        self.replays = 0
        self.waited: list[str] = []
        self.captures = 0
        self.streams: list[Any] = []

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """In place of torch.cuda's."""
        side, current = self.stream("side"), self.stream("current")
        patch.setattr(torch.cuda, "CUDAGraph", lambda: self)
        patch.setattr(torch.cuda, "Stream", lambda _device: side)
        patch.setattr(torch.cuda, "current_stream", lambda _device=None: current)
        patch.setattr(torch.cuda, "set_stream", self.streams.append)
        patch.setattr(torch.cuda, "stream", lambda _stream: contextlib.nullcontext())
        patch.setattr(torch.cuda, "graph", self.capturing)

    def stream(self, name: str) -> Any:
        """One that keeps which stream waited for it."""
        device = self

        class Stream:
            device = torch.device("cpu")

            def wait_stream(self, _other: Any) -> None:
                device.waited.append(name)

        return Stream()

    @contextlib.contextmanager
    def capturing(self, held: Any) -> Iterator[None]:
        """The first one fails at its end, as a capture does."""
        assert held is self
        self.captures += 1
        yield
        if self.fails is not None and self.captures == 1:
            raise RuntimeError(f"{self.fails}\nfor debugging consider ...")

    def replay(self) -> None:
        """Counts."""
        self.replays += 1


def test_a_capture_warms_up_on_a_stream_of_its_own_first(monkeypatch: pytest.MonkeyPatch) -> None:
    device, order = Device(), []
    device.install(monkeypatch)

    def call(name: str) -> torch.Tensor:
        order.append(name)
        return torch.zeros(1)

    replay, result = captured(lambda: call("step"), lambda: call("warm-up"), torch.device("cuda", 0))
    replay()
    assert order == ["warm-up", "step"]
    assert device.waited == ["side", "current"]
    assert device.replays == 1 and result.shape == (1,)


def test_a_step_that_cannot_be_captured_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    Device("operation not permitted when stream is capturing").install(monkeypatch)
    with pytest.raises(ModelMeterError) as raised:
        captured(lambda: torch.zeros(1), lambda: torch.zeros(1), torch.device("cuda", 0))
    assert str(raised.value) == (
        "a decode step cannot be captured as a CUDA graph: operation not permitted when stream is capturing"
    )


def test_after_a_failed_capture_another_brings_the_device_back(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device("operation failed due to a previous error during capture")
    device.install(monkeypatch)
    with pytest.raises(ModelMeterError):
        captured(lambda: torch.zeros(1), lambda: torch.zeros(1), torch.device("cuda", 0))
    assert device.captures == 2  # torch's random numbers work again after one that ends well
    assert device.streams == [torch.cuda.current_stream()]  # not the capture's, on which torch stays


def test_no_garbage_is_collected_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    Device().install(monkeypatch)
    collecting: list[bool] = []

    def call() -> torch.Tensor:
        collecting.append(gc.isenabled())
        return torch.zeros(1)

    captured(call, call, torch.device("cuda", 0))
    assert collecting == [True, False]  # the warm-up's, the capture's
    assert gc.isenabled()


def test_without_cuda_there_is_no_graph() -> None:
    with pytest.raises(ModelMeterError, match="needs a CUDA device"):
        captured(lambda: torch.zeros(1), lambda: torch.zeros(1), torch.device("cpu"))
