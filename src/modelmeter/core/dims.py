"""Arithmetic on dimensions: a dimension is an int, a NumPy array of ints (a sweep) or a SymPy expression (a formula).

The only module that asks which of the three it has. Everything else writes `+`, `*` and the helpers below.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeAlias

import numpy as np

from modelmeter.core.errors import ModelMeterError

Dim: TypeAlias = Any
"""`int | numpy.ndarray | sympy.Expr`; a sum or product of dims is a dim again."""


INT64_LIMIT = 2**63
LARGEST = 10**100
"""Largest int taken as a size: products of three stay within a float's range."""


def is_array(value: Dim) -> bool:
    """True for a sweep dimension."""
    return isinstance(value, np.ndarray)


def is_number(value: Dim) -> bool:
    """True for a plain Python number: neither array nor symbol."""
    return isinstance(value, (int, float))


def is_symbol(value: Dim) -> bool:
    """True for a SymPy expression."""
    return not isinstance(value, (int, float, np.ndarray))


def prod(dims: Iterable[Dim]) -> Dim:
    """Product of dims. Plain ints are multiplied first, so that each array costs one pass."""
    whole, rest = 1, []
    for dim in dims:
        if type(dim) is int:
            whole *= dim
        else:
            rest.append(dim)
    for dim in rest:
        whole = whole * dim
    return whole


class _Sweep:
    """Whether a sweep is being recorded, and the sizes of its shapes by the identity of their dims.

    An entry keeps its dims alive, so that their ids stay theirs.
    """

    running = False
    sizes: ClassVar[dict[tuple[int, ...], tuple[tuple[Dim, ...], Dim]]] = {}


def set_sweep(running: bool) -> None:
    """Begin or end the recording of a sweep."""
    _Sweep.running = running
    _Sweep.sizes.clear()


def size_of(shape: tuple[Dim, ...], itemsize: int) -> Dim:
    """`prod(shape) * itemsize`; in a sweep each distinct shape costs one pass over the points."""
    if not _Sweep.running:
        return math.prod(shape) * itemsize
    key = (itemsize, *[id(dim) for dim in shape])
    found = _Sweep.sizes.get(key)
    if found is None:
        found = _Sweep.sizes[key] = (shape, prod((itemsize, *shape)))
    return found[1]


def same_shape(a: tuple[Dim, ...], b: tuple[Dim, ...]) -> bool:
    """True for certainly equal shapes; in a sweep only for the very same one (arrays have no truth value)."""
    return a is b or (not _Sweep.running and a == b)


def maximum(a: Dim, b: Dim) -> Dim:
    """Larger of the two, elementwise for arrays."""
    if is_number(a) and is_number(b):
        return a if a >= b else b
    if is_array(a) or is_array(b):
        return np.maximum(a, b)
    return _sympy().Max(a, b)


def minimum(a: Dim, b: Dim) -> Dim:
    """Smaller of the two, elementwise for arrays."""
    if is_number(a) and is_number(b):
        return a if a <= b else b
    if is_array(a) or is_array(b):
        return np.minimum(a, b)
    return _sympy().Min(a, b)


def largest(candidates: list[Dim]) -> Dim:
    """Largest of many. Symbols stay one unevaluated `Max`: comparing polynomials pairwise is what makes Max slow."""
    if any(is_symbol(c) for c in candidates):
        return _sympy().Max(*dict.fromkeys(candidates), evaluate=False)
    result = candidates[0]
    for candidate in candidates[1:]:
        result = maximum(result, candidate)
    return result


