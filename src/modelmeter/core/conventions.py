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
    "lt": 0,
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
    "quantize": 3,  # its share of the row's largest absolute value, a division by the scale, a rounding
    "quantize_static": 2,  # a division by a scale that is known, a rounding
    "index_add": 1,  # one addition for each element added
    "topk": 1,  # one comparison for each element read, the least any selection needs
    "argsort": 1,
    "sort": 1,
    "_upsample_bicubic2d_aa": 32,  # for each output: 16 neighbours, a multiplication and an addition each
    "upsample_linear1d": 4,  # for each output: 2 neighbours
}
"""Per output element, or per input element where the operator reduces (mean, sum, max, topk, argsort, _softmax)."""

OF_ANY_MODEL: tuple[tuple[int, str, str], ...] = (
    (1, "one arithmetic instruction", "abs clamp_max clamp_min fmax fmin maximum minimum relu sgn sign threshold"),
    (1, "one rounding instruction", "ceil floor frac round trunc"),
    (
        1,
        "one instruction of the special-function unit",
        "acos acosh angle asin asinh atan atanh cosh digamma erf erfc erfinv exp exp2 expm1 i0 lgamma log log10 log1p "
        "log2 reciprocal sinh tan tanh",
    ),
    (1, "a number scaled", "deg2rad ldexp rad2deg"),
    (1, "a product with a mask of 0 and 1 / (1 - p)", "_fused_dropout _masked_scale native_dropout"),
    (
        1,
        "one addition, multiplication or comparison for each element read",
        "_cummax_helper _cummin_helper amax amin argmax argmin cummax cummin cumprod cumsum kthvalue median min mode "
        "nanmedian nansum prod trace",
    ),
    (1, "one addition for each element added, or gathered", "_embedding_bag _embedding_bag_forward_only col2im"),
    (1, "one addition for each element added", "index_reduce scatter_add scatter_reduce"),
    (1, "one addition for each row of gradients", "embedding_dense_backward"),
    (
        1,
        "one comparison or addition for each element of the window of each output",
        "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d "
        "avg_pool1d avg_pool2d avg_pool3d fractional_max_pool2d fractional_max_pool3d max_pool2d_with_indices "
        "max_pool3d_with_indices",
    ),
    (2, "two comparisons", "_aminmax aminmax clamp hardshrink hardtanh"),
    (2, "a comparison and a multiplication", "_prelu_kernel leaky_relu rrelu_with_noise rrelu_with_noise_functional"),
    (2, "a multiplication and an addition", "_add_relu addr linalg_vector_norm native_norm norm"),
    (2, "an instruction of the special-function unit and a division or multiplication", "atan2 sinc xlogy"),
    (2, "for each target: its class's weight and the sum", "nll_loss nll_loss2d nll_loss2d_forward nll_loss_forward"),
    (3, "three of addition, multiplication, subtraction, division", "addcdiv addcmul dist lerp"),
    (3, "subtract, multiply, add to the sum", "mse_loss"),
    (3, "exp, subtract or add, multiply or log", "celu elu log_sigmoid log_sigmoid_forward logit selu softplus"),
    (3, "two comparisons and a subtraction", "softshrink"),
    (3, "square, add, multiply", "_weight_norm_interface renorm"),
    (4, "divide, round, multiply, subtract", "fmod remainder"),
    (4, "sigmoid and a multiplication, for each output", "glu"),
    (4, "add, two comparisons, divide", "hardsigmoid"),
    (4, "square, sum, scale by 1/rms, weight", "_fused_rms_norm"),
    (
        4,
        "scale by 1/std, subtract the mean, weight, bias",
        "_batch_norm_no_update _native_batch_norm_legit_no_training",
    ),
    (4, "sine, cosine, two multiplications; or two squares, a sum, a root", "hypot polar"),
    (4, "max, subtract, exp, sum", "_logcumsumexp logcumsumexp logsumexp"),
    (4, "mean: 1; deviation, square, sum: 3", "std std_mean var var_mean"),
    (
        4,
        "subtract twice, compare, add to the sum",
        "multi_margin_loss multilabel_margin_loss multilabel_margin_loss_forward",
    ),
    (5, "_softmax's five", "_log_softmax _masked_softmax _safe_softmax"),
    (5, "softplus, tanh and a multiplication", "mish"),
    (5, "hardsigmoid and a multiplication", "hardswish"),
    (
        5,
        "subtract or multiply, absolute value or exp, scale, square or log, add to the sum",
        "huber_loss smooth_l1_loss",
    ),
    (5, "multiply, exp, add, log, add to the sum", "logaddexp logaddexp2 soft_margin_loss"),
    (
        7,
        "two logarithms (or exp and log), a subtraction, two multiplications, two additions",
        "binary_cross_entropy binary_cross_entropy_with_logits",
    ),
    (
        8,
        "native_layer_norm's eight, over other groups of elements",
        "_batch_norm_with_update _batch_norm_with_update_functional _native_batch_norm_legit "
        "_native_batch_norm_legit_functional cudnn_batch_norm native_batch_norm native_group_norm",
    ),
    (
        8,
        "for each output: 4 neighbours, a multiplication and an addition each",
        "_upsample_bilinear2d_aa grid_sampler_2d upsample_bilinear2d",
    ),
    (16, "for each output: 8 neighbours", "grid_sampler_3d upsample_trilinear3d"),
    (32, "for each output: 16 neighbours", "upsample_bicubic2d"),
)
"""(FLOPs, reason, operators): what other models run. A backward costs what its function does."""

FLOPS_PER_ELEMENT |= {name: flops for flops, _, names in OF_ANY_MODEL for name in names.split()}
