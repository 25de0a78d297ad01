"""What an aten operator is: a product, an elementwise function, a move or a view; what it reads and writes."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import attrs
import torch
from torch._ops import OpOverload

from modelmeter.core.conventions import FLOPS_PER_ELEMENT
from modelmeter.live.flops import FlopCount
from modelmeter.live.storages import view_bytes

Kind: TypeAlias = Literal["matmul", "elementwise", "move", "fused", "unknown"]

NOTHING_MOVES: Final = frozenset(
    [
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "resize_",
        "set_",
        "lift",
        "lift_fresh",
        "_is_all_true",
        "_is_any_true",
        "_local_scalar_dense",
        "is_nonzero",
        "equal",
        "is_same_size",
        "_has_compatible_shallow_copy_type",
    ]
)
"""Memory that is only taken, and questions whose answer goes to the host."""

MOVES: Final = frozenset(
    [
        "aminmax",
        "arange",
        "as_strided_scatter",
        "bernoulli",
        "bincount",
        "cat",
        "clone",
        "constant_pad_nd",
        "copy_",
        "cumsum",
        "copy",
        "diagonal_scatter",
        "embedding",
        "eye",
        "fill",
        "fill_",
        "flip",
        "full",
        "full_like",
        "gather",
        "histc",
        "im2col",
        "index",
        "index_copy",
        "index_copy_",
        "index_put",
        "index_put_",
        "index_select",
        "isin",
        "linspace",
        "masked_fill",
        "masked_fill_",
        "masked_scatter",
        "masked_scatter_",
        "masked_select",
        "new_full",
        "new_ones",
        "new_zeros",
        "nonzero",
        "normal_",
        "one_hot",
        "ones",
        "ones_like",
        "pixel_shuffle",
        "pixel_unshuffle",
        "rand",
        "randint",
        "randn",
        "randperm",
        "reflection_pad2d",
        "repeat",
        "repeat_interleave",
        "replication_pad2d",
        "roll",
        "scalar_tensor",
        "scatter",
        "scatter_",
        "select_scatter",
        "slice_scatter",
        "slice_backward",
        "select_backward",
        "sort",
        "stack",
        "take",
        "tril",
        "tril_",
        "triu",
        "triu_",
        "unfold_backward",
        "uniform_",
        "where",
        "zero_",
        "zeros",
        "zeros_like",
        "_copy_from",
        "_pin_memory",
        "_to_copy",
        "_unsafe_index",
        "_unsafe_masked_index",
        "searchsorted",
        "bucketize",
        "embedding_dense_backward",
        "max_pool2d_with_indices",
        "all",
        "any",
        "argmax",
        "argmin",
        "ne",
        "ge",
        "lt",
        "logical_and",
        "logical_not",
        "logical_or",
        "logical_xor",
        "bitwise_not",
        "bitwise_xor",
        "isnan",
        "isinf",
        "isfinite",
    ]
)
"""Copies, fills, gathers, comparisons and index arithmetic: bytes and, by convention, no FLOPs."""

ROWS_READ: Final = frozenset(
    ["embedding", "gather", "index", "index_select", "take", "_unsafe_index", "_unsafe_masked_index", "masked_select"]
)
"""The first tensor is a table: what is read of it is what is written."""

LIKE: Final = frozenset(
    ["full_like", "ones_like", "zeros_like", "new_full", "new_ones", "new_zeros", "rand_like", "randn_like"]
)
"""They take a tensor for its size only."""

OVERWRITES: Final = frozenset(
    [
        "copy_",
        "fill_",
        "zero_",
        "normal_",
        "uniform_",
        "scatter_",
        "index_put_",
        "index_copy_",
        "masked_fill_",
        "masked_scatter_",
    ]
)
"""In place, without reading what was there."""

ROWS_WRITTEN: Final = {"index_add_": 3, "index_put_": 2, "index_copy_": 3, "scatter_": 2, "scatter_add_": 3}
"""In place, only the rows that another argument (by position) has the size of; index_add_ also reads them."""

COUNTS_OUTPUT: Final = frozenset({"_upsample_bicubic2d_aa", "upsample_linear1d"})
"""Priced by elements written, where others that change the number of elements are priced by the larger side."""

FUSED: Final = ("_scaled_dot_product", "_flash_att", "_efficient_att")


@attrs.frozen
class Operator:
    """What is fixed for an operator overload."""

    name: str  # the aten name, without the underscore of an in-place variant
    packet: str  # the aten name
    kind: Kind
    counted: bool  # a FLOP formula exists
    flops_per_element: int
    written: tuple[int | str, ...]  # arguments that are written in place
    is_view: bool  # by its schema


class Operators:
    """Looks operators up, each once."""

    def __init__(self) -> None:
        self.flops = FlopCount()
        self.of = lru_cache(maxsize=None)(self._of)

    def _of(self, operator: OpOverload) -> Operator:
        packet = operator.overloadpacket.__name__
        arguments = operator._schema.arguments
        written = tuple(
            argument.name if argument.kwarg_only else i
            for i, argument in enumerate(arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        )
        returns = operator._schema.returns
        is_view = not written and any(result.alias_info is not None for result in returns)
        name = packet.removesuffix("_") if written else packet
        counted = self.flops.knows(operator)
        function = _function(name)
        kind = _kind(function, packet, counted)
        return Operator(name, packet, kind, counted, FLOPS_PER_ELEMENT.get(function, 0), written, is_view)


def _function(name: str) -> str:
    """The function a backward operator belongs to: by convention it costs what the function does."""
    for ending in ("_backward_data", "_backward"):
        if name.endswith(ending) and name.removesuffix(ending) in FLOPS_PER_ELEMENT:
            return name.removesuffix(ending)
    return name


def _kind(function: str, packet: str, counted: bool) -> Kind:
    if counted:
        return "fused" if packet.startswith(FUSED) else "matmul"
    if function in FLOPS_PER_ELEMENT:
        return "elementwise"
    return "move" if packet in MOVES or packet in NOTHING_MOVES else "unknown"


@attrs.frozen
class Traffic:
    """One call's tensors: (tensor, bytes read), (tensor, bytes written)."""

    read: Sequence[tuple[torch.Tensor, int]]
    written: Sequence[tuple[torch.Tensor, int]]


