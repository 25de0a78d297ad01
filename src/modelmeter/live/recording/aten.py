"""What one call of an aten operator reads and writes, and the elements that it is priced for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import torch
from torch.utils._python_dispatch import _disable_current_modes

from modelmeter.live.recording.operators import Operator
from modelmeter.live.recording.storages import has_data, view_bytes

ROWS_READ: Final = frozenset(
    ["embedding", "gather", "index", "index_select", "take", "_unsafe_index", "_unsafe_masked_index", "masked_select"]
)
"""The first tensor is a table: what is read of it is what is written."""

PICKED: Final = {"nll_loss_forward": 1, "nll_loss2d_forward": 1, "nll_loss_backward": 2, "nll_loss2d_backward": 2}
"""One element of a row is used, for each target (which argument)."""

BAGS: Final = frozenset(["_embedding_bag", "_embedding_bag_forward_only"])
"""Rows of a table, as many as there are indices, are added up."""

SIZE_ONLY: Final = {
    "full_like": 0, "new_full": 0, "new_ones": 0, "new_zeros": 0, "ones_like": 0, "rand_like": 0, "randint_like": 0,
    "randn_like": 0, "zeros_like": 0,
    "_adaptive_avg_pool2d_backward": 1, "_adaptive_avg_pool3d_backward": 1, "adaptive_max_pool2d_backward": 1,
    "adaptive_max_pool3d_backward": 1, "avg_pool2d_backward": 1, "avg_pool3d_backward": 1,
    "max_pool2d_with_indices_backward": 1, "max_pool3d_with_indices_backward": 1, "nll_loss2d_backward": 1,
    "nll_loss_backward": 1,
}  # fmt: skip
"""A tensor argument (by position) that is taken for its size only."""

OVERWRITES: Final = frozenset(
    [
        "bernoulli_",
        "cauchy_",
        "copy_",
        "exponential_",
        "fill_",
        "geometric_",
        "log_normal_",
        "masked_fill_",
        "masked_scatter_",
        "normal_",
        "random_",
        "uniform_",
        "zero_",
    ]
)
"""In place, without reading what was there."""

ROWS_WRITTEN: Final = {
    "index_add_": 3,
    "index_copy_": 3,
    "index_fill_": 2,
    "index_put_": 2,
    "_index_put_impl_": 2,
    "index_reduce_": 3,
    "put_": 1,
    "scatter_": 2,
    "scatter_add_": 2,
    "scatter_reduce_": 2,
}
"""In place, only the rows that another argument (by position) has the size of."""

ACCUMULATES: Final = frozenset(["index_add_", "index_reduce_", "scatter_add_", "scatter_reduce_"])
"""In place, and what was there is read."""

GROUPED: Final = frozenset(["_grouped_mm", "_scaled_grouped_mm", "grouped_mm_fallback"])
"""Products with a matrix for each group of rows: only those of groups that have rows are read."""

COUNTS_OUTPUT: Final = frozenset(
    [
        "_upsample_bicubic2d_aa",
        "_upsample_bilinear2d_aa",
        "glu",
        "grid_sampler_2d",
        "grid_sampler_3d",
        "upsample_bicubic2d",
        "upsample_bilinear2d",
        "upsample_linear1d",
        "upsample_trilinear3d",
    ]
)
"""Priced by elements written, where others that change the number of elements are priced by the larger side."""

WINDOWED: Final = frozenset(
    [
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "fractional_max_pool2d",
        "fractional_max_pool3d",
        "max_pool2d_with_indices",
        "max_pool3d_with_indices",
    ]
)
"""Priced by the elements of all windows; the window's sides are the second argument."""

ELEMENTS_OF: Final = {
    **PICKED,
    "embedding_dense_backward": 0,
    "index_add": 3,
    "index_reduce": 3,
    "scatter_add": 2,
    "scatter_reduce": 2,
}
"""Priced by the elements of one argument (by position)."""


BATCH_NORMS: Final = frozenset(["cudnn_batch_norm", "native_batch_norm"])
"""In training (the sixth argument) they write the running mean and variance (the fourth and fifth), schema or not."""


@attrs.frozen
class Traffic:
    """One call's tensors: (tensor, bytes read), (tensor, bytes written)."""

    read: Sequence[tuple[torch.Tensor, int]]
    written: Sequence[tuple[torch.Tensor, int]]


def traffic(
    operator: Operator,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    given: Sequence[torch.Tensor],
    results: Sequence[torch.Tensor],
) -> Traffic:
    """What a call reads and writes: every tensor given and made, each view at its own size, with the rules above."""
    if operator.moves_nothing:
        return Traffic((), ())
    name = operator.name
    targets = _targets(operator, args, kwargs)
    if operator.in_place and name + "_" in ROWS_WRITTEN:
        return _rows_written(name + "_", args, kwargs, given)
    read = [(tensor, view_bytes(tensor)) for tensor in given]
    if name in _READS_LESS:
        read = _read_less(name, args, read, results)
    if name + "_" in OVERWRITES or (operator.written and not operator.in_place):  # in place without a look, or out=...
        read = [(tensor, size) for tensor, size in read if not _among(tensor, targets)]
    if operator.in_place and name == "masked_scatter":
        return Traffic(read, [(targets[0], view_bytes(given[-1]))])
    made = [tensor for tensor in results if not _among(tensor, targets)]
    return Traffic(read, [(tensor, view_bytes(tensor)) for tensor in (*targets, *made)])