def ceil_div(a: Dim, b: Dim) -> Dim:
    """`ceil(a / b)`."""
    if is_symbol(a) or is_symbol(b):
        return _sympy().ceiling(_sympy().sympify(a) / b)
    return -(-a // b)


def floor_div(a: Dim, b: Dim) -> Dim:
    """`floor(a / b)`."""
    if is_symbol(a) or is_symbol(b):
        return _sympy().floor(_sympy().sympify(a) / b)
    return a // b


def exact_div(a: Dim, b: Dim, what: str) -> Dim:
    """`a / b` where it divides. Raises `ModelMeterError` naming `what` where it does not."""
    if is_symbol(a) or is_symbol(b):
        return _sympy().sympify(a) / b
    if np.any(a % b):
        raise ModelMeterError(f"{what}: {a} does not divide by {b}; choose a multiple of {b}")
    return a // b


def exact_times(a: Dim, b: Dim) -> Dim:
    """`a * b` outside a recording: arrays that would leave int64 become arrays of Python ints."""
    if is_array(a) or is_array(b):
        top = [max(map(int, (np.max(x), -np.min(x)))) if _whole(x) else 0 for x in (a, b)]
        if top[0] * top[1] >= INT64_LIMIT:
            return np.asarray(a).astype(object) * b
    return a * b


def exact_plus(a: Dim, b: Dim) -> Dim:
    """`a + b` outside a recording: arrays that would leave int64 become arrays of Python ints."""
    if (is_array(a) or is_array(b)) and _whole(a) and _whole(b) and int(np.max(a)) + int(np.max(b)) >= INT64_LIMIT:
        return np.asarray(a).astype(object) + b
    return a + b


def _whole(value: Dim) -> bool:
    return isinstance(value, int) or (is_array(value) and value.dtype != object and value.dtype.kind in "iu")


def check_sweep(**dims: Dim) -> None:
    """Raise `ModelMeterError` where the named arrays do not broadcast to one sweep."""
    sweeps = {name: dim.shape for name, dim in dims.items() if is_array(dim)}
    symbols = [name for name, dim in dims.items() if dim is not None and is_symbol(dim)]
    if sweeps and symbols:
        raise ModelMeterError(
            f"arrays ({', '.join(sweeps)}) and symbols ({', '.join(symbols)}) do not mix: substitute into the formula"
        )
    try:
        np.broadcast_shapes(*sweeps.values())
    except ValueError as error:
        shapes = ", ".join(f"{name} {shape}" for name, shape in sweeps.items())
        raise ModelMeterError(
            f"arrays of shapes {shapes} make no sweep: make them equal, or [:, None] for a grid"
        ) from error


def same(a: Dim, b: Dim) -> bool:
    """True when the two are certainly equal: equal ints, the same symbolic expression, arrays equal everywhere."""
    if is_array(a) or is_array(b):
        shapes = {np.shape(a), np.shape(b)} - {()}
        return len(shapes) == 1 and bool(np.all(a == b))
    return bool(a == b)


def not_one(dim: Dim) -> Dim:
    """1 where `dim` is not 1, else 0. A transposed tensor with a side of 1 is still contiguous: no copy is made."""
    if is_number(dim):
        return int(dim != 1)
    if is_array(dim):
        return (dim != 1).astype(np.int64)
    sympy = _sympy()
    return sympy.Piecewise((0, sympy.Eq(dim, 1)), (1, True))


def power(numerator: int, denominator: int, exponent: Dim) -> Dim:
    """`(numerator / denominator) ** exponent`: a float, an array of floats, or a symbol with an exact rational base."""
    if is_symbol(exponent):
        return _sympy().Rational(numerator, denominator) ** exponent
    return (numerator / denominator) ** exponent


def whole_above(value: Dim) -> Dim:
    """The least whole number that `value` does not exceed by more than a rounding error; a symbol as it is."""
    if is_symbol(value):
        return value
    if is_number(value):
        return math.ceil(value - 1e-9)
    return _each_whole(value - 1e-9, math.ceil, np.ceil)


def _each_whole(values: np.ndarray, of_one: Callable[[Any], int], of_all: Callable[[Any], Any]) -> np.ndarray:
    """An array made whole, in int64 or, where its numbers are Python's, in ints of any size."""
    if values.dtype == object:
        return np.frompyfunc(of_one, 1, 1)(values)
    return values if values.dtype.kind == "i" else of_all(values).astype(np.int64)


def rounded(value: Dim) -> Dim:
    """A real number rounded half to even, each of an array; a symbol stays real."""
    if is_array(value):
        return _each_whole(value, round, np.rint)
    return round(value) if is_number(value) else value


def as_dim(value: Dim, what: str, *, least: int = 1) -> Dim:
    """A user's size as a dim: an int >= `least`, an array of such, or a symbol. Raises `ModelMeterError` otherwise."""
    if value is None or isinstance(value, (bool, float, str, bytes, np.floating)):
        raise ModelMeterError(f"{what} must be a whole number, not {value!r}")
    if isinstance(value, (int, np.integer)):
        _require(int(value) >= least, what, least, value)
        if int(value) > LARGEST:
            raise ModelMeterError(f"{what} is beyond 10**100: choose a smaller one")
        return int(value)
    if isinstance(value, (np.ndarray, list, tuple, range)):
        array = np.asarray(value)
        return _as_array(array, what, least) if array.ndim else as_dim(array.item(), what, least=least)
    if type(value).__module__.split(".")[0] != "sympy":
        raise ModelMeterError(f"{what} must be an int, a NumPy array of ints or a SymPy symbol, not {value!r}")
    return value


def _as_array(array: np.ndarray, what: str, least: int) -> np.ndarray:
    if array.size == 0 or not (np.issubdtype(array.dtype, np.integer) or array.dtype == object):
        raise ModelMeterError(f"{what} must be a non-empty array of ints, not {array.dtype} of {array.size} values")
    if array.dtype == object and not all(type(value) is int for value in array.flat):
        raise ModelMeterError(f"{what} holds values that are not ints")
    _require(bool((array >= least).all()), what, least, array.min())
    if array.dtype == np.uint64 or array.dtype == object:
        return array.astype(object)
    return array.astype(np.int64)


def _require(holds: bool, what: str, least: int, value: Any) -> None:
    if not holds:
        bound = "positive" if least == 1 else f"at least {least}"
        raise ModelMeterError(f"{what} must be {bound}, not {value}")


def _sympy() -> Any:
    """SymPy, imported when the first symbol turns up: a program without formulas never pays for it."""
    from modelmeter.core import symbolic

    return symbolic.sympy