def traffic(
    operator: Operator, args: Sequence[Any], kwargs: dict[str, Any], results: Sequence[torch.Tensor]
) -> Traffic:
    """What a call reads and writes: every tensor given and made, each view at its own size, with the rules above."""
    if operator.packet in NOTHING_MOVES:
        return Traffic((), ())
    given = [] if operator.packet in LIKE else tensors_of((*args, *kwargs.values()))
    changed = [args[i] if isinstance(i, int) and i < len(args) else kwargs.get(i) for i in operator.written]
    targets = [tensor for tensor in changed if isinstance(tensor, torch.Tensor)]
    if operator.packet in ROWS_WRITTEN:
        return _rows_written(operator, args, given, targets)
    read = [(tensor, view_bytes(tensor)) for tensor in given]
    if operator.packet in ROWS_READ and results:
        read[0] = (given[0], sum(view_bytes(result) for result in results))
    writes_out = any(isinstance(where, str) for where in operator.written)  # out=...
    if operator.packet in OVERWRITES or writes_out:
        read = [(tensor, size) for tensor, size in read if not any(tensor is target for target in targets)]
    written = [(tensor, view_bytes(tensor)) for tensor in targets or results]
    if operator.packet == "masked_scatter_":
        written = [(targets[0], view_bytes(given[-1]))]
    return Traffic(read, written)


def _rows_written(
    operator: Operator, args: Sequence[Any], given: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]
) -> Traffic:
    """Rows of a table changed in place: as many elements as the rows, or for a number the indices, have."""
    rows = args[ROWS_WRITTEN[operator.packet]]
    size = (rows if isinstance(rows, torch.Tensor) else given[-1]).numel() * targets[0].element_size()
    read = [(tensor, view_bytes(tensor)) for tensor in given[1:]]
    if operator.packet in ("index_add_", "scatter_add_"):
        read.append((targets[0], size))
    return Traffic(read, [(targets[0], size)])


def elements(operator: Operator, given: Sequence[torch.Tensor], results: Sequence[torch.Tensor]) -> int:
    """The elements that an elementwise operator's FLOPs are counted for."""
    if operator.name == "index_add":
        return given[-1].numel()
    made = max((tensor.numel() for tensor in results), default=0)
    if operator.name in COUNTS_OUTPUT:
        return made
    return max(made, max((tensor.numel() for tensor in given), default=0))


def tensors_of(value: Any) -> list[torch.Tensor]:
    """All tensors in arguments or results, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors_of(item)]
    return []
