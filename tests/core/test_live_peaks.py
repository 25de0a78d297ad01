"""`Trace.live_peaks`: what is alive while groups of modules run, inputs included; the largest is the trace's peak."""

from typing import Any

from modelmeter.core import ops
from modelmeter.core.layer import Layer
from modelmeter.core.tensor import Tensor
from modelmeter.nn.linear import Linear

TOKENS = 3
INPUT, HIDDEN, OUTPUT = (TOKENS * width * 2 for width in (8, 16, 4))  # bytes in bf16


class Two(Layer):
    """[b s 8] -> [b s 4]: two linear layers, and a copy of its own of the result."""

    def __init__(self) -> None:
        super().__init__(seq_len=TOKENS)
        self.first = Linear(8, 16)
        self.second = Linear(16, 4)

    def example_inputs(self, recorder: Any, *sizes: Any) -> tuple[Any, ...]:
        return (recorder.take((1, TOKENS, 8), self.dtype),)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        result = self.second(hidden)
        del hidden
        return ops.clone(result)


def test_each_group_has_what_is_alive_while_it_runs() -> None:
    peaks = Two().trace().live_peaks(lambda path: path or None, "rest")
    assert peaks == {
        "first": INPUT + HIDDEN,
        "second": INPUT + HIDDEN + OUTPUT,
        "rest": INPUT + OUTPUT + OUTPUT,
    }


def test_the_largest_is_the_peak() -> None:
    trace = Two().trace()
    for group in (lambda path: path or None, lambda path: None, lambda path: "all" if path else None):
        assert max(trace.live_peaks(group, "rest").values()) == trace.peak_bytes
    assert trace.live_peaks(lambda path: "one" if path == "first" else None, "rest") == {
        "one": INPUT + HIDDEN,
        "rest": INPUT + HIDDEN + OUTPUT,
    }