def _targets(operator: Operator, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The arguments that are written."""
    if operator.name in BATCH_NORMS and args[5]:
        return tensors_of(args[3:5])
    written = [args[i] if isinstance(i, int) and i < len(args) else kwargs.get(str(i)) for i in operator.written]
    return tensors_of(written)


def _among(tensor: torch.Tensor, tensors: Sequence[torch.Tensor]) -> bool:
    return any(tensor is other for other in tensors)


_READS_LESS: Final = frozenset([*ROWS_READ, *PICKED, *BAGS, *SIZE_ONLY, *GROUPED])


def _read_less(
    name: str, args: Sequence[Any], read: list[tuple[torch.Tensor, int]], results: Sequence[torch.Tensor]
) -> list[tuple[torch.Tensor, int]]:
    """The bytes read, where an operator does not read all of a tensor."""
    first = read[0][0]
    if name in SIZE_ONLY:
        sized = args[SIZE_ONLY[name]]
        read = [(tensor, size) for tensor, size in read if tensor is not sized]
    elif name in GROUPED:
        read[:2] = _groups_read(read)
    elif name in PICKED:
        read[0] = (first, args[PICKED[name]].numel() * first.element_size())
    elif name in BAGS:
        read[0] = (first, args[1].numel() * first.shape[1] * first.element_size())
    elif results:
        read[0] = (first, sum(view_bytes(result) for result in results))
    return read


def _groups_read(read: Sequence[tuple[torch.Tensor, int]]) -> list[tuple[torch.Tensor, int]]:
    """The two factors of a grouped product. Without data as many groups have rows as can have."""
    (a, _), (b, _) = read[:2]
    ends = next((tensor for tensor, _ in read if tensor.dtype is torch.int32), None)
    if ends is None or a.dim() == b.dim():
        return list(read[:2])
    if has_data(ends):
        with _disable_current_modes():
            until = ends.tolist()
        hit = sum(end > start for start, end in zip([0, *until], until, strict=False))
    else:
        hit = min(len(ends), a.shape[0] if a.dim() == 2 else b.shape[1])
    return [(x, size // len(x) * hit if x.dim() == 3 else size) for x, size in read[:2]]


def _rows_written(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], given: Sequence[torch.Tensor]) -> Traffic:
    """Rows of a table changed in place."""
    table = given[0]
    count = _elements_written(name, args)
    size = count * table.element_size()
    read = [(tensor, view_bytes(tensor)) for tensor in given[1:]]
    if name.startswith("scatter") and len(read) > 1:  # of the source as much as there are indices
        source, whole = read[-1]
        read[-1] = (source, min(whole, count * source.element_size()))
    adds = name in ("index_put_", "_index_put_impl_", "put_") and len(args) > 3 and args[3]
    if adds or name in ACCUMULATES or "reduce" in kwargs:
        read.append((table, size))
    return Traffic(read, [(table, size)])


def _elements_written(name: str, args: Sequence[Any]) -> int:
    table, where = args[0], args[ROWS_WRITTEN[name]]
    if name == "index_fill_":
        return table.numel() // max(1, table.shape[args[1]]) * where.numel()
    if name not in ("index_put_", "_index_put_impl_"):
        return where.numel()
    indices = [index for index in args[1] if index is not None]
    if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
        # How many a mask selects is known by the values; a single value may go to all that it covers.
        return where.numel() if where.numel() > 1 else table.numel()
    rest = [side for side, index in zip(table.shape, _padded(args[1], table.dim()), strict=True) if index is None]
    return math.prod(torch.broadcast_shapes(*(index.shape for index in indices))) * math.prod(rest)


def _padded(indices: Sequence[Any], dims: int) -> list[Any]:
    return [*indices, *[None] * (dims - len(indices))]


def elements(
    operator: Operator, args: Sequence[Any], given: Sequence[torch.Tensor], results: Sequence[torch.Tensor]
) -> int:
    """The elements that an elementwise operator's FLOPs are counted for."""
    name = operator.name
    if name in ELEMENTS_OF:
        return args[ELEMENTS_OF[name]].numel()
    if name in BAGS or name == "_embedding_bag_dense_backward":
        return given[1].numel() * given[0].shape[-1]
    if name.startswith("_foreach_"):
        return sum(tensor.numel() for tensor in args[0])
    made = max((tensor.numel() for tensor in results), default=0)
    if operator.function in COUNTS_OUTPUT:
        return given[0].numel() if operator.is_backward else made
    if name in BATCH_NORMS and not args[5]:
        return results[0].numel() // 2  # no mean, deviation, square and sum: four of the eight
    if name in WINDOWED:
        return results[0].numel() * math.prod(args[1])
    return max(made, max((tensor.numel() for tensor in given), default=0))


def tensors_of(value: Any) -> list[torch.Tensor]:
    """All tensors in arguments or results, in order; of a sparse one the tensors that it is made of."""
    if isinstance(value, torch.Tensor):
        return [value] if value.layout is not torch.sparse_coo else [value._indices(), value._values()]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors_of(item)]
    return []
