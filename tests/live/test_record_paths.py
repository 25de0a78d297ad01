"""Module paths, calls, and what a recording leaves behind: nothing."""

import gc
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from support.recorded import MODELS, NEEDS_DATA, built, quiet
from torch import nn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutput

from modelmeter import ModelMeterError
from modelmeter.core.cost import Cost
from modelmeter.live import record, record_call


@pytest.mark.parametrize("name", [name for name in MODELS if name not in NEEDS_DATA])
def test_layers_add_up(name):
    module, args, kwargs = built(name, "meta")
    with quiet():
        trace = record(module, *args, **kwargs)
    operators = list(trace.operators())
    assert len(operators) == len(trace) == sum(total.calls for total in trace.by_op().values())
    assert sum((op.cost for _, op in operators), Cost()) == trace.total
    for depth in (1, 2, 3):
        assert sum(trace.by_layer(depth).values(), Cost()) == trace.total
    layers, modules = trace.by_layer(), {path for path, _ in module.named_modules()}
    assert layers[""] == trace.total
    assert layers.keys() <= modules
    for path, cost in layers.items():
        below = [op.cost for at, op in operators if at == path or at.startswith(f"{path}." if path else "")]
        assert sum(below, Cost()) == cost


class Order(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x):
        return self.first(self.second(x) * 2) + self.first(x)

    def helped(self, x):
        return self.second(x).neg()


def paths(trace):
    return [(path, op.name) for path, op in trace.operators()]


def test_operators_are_listed_in_the_order_they_ran():
    assert paths(record(Order(), torch.randn(3, 4))) == [
        ("second.0", "addmm"),
        ("second.1", "relu"),
        ("", "mul"),
        ("first", "addmm"),
        ("first", "addmm"),
        ("", "add"),
    ]


def test_a_leaf_and_an_empty_module():
    trace = record(nn.Linear(4, 5), torch.randn(3, 4))
    assert paths(trace) == [("", "addmm")]
    assert trace.by_layer() == {"": trace.total}
    assert len(record(nn.Identity(), torch.randn(3))) == 0


def test_rename_to_a_parents_path_merges():
    x, module = torch.randn(3, 4), Order()
    merged = record(module, x, rename=lambda path: path.partition(".")[0])
    assert [path for path, _ in paths(merged)] == ["second", "second", "", "first", "first", ""]
    assert merged.by_layer()["second"] == record(module, x).by_layer()["second"]
    assert record(module, x, rename=lambda path: f"model.{path}" if path else "").by_layer().keys() == {
        "",
        "model.second",
        "model.second.0",
        "model.second.1",
        "model.first",
    }


def test_a_method_of_a_module():
    module, x = Order(), torch.randn(3, 4)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return self.inner.helped(x)

    outer = Outer()
    assert paths(record(outer, x)) == [("inner.second.0", "addmm"), ("inner.second.1", "relu"), ("", "neg")]
    at = record_call(outer, lambda: module.helped(x), x, at=module)
    assert paths(at) == [("inner.second.0", "addmm"), ("inner.second.1", "relu"), ("inner", "neg")]
    assert at.by_layer()["inner"] == at.total
    with pytest.raises(ModelMeterError, match="a module inside the recorded one"):
        record_call(outer, lambda: module.helped(x), x, at=nn.Linear(1, 1))


def test_modules_outside_belong_to_the_one_that_calls_them():
    other = nn.Linear(4, 4)

    class Borrows(nn.Module):
        def forward(self, x):
            return other(x)

    trace = record(nn.Sequential(Borrows()), torch.randn(3, 4))
    assert paths(trace) == [("0", "addmm")]
    assert trace.total.weight_read_bytes == 0  # not weights of what is recorded


def test_a_shared_module_is_listed_under_its_first_name():
    shared = nn.Linear(4, 4)
    trace = record(nn.Sequential(shared, nn.ReLU(), shared), torch.randn(3, 4))
    assert [path for path, _ in paths(trace)] == ["0", "1", "0"]


# What is passed in and what comes out


@dataclass
class Pair:
    logits: torch.Tensor
    note: str = "kept"


OUTPUTS: dict[str, Any] = {
    "tensor": lambda x: x,
    "tuple": lambda x: (x, None, 3),
    "nested": lambda x: [{"a": (x,)}, "text"],
    "dataclass": lambda x: Pair(x),
    "ModelOutput": lambda x: BaseModelOutput(last_hidden_state=x),
}


