"""What an aten operator is: a product, an elementwise function, a move, or nothing at all. Tables by aten name."""

from functools import lru_cache
from typing import Final, Literal, TypeAlias

import attrs
import torch
from torch._ops import OpOverload

from modelmeter.core.conventions import FLOPS_PER_ELEMENT
from modelmeter.live.recording.flops import FlopCount

Kind: TypeAlias = Literal["matmul", "elementwise", "move", "fused", "unknown"]


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


NOTHING_MOVES: Final = _names(
    # memory that is only taken, or given another size
    "_efficientzerotensor _lazy_clone empty empty_like empty_permuted empty_strided new_empty new_empty_strided",
    "resize resize_as set",
    # the same memory under another shape, in place
    "as_strided_ detach_ squeeze_ t_ transpose_ unsqueeze_",
    # a number that becomes a tensor, and questions whose answer goes to the host
    "_assert_async _assert_scalar _assert_tensor_metadata _functional_assert_async _functional_assert_scalar",
    "_functional_sym_constrain_range _functional_sym_constrain_range_for_size _fused_sdp_choice",
    "_has_compatible_shallow_copy_type _has_same_storage_numel _is_all_true _is_any_true _local_scalar_dense _print",
    "allclose equal is_nonzero is_pinned is_same_size is_set_to lift lift_fresh record_stream",
    "sym_constrain_range sym_constrain_range_for_size",
)
"""No bytes. With the underscore: only in place."""

MOVES: Final = _names(
    # copies and fills
    "_chunk_cat _copy_from _copy_from_and_resize _new_zeros_with_same_feature_meta _pin_memory _stack _to_copy",
    "block_diag cat channel_shuffle clone complex constant_pad_nd copy diag_embed diagonal_backward fill full",
    "full_like native_channel_shuffle new_full new_ones new_zeros ones ones_like pixel_shuffle pixel_unshuffle repeat",
    "repeat_interleave rot90 scalar_tensor select_backward slice_backward stack tril triu unfold_backward zero zeros",
    "zeros_like",
    # tables of numbers and random numbers
    "arange bartlett_window bernoulli binomial blackman_window cauchy exponential eye geometric hamming_window",
    "hann_window kaiser_window linspace log_normal logspace multinomial normal normal_functional poisson rand",
    "rand_like randint randint_like randn randn_like random randperm range tril_indices triu_indices uniform",
    # gathers and scatters
    "_index_put_impl _unsafe_index _unsafe_index_put _unsafe_masked_index _unsafe_masked_index_put_accumulate",
    "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d as_strided_scatter",
    "diagonal_scatter embedding flip gather im2col index index_copy index_fill index_put index_select masked_scatter",
    "masked_scatter_backward masked_select max_unpool2d max_unpool3d nonzero_static put reflection_pad1d",
    "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d roll scatter",
    "select_scatter slice_scatter take upsample_nearest1d upsample_nearest2d upsample_nearest3d",
    # comparisons, logic and index arithmetic: no FLOPs by convention
    "__ilshift__ __irshift__ __lshift__ __rshift__ _unique _unique2 all any bincount bitwise_left_shift bitwise_not",
    "bitwise_right_shift bitwise_xor bucketize copysign count_nonzero ge heaviside histc histogram isfinite isin",
    "isinf isnan isneginf isposinf logical_and logical_not logical_or logical_xor nan_to_num ne nextafter nonzero",
    "one_hot searchsorted signbit unique_consecutive unique_dim unique_dim_consecutive",
)
"""Copies, fills, gathers, comparisons and index arithmetic: bytes and, by convention, no FLOPs."""

FUSED: Final = ("_scaled_dot_product", "_flash_att", "_efficient_att", "_cudnn_attention")
"""Beginnings of the names of attention kernels."""

_FOREACH: Final = "_foreach_"


@attrs.frozen
class Operator:
    """What is fixed for an operator overload."""

    name: str  # as it is listed: the aten name, without the underscore of an in-place variant
    function: str  # what it is priced as: for a backward by convention what its function costs
    kind: Kind
    counted: bool  # a FLOP formula exists
    flops_per_element: int
    written: tuple[int | str, ...]  # arguments that are written, by position or keyword (out=)
    in_place: bool  # writes a positional argument
    is_view: bool  # by its schema
    moves_nothing: bool
    composite: bool  # made of other operators, which are recorded instead
    invisible: bool  # asks something of a tensor

    @property
    def is_backward(self) -> bool:
        """A backward that is priced as its function is."""
        return self.function != self.name


class Operators:
    """Looks operators up, each once."""

    def __init__(self) -> None:
        self.flops = FlopCount()
        self.of = lru_cache(maxsize=None)(self._of)

    def _of(self, operator: OpOverload) -> Operator:
        packet = _listed_name(operator, counted := self.flops.knows(operator))
        invisible = operator.namespace in ("prim", "profiler")
        arguments = operator._schema.arguments
        written = tuple(
            argument.name if argument.kwarg_only else i
            for i, argument in enumerate(arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        )
        moves_nothing = packet in NOTHING_MOVES or packet.removesuffix("_") in NOTHING_MOVES
        is_view = not written and any(result.alias_info is not None for result in operator._schema.returns)
        name = packet.removesuffix("_") if written else packet
        function = _function(name)
        return Operator(
            name=name,
            function=function,
            kind=_kind(function, name, counted) if not moves_nothing else "move",
            counted=counted,
            flops_per_element=0 if counted else FLOPS_PER_ELEMENT.get(function, 0),
            written=written,
            in_place=any(isinstance(where, int) for where in written),
            is_view=is_view and not moves_nothing,
            moves_nothing=moves_nothing,
            composite=not (counted or invisible) and _is_composite(operator),
            invisible=invisible,
        )


COMPOSITE: Final = torch.DispatchKey.CompositeImplicitAutograd


def _is_composite(operator: OpOverload) -> bool:
    """Whether running it is running others: torch composes it and no device has a kernel of its own.

    Without gradients such an operator arrives whole. Decompositions written in Python for compilers do not count: they
    are not what runs.
    """
    has_kernel, name = torch._C._dispatch_has_kernel_for_dispatch_key, operator.name()
    return has_kernel(name, COMPOSITE) and not (has_kernel(name, "CPU") or has_kernel(name, "CUDA"))


def _listed_name(operator: OpOverload, counted: bool) -> str:
    """The aten name. Of another package, without a formula, with its namespace: `mine::add` is not `add`."""
    name = operator.overloadpacket.__name__
    return name if counted or operator.namespace == "aten" else f"{operator.namespace}::{name}"


def _function(name: str) -> str:
    """The function that a backward operator, or one on lists of tensors, belongs to."""
    name = name.removeprefix(_FOREACH)
    for ending in ("_backward_data", "_dense_backward", "_backward"):
        if name.endswith(ending) and name not in FLOPS_PER_ELEMENT:
            function = name.removesuffix(ending)
            if function in FLOPS_PER_ELEMENT or function in MOVES:
                return function
    return name


def _kind(function: str, name: str, counted: bool) -> Kind:
    if counted:
        return "fused" if name.startswith(FUSED) else "matmul"
    if function in FLOPS_PER_ELEMENT:
        return "elementwise"
    return "move" if function in MOVES else "unknown"
