"""Whose memory a tensor is, and when it comes and goes."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch

from modelmeter.core.recorder import CACHED, DROPPED, GIVEN_BACK, TAKEN
from modelmeter.core.tensor import Role

Event = tuple[int, Any]


class _Known:
    """A storage that was seen: its role and size, for as long as it lives."""

    __slots__ = ("nbytes", "ref", "role", "writer")

    def __init__(self, role: Role, nbytes: int) -> None:
        self.role: Role = role
        self.nbytes = nbytes
        self.ref: Any = None
        self.writer: Any = None


class Storages:
    """The storages a recording has met, identified as objects: on meta every address is 0.

    `note` hears of activations and cache taken and given back, as a segment's events.
    """

    def __init__(self, note: Callable[[Event], None]) -> None:
        self._note = note
        self._known: dict[int, _Known] = {}

    def resident(self, tensors: Iterable[torch.Tensor], role: Role) -> None:
        """Weights, buffers, or a cache that holds something already: they were there before."""
        for tensor in tensors:
            self._add(tensor.untyped_storage(), role)

    def role(self, tensor: torch.Tensor) -> Role:
        """The role of a tensor's memory; met for the first time, it is an activation that exists from now on."""
        storage = tensor.untyped_storage()
        known = self._known.get(id(storage))
        return (known or self._take(storage, "activation")).role

    def is_known(self, tensor: torch.Tensor) -> bool:
        """Whether the memory was met before."""
        return id(tensor.untyped_storage()) in self._known

    def take(self, tensor: torch.Tensor, role: Role) -> None:
        """New memory, made by an operator."""
        self._take(tensor.untyped_storage(), role)

    def becomes_cache(self, tensor: torch.Tensor) -> bool:
        """An activation is kept as part of the cache, without a copy. False where it is cache already."""
        known = self._known.get(id(tensor.untyped_storage()))
        if known is None or known.role != "activation":
            return False
        known.role = "kv"
        self._note((GIVEN_BACK, known.nbytes))
        self._note((CACHED, known.nbytes))
        return True

    def _take(self, storage: torch.UntypedStorage, role: Role) -> _Known:
        known = self._add(storage, role)
        if role == "activation":
            self._note((TAKEN, known.nbytes))
        elif role == "kv":
            self._note((CACHED, known.nbytes))
        return known

    def _add(self, storage: torch.UntypedStorage, role: Role) -> _Known:
        key = id(storage)
        known = _Known(role, storage.nbytes())
        known.ref = weakref.ref(storage, lambda _: self._gone(key))
        self._known[key] = known
        return known

    def _gone(self, key: int) -> None:
        known = self._known.pop(key)
        if known.role == "activation":
            self._note((GIVEN_BACK, known.nbytes))
        elif known.role == "kv":
            self._note((DROPPED, known.nbytes))


def view_bytes(tensor: torch.Tensor) -> int:
    """Bytes of the elements that a view really has: an axis it was expanded along is one element."""
    count = tensor.element_size()
    if tensor.layout is not torch.strided:
        return count * tensor.numel()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if stride != 0 or size == 0:
            count *= size
    return count