class Gives(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make, self.linear = make, nn.Linear(4, 4)

    def forward(self, x=None, **_):
        return self.make(self.linear(torch.ones(3, 4) if x is None else x))


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_of_every_kind(kind):
    module, product = Gives(OUTPUTS[kind]), 2 * 3 * 4 * 4
    assert record(module).total.counted_flops == product  # no tensor goes in
    trace = record(module, torch.randn(3, 4), backward=True)
    assert (trace.total.counted_flops, trace.backward.counted_flops) == (product, product)


@pytest.mark.parametrize("kind", ["tensor", "nested", "dataclass"])
def test_inputs_of_every_kind_are_there_from_the_start(kind):
    held = OUTPUTS[kind](torch.randn(100))
    assert record(Gives(lambda x: x), torch.randn(3, 4), extra=held).peak_bytes == 4 * 100 + 2 * (4 * 3 * 4)


def test_no_output_has_no_backward():
    module = Gives(lambda x: None)
    assert record(module).total.counted_flops
    with pytest.raises(ModelMeterError, match="an output with a gradient"):
        record(module, backward=True)
    with pytest.raises(ModelMeterError, match="inference_mode"), torch.inference_mode():
        record(Gives(lambda x: x), backward=True)


# What it leaves behind


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.fails = True

    def forward(self, x, cache=None):
        x = self.linear(x)
        if self.fails:
            raise KeyError("of the model's own")
        return x


def state():
    return (
        list(_get_current_dispatch_mode_stack()),
        dict(torch_module._global_forward_pre_hooks),
        dict(torch_module._global_forward_hooks),
        vars(DynamicCache.__mro__[1])["update"],
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("backward", [False, True])
def test_an_error_passes_through_and_nothing_stays(backward):
    module, x, before = nn.Sequential(Fails()), torch.randn(3, 4), state()
    with pytest.raises(KeyError, match="of the model's own"):
        record(module, x, backward=backward)
    assert state() == before
    module[0].fails = False
    record(module, x, backward=backward)
    assert state() == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_an_error_that_the_model_catches():
    class Catches(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Fails()

        def forward(self, x):
            try:
                self.inner(x)
            except KeyError:
                return x + 1

    assert paths(record(Catches(), torch.randn(3, 4))) == [("inner.linear", "addmm"), ("", "add")]


def test_gradients_are_left_as_they_were():
    module, x = nn.Linear(4, 4), torch.randn(3, 4, requires_grad=True)
    record(module, x, backward=True)
    assert module.weight.grad is None and x.grad is None
    mine = module.weight.grad = torch.ones(4, 4)
    first = record(module, x, backward=True)
    assert module.weight.grad is mine and bool((mine == 1).all())
    assert first.backward == record(module, x, backward=True).backward


def test_nothing_is_kept_alive():
    module, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(3, 4)
    seen = []
    module[0].register_forward_hook(lambda *call: seen.append(weakref.ref(call[2].untyped_storage())))
    gc.disable()  # by reference counts alone
    try:
        trace = record(module, x)
        assert seen[0]() is None
        backward = record(module, x, backward=True)
        assert seen[1]() is None
        storage = weakref.ref(x.untyped_storage())
        del x
        assert storage() is None
    finally:
        gc.enable()
    before = [len(segment.events) for _, segment in trace.segments()]
    del module
    assert [len(segment.events) for _, segment in trace.segments()] == before  # events after the end are ignored
    assert backward.peak_bytes


def test_a_recording_inside_a_recording():
    inner, x = Order(), torch.randn(3, 4)
    found = []

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = inner

        def forward(self, x):
            found.append(record(self.part, x))
            return self.part(x)

    outer = record(Outer(), x)
    alone = record(inner, x)
    assert paths(found[0]) == paths(alone) and found[0].total == alone.total
    assert found[0].peak_bytes == alone.peak_bytes
    assert outer.total == alone.total + alone.total
    assert outer.by_layer()["part"] == outer.total


def test_asking_twice_changes_nothing():
    module, args, kwargs = built("vit", "cpu")
    first, second = (record(module, *args, backward=True, **kwargs) for _ in range(2))
    assert paths(first) == paths(second)
    assert (first.total, first.backward, first.peak_bytes) == (second.total, second.backward, second.peak_bytes)


def test_what_is_no_module():
    with pytest.raises(ModelMeterError, match=r"torch\.nn\.Module"):
        record(lambda x: x, torch.zeros(2))


def test_a_forward_that_is_a_generator():
    class Lazy(nn.Linear):
        def forward(self, x):
            yield super().forward(x)

    with pytest.raises(ModelMeterError, match="generator"):
        record(Lazy(3, 3), torch.zeros(1, 3))


def test_another_thread_that_uses_the_module_does_not_count():
    module = nn.Sequential(*[nn.Linear(16, 16) for _ in range(20)])
    x, stop = torch.zeros(4, 16), threading.Event()

    def elsewhere():
        while not stop.is_set():
            module(x)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    try:
        for _ in range(5):
            found = {path: cost.counted_flops for path, cost in record(module, x).by_layer().items()}
            assert found == {"": 20 * 2 * 4 * 16 * 16, **{str(i): 2 * 4 * 16 * 16 for i in range(20)}}
    finally:
        stop.set()
        thread.join()
