"""Whose memory a tensor is, and when it comes and goes."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from modelmeter.core.op import Op
from modelmeter.core.recorder import CACHED, DROPPED, GIVEN_BACK, TAKEN
from modelmeter.core.tensor import Role

Event = tuple[int, Any]


class Known:
    """A storage that was seen: its role and size, for as long as it lives. It does not keep it alive."""

    __slots__ = ("nbytes", "ref", "role", "saved", "taken", "writes")

    def __init__(self, role: Role, nbytes: int) -> None:
        self.role: Role = role
        self.nbytes = nbytes
        self.ref: Any = None
        self.saved = False
        self.taken: tuple[list[Event], int] | None = None  # the event of its coming: a segment's, and which
        self.writes: list[tuple[Op, int]] = []


class Storages:
    """The storages a recording has met, identified as objects: on meta every address is 0.

    `note` hears of activations and cache taken and given back, until `close`: it returns the events it adds to.
    """

    def __init__(self, note: Callable[[Event], list[Event]]) -> None:
        self._note = note
        self._known: dict[int, Known] = {}

    def resident(self, tensors: Iterable[torch.Tensor], role: Role) -> None:
        """Weights, buffers, or a cache that holds something already: they were there before."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if id(storage) not in self._known:
                self._add(storage, role)

    def of(self, tensor: torch.Tensor) -> Known:
        """A tensor's memory; met for the first time, it is an activation that exists from now on."""
        storage = tensor.untyped_storage()
        return self._known.get(id(storage)) or self._take(storage, "activation")

    def is_known(self, tensor: torch.Tensor) -> bool:
        """Whether the memory was met before."""
        return id(tensor.untyped_storage()) in self._known

    def take(self, tensor: torch.Tensor, role: Role) -> None:
        """Memory that an operator gave: new, or met before."""
        storage = tensor.untyped_storage()
        if id(storage) not in self._known:
            self._take(storage, role)

    def resized(self, tensor: torch.Tensor) -> None:
        """An operator may have given a tensor's memory another size (out=)."""
        known, nbytes = self.of(tensor), tensor.untyped_storage().nbytes()
        if known.role != "weight" and known.nbytes != nbytes:
            self._come_or_go(known, comes=False)
            known.nbytes = nbytes
            self._come_or_go(known, comes=True)

    def becomes_cache(self, tensor: torch.Tensor) -> list[tuple[Op, int]]:
        """An activation is kept as part of the cache, without a copy. Returns the operators that wrote it, and bytes.

        What is cache already is left alone. It was cache since it came.
        """
        known = self._known.get(id(tensor.untyped_storage()))
        if known is None or known.role != "activation":
            return []
        known.role = "kv"
        if known.taken is not None:
            events, i = known.taken
            events[i] = (CACHED, known.nbytes)
        writes, known.writes = known.writes, []
        return writes

    def newly_saved(self, tensor: torch.Tensor) -> int:
        """Bytes that keeping a tensor for backward keeps: 0 for weights, cache, and what is kept already."""
        known = self.of(tensor)
        if known.saved or known.role != "activation":
            return 0
        known.saved = True
        return known.nbytes

    def close(self) -> None:
        """Nothing is watched any more: what lives on is no longer heard of."""
        self._known.clear()

    def _take(self, storage: torch.UntypedStorage, role: Role) -> Known:
        known = self._add(storage, role)
        self._come_or_go(known, comes=True)
        return known

    def _add(self, storage: torch.UntypedStorage, role: Role) -> Known:
        key = id(storage)
        known = Known(role, storage.nbytes())
        known.ref = weakref.ref(storage, lambda _: self._gone(key))
        self._known[key] = known
        return known

    def _gone(self, key: int) -> None:
        self._come_or_go(self._known.pop(key), comes=False)

    def _come_or_go(self, known: Known, *, comes: bool) -> None:
        if known.role == "activation":
            events = self._note((TAKEN if comes else GIVEN_BACK, known.nbytes))
        elif known.role == "kv":
            events = self._note((CACHED if comes else DROPPED, known.nbytes))
        else:
            return
        known.taken = (events, len(events) - 1) if comes else None


def view_bytes(tensor: torch.Tensor) -> int:
    """Bytes of the elements that a view really has, each once: an expanded axis is one element, windows overlap."""
    size = tensor.element_size()
    count = span = 1
    if tensor.layout is not torch.strided:
        return size * tensor.numel()
    for side, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if side == 0:
            return 0
        if stride != 0:
            count *= side
            span += (side - 1) * stride
    return size * min(count, span)


def has_data(tensor: torch.Tensor) -> bool:
    """Whether its values can be read."""
    return not isinstance(tensor, FakeTensor) and tensor.device.type != "meta"
