"""Shapes of calls: names, places, repeated calls, and modules that are listed under one path."""

from typing import Any

import torch
from torch import nn

from modelmeter.live.analyser.shapes import CallShapes, shapes_seen


class Pair(nn.Module):
    """Takes tensors by place and by name, gives a dict and a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 5, device="meta")

    def forward(self, x: torch.Tensor, tables: Any, *, scale: torch.Tensor, cache: object = None) -> Any:
        """[n 4], ([n] [n]), [] -> {out: [n 5]}, [n]."""
        return {"out": self.inner(x) * scale}, tables[0]


def seen_of(rename: Any, calls: int = 1) -> dict[str, dict[CallShapes, int]]:
    """What is seen of `calls` calls of a pair."""
    module = Pair()
    x, table, scale = (torch.empty(shape, device="meta") for shape in ((3, 4), (3,), ()))
    with shapes_seen(module, rename) as seen:
        for _ in range(calls):
            module(x, (table, [table]), scale=scale, cache=object())
        return seen.take()


def test_names_and_places() -> None:
    found = seen_of(str)
    (whole,) = found[""]
    assert whole.inputs == (("x", (3, 4)), ("tables.0", (3,)), ("tables.1.0", (3,)), ("scale", ()))
    assert whole.outputs == (("0.out", (3, 5)), ("1", (3,)))
    (inner,) = found["inner"]
    assert inner == CallShapes((("input", (3, 4)),), (("", (3, 5)),))


def test_equal_calls_are_counted() -> None:
    assert [list(calls.values()) for calls in seen_of(str, calls=3).values()] == [[3], [3]]


def test_a_module_under_the_path_of_the_one_around_it_is_part_of_that() -> None:
    found = seen_of(lambda path: "all")
    assert list(found) == ["all"]
    assert [shapes.inputs[0] for shapes in found["all"]] == [("x", (3, 4))]


def test_taken_once_and_hooks_go() -> None:
    module = nn.Linear(2, 2)
    with shapes_seen(module, str) as seen:
        module(torch.zeros(1, 2))
        assert list(seen.take()) == [""]
        assert seen.take() == {}
    module(torch.zeros(1, 2))
    assert seen.by_path == {}


def test_other_modules_are_not_seen() -> None:
    module, other = nn.Linear(2, 2), nn.Linear(2, 2)
    with shapes_seen(module, str) as seen:
        other(torch.zeros(1, 2))
    assert seen.by_path == {}
