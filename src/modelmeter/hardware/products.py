"""The matrix products inside an operator, and what tiles and waves make of them.

A kernel computes its output in tiles of 128 x 128 (64 where that overhangs a side of the product less, down to 16
where a tile covers the whole side), stepping through the inner dimension by 64. The steps of all tiles are dealt out
evenly to the multiprocessors, those of one tile to several of them too (split-K; dealt out so it is "stream-K", Osama
et al., 2023). What a tile overhangs (tile quantisation) and what the last round of steps leaves idle (wave
quantisation) is time without work. Terms and effects: NVIDIA, Matrix Multiplication Background User's Guide.
"""

from typing import NamedTuple

import numpy as np

from modelmeter.core.dims import Dim, ceil_div, is_array, prod
from modelmeter.core.op import Op

SMALL_SIDES = (16, 32, 64)
TILE_DEPTH = 64


class Product(NamedTuple):
    """`count` products [m k] x [k n]."""

    count: Dim
    m: Dim
    n: Dim
    k: Dim


def products_of(op: Op) -> tuple[Product, ...]:
    """The products of an operator, from its output's shape and its FLOPs; none where it has none, or none are known.

    Attention [b h s d] is two: scores [s d] x [d t] and values [s t] x [t d], b * h times.
    """
    counted = op.numbers[2]
    if op.kind == "fused":
        if len(op.shape) != 4 or (not is_array(counted) and counted == 0):
            return ()
        *heads, queries, width = op.shape
        count = prod(heads)
        keys = counted / (4 * count * queries * width)
        return Product(count, queries, keys, width), Product(count, queries, width, keys)
    if op.kind != "matmul" or len(op.shape) < 2:
        return ()
    if op.name == "convolution":
        batch, n, height, width = op.shape
        rows, count = batch * height * width, op.groups
    elif op.name == "bmm":
        *several, rows, n = op.shape
        count = prod(several)
    else:
        *several, n = op.shape
        count = op.groups
        rows = prod(several) / count
    return (Product(count, rows, n, counted / (2 * count * rows * n)),)


def quantisation(op: Op, multiprocessors: int) -> Dim:
    """Time of an operator's products over that of the same FLOPs at the full rate, >= 1 (see the module's text)."""
    paid: Dim = 0
    worked: Dim = 0
    for product in products_of(op):
        rows, columns = _tile(product.m), _tile(product.n)
        steps = _rounds(product.m, rows) * _rounds(product.n, columns) * _rounds(product.k, TILE_DEPTH)
        rounds = op.launches * _rounds(steps * product.count / op.launches, multiprocessors)
        paid = paid + rounds * multiprocessors * rows * columns * TILE_DEPTH
        worked = worked + product.count * product.m * product.n * product.k
    if type(worked) is int and worked == 0:
        return 1.0
    return paid / worked


def _tile(side: Dim) -> Dim:
    """The smallest tile that covers a side; of a long one 128, or 64 where that overhangs less."""
    odd = _rounds(side, 64) % 2
    if is_array(side):
        return np.select([side <= tile for tile in SMALL_SIDES], SMALL_SIDES, 128 - 64 * odd)
    return next((tile for tile in SMALL_SIDES if side <= tile), 64 if odd else 128)


def _rounds(work: Dim, at_once: Dim) -> Dim:
    """`ceil(work / at_once)`; of arrays by floats, exact below 2**53 and several times faster than whole division."""
    rounds = work / at_once if is_array(work) or is_array(at_once) else None
    return ceil_div(work, at_once) if rounds is None or rounds.dtype == object else np.ceil(rounds)
