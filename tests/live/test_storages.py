"""Storages: identified as objects, not kept alive, sizes of views."""

import gc
import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from modelmeter.core.recorder import CACHED, DROPPED, GIVEN_BACK, TAKEN
from modelmeter.live.recording.storages import Storages, has_data, view_bytes


@pytest.fixture
def events():
    return []


@pytest.fixture
def storages(events):
    def note(event):
        events.append(event)
        return events

    return Storages(note)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_an_activation_comes_and_goes(storages, events, device):
    x = torch.zeros(3, 4, device=device)
    assert storages.of(x).role == "activation"
    view = x[1:]
    assert storages.of(view) is storages.of(x)  # once a storage, whatever its views
    del x
    assert events == [(TAKEN, 48)]
    del view
    assert events == [(TAKEN, 48), (GIVEN_BACK, 48)]


def test_on_meta_every_address_is_the_same(storages):
    first, second = torch.zeros(3, device="meta"), torch.zeros(5, device="meta")
    assert first.data_ptr() == second.data_ptr()
    assert (storages.of(first).nbytes, storages.of(second).nbytes) == (12, 20)


def test_memory_used_again_is_new(storages, events):
    for n in range(1, 20):
        x = torch.zeros(n, device="meta")
        assert storages.of(x).nbytes == 4 * n
        del x
    assert [kind for kind, _ in events] == [TAKEN, GIVEN_BACK] * 19


def test_storages_are_not_kept_alive(storages):
    gc.disable()
    try:
        x = torch.zeros(3)
        storages.of(x)
        storages.newly_saved(x)
        alive = weakref.ref(x.untyped_storage())
        del x
        assert alive() is None
    finally:
        gc.enable()


def test_residents_are_neither_taken_nor_given_back(storages, events):
    weight, cached = torch.zeros(3), torch.zeros(4)
    storages.resident([weight, weight], "weight")
    storages.resident([cached], "kv")
    assert storages.of(weight[1:]).role == "weight" and storages.of(cached).role == "kv"
    assert events == []
    del weight
    assert events == []
    del cached
    assert events == [(DROPPED, 16)]


def test_the_first_role_stays(storages):
    x = torch.zeros(3)
    storages.resident([x], "weight")
    storages.take(x, "activation")
    storages.resident([x], "kv")
    assert storages.of(x).role == "weight"


def test_an_activation_that_becomes_cache_was_cache_from_the_start(storages, events):
    x, other = torch.zeros(3), torch.zeros(5)
    storages.take(x, "activation")
    storages.take(other, "activation")
    storages.becomes_cache(x[1:])
    assert storages.of(x).role == "kv"
    assert events == [(CACHED, 12), (TAKEN, 20)]
    assert storages.becomes_cache(x) == []  # again: nothing
    del x
    assert events[-1] == (DROPPED, 12)
    assert storages.becomes_cache(torch.zeros(2)) == []  # never met


def test_saved_once_and_never_a_weight(storages):
    x, weight = torch.zeros(3), torch.zeros(4)
    storages.resident([weight], "weight")
    assert storages.newly_saved(x[1:]) == 12  # the whole storage
    assert storages.newly_saved(x) == 0
    assert storages.newly_saved(weight) == 0


def test_another_size(storages, events):
    x = torch.zeros(0)
    storages.take(x, "activation")
    x.resize_(5)
    storages.resized(x)
    storages.resized(x)
    assert events == [(TAKEN, 0), (GIVEN_BACK, 0), (TAKEN, 20)]


def test_after_the_end_nothing_is_heard(storages, events):
    x = torch.zeros(3)
    storages.take(x, "activation")
    storages.close()
    del x
    assert events == [(TAKEN, 12)]


@pytest.mark.parametrize(
    ("view", "elements"),
    [
        (lambda x: x, 12),
        (lambda x: x[1:], 8),
        (lambda x: x[:, ::2], 6),
        (lambda x: x.t(), 12),
        (lambda x: x[:1].expand(100, 4), 4),
        (lambda x: x[0, 0].expand(7, 9), 1),
        (lambda x: x[None].expand(5, 3, 4), 12),
        (lambda x: x.reshape(12).unfold(0, 3, 1), 12),  # windows that overlap
        (lambda x: x.reshape(12).unfold(0, 3, 4), 9),  # windows that do not
        (lambda x: x[:0], 0),
        (lambda x: x[:0, 1:2], 0),
        (lambda x: x[:0].expand(0, 4), 0),
        (lambda x: x[0, 0], 1),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_bytes_of_a_view(view, elements, dtype):
    for device in ("meta", "cpu"):
        x = torch.zeros(3, 4, dtype=dtype, device=device)
        assert view_bytes(view(x)) == elements * dtype.itemsize


def test_other_layouts():
    assert view_bytes(torch.eye(3).to_sparse()) == 4 * 9


def test_who_has_data():
    assert has_data(torch.zeros(1))
    assert not has_data(torch.zeros(1, device="meta"))
    with FakeTensorMode():
        assert not has_data(torch.zeros(1))
