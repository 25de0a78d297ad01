"""Vector FLOPs of one element, by operator: a declared convention, in one table.

FLOP counters count none of these. They follow the usual practice: an addition, multiplication, comparison or negation
is 1; a transcendental function of the special-function unit (exp, sin, rsqrt, ...) is 1 as it is issued as one
instruction; composite functions are the sum of their parts. Casts, copies, gathers and fills are 0.
"""

FLOPS_PER_ELEMENT: dict[str, int] = {
    "add": 1,
    "sub": 1,
    "mul": 1,
    "div": 1,
    "neg": 1,
    "pow": 1,  # x * x
    "sqrt": 1,
    "rsqrt": 1,
    "sin": 1,
    "cos": 1,
    "le": 0,  # comparisons, logic and integer divisions build masks and routing tables: index arithmetic
    "gt": 0,
    "bitwise_and": 0,
    "bitwise_or": 0,
    "floor_divide": 0,
    "eq": 0,
    "rsub": 0,  # 1 - mask
    "where": 0,  # a selection
    "masked_fill": 0,
    "sigmoid": 3,  # exp, add, reciprocal (the negation folds into the exponent)
    "silu": 4,  # sigmoid and a multiplication
    "gelu": 5,  # 0.5 * x * (1 + erf(x / sqrt(2))): three multiplications, one addition, erf
    "_softmax": 5,  # max, subtract, exp, sum, divide: each once an element
    "native_layer_norm": 8,  # mean, deviation, square, sum, scale by 1/std, weight, bias, its share of rsqrt: 1 each
    "mean": 1,  # one addition for each element read
    "sum": 1,
    "max": 1,
    "index_add": 1,  # one addition for each element added
    "topk": 1,  # one comparison for each element read, the least any selection needs
    "argsort": 1,
    "_upsample_bicubic2d_aa": 32,  # for each output: 16 neighbours, a multiplication and an addition each
    "upsample_linear1d": 4,  # for each output: 2 neighbours
}
"""Per output element, or per input element where the operator reduces (mean, sum, max, topk, argsort, _softmax)."""
