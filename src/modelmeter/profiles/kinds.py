"""What a kernel or an operator does, by its name: one table of patterns for kernels, one of names for operators.

Names are those of PyTorch (ATen, Inductor), cuBLAS, cuDNN, CUTLASS, FlashAttention and vLLM, as profilers print them.
Attention is the fused kernels' alone: the products and the softmax of eager attention are kernels of those kinds, and
no name tells them from a projection's.
"""

import re
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal[
    "attention", "gemm", "convolution", "normalisation", "elementwise", "reduction", "copy", "views", "unknown"
]
KINDS: Final[dict[Kind, str]] = {
    "attention": "fused attention",
    "gemm": "matrix products, GEMM and GEMV",
    "convolution": "convolutions, and cuDNN's changes of layout for them",
    "normalisation": "layer norm, RMS norm, softmax",
    "elementwise": "arithmetic, activations, rotary embedding, interpolation, quantisation, masks",
    "reduction": "sums, maxima, scans, sorting, top-k, selections",
    "copy": "copies and casts, memcpy, memset, fills, concatenation, gather, scatter",
    "views": "views, allocations, dispatch, a number read: no data moved (operators of a CPU profile)",
    "unknown": "names that no pattern fits: each is listed",
}
"""Every kind, and what is in it."""


@attrs.frozen
class Pattern:
    """Kernels of a kind: the first pattern that is found in a name, whatever its case, decides."""

    kind: Kind
    regex: str
    examples: tuple[str, ...]


PATTERNS: Final = (
    Pattern("attention", r"^triton_tem_\w*attention", ("triton_tem_fused_flex_attention_0",)),
    Pattern("gemm", r"^triton_(tem|mm|bmm)(_|$)", ("triton_tem_fused_addmm_1", "triton_mm_3")),
    Pattern("elementwise", r"^triton_(poi|for)_", ("triton_poi_fused_mul_silu_2",)),
    Pattern("normalisation", r"^triton_(red|per|split)\w*(norm|softmax|rsqrt)", ("triton_red_fused_mean_pow_rsqrt_0",)),
    Pattern("reduction", r"^triton_(red|per|split)", ("triton_per_fused_argmax_0",)),
    Pattern("copy", r"reshape_and_cache|concat_and_cache|copy_blocks", ("vllm::reshape_and_cache_flash_kernel",)),
    Pattern(
        "attention",
        r"flash::|flash_?(fwd|bwd|attn)|fmha|sdpa|scaled_dot_product|(paged|unified|cascade|merge)_att(entio)?n|_attn_fwd"
        r"|attention_kernel|BatchDecodeWith|BatchPrefillWith|kernel_unified_attention|merge_attn_states",
        ("void pytorch_flash::flash_fwd_kernel<...>", "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(...)"),
    ),
    Pattern(
        "convolution",
        r"conv\d?d|conv_|convolv|convolution|fprop|dgrad|wgrad|implicit_gemm|im2col|winograd|nchwToNhwc|nhwcToNchw",
        ("sm80_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_...", "cudnn::...::nchwToNhwcKernel<...>"),
    ),
    Pattern("normalisation", r"topkGatingSoftmax", ("void vllm::moe::topkGatingSoftmax<...>",)),
    Pattern(
        "gemm",
        r"gemm|gemv|nvjet|cublas|splitK|matmul|fused_moe|marlin|machete|xmma|wgmma|tensorop|dot_kernel|reduce_1Block"
        r"|^Cijk_|cutlass.*mma|wvSplitK",
        (
            "ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_stages_64x4_tn",
            "nvjet_tst_64x8_64x16_4x1_v_bz_splitK_TNT",
            "void gemvNSP_kernel<__nv_bfloat16, ...>",
            "void cublasLt::splitKreduce_kernel<...>",
        ),
    ),
    Pattern(
        "normalisation",
        r"layer_?norm|rms_?norm|group_?norm|batch_?norm|cuComputeRMS|RowwiseMoments|softmax",
        ("void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<...>", "cuComputeRMSNorm<...>"),
    ),
    Pattern("elementwise", r"rotary|rope_|silu|gelu|act_and_mul", ("vllm::rotary_embedding_kernel<...>",)),
    Pattern(
        "reduction",
        r"reduce_kernel|topk|sort|radix|cub::|cumsum|_scan_|arg_?max|arg_?min|nonzero|histogram|moe_align|reverse_indices",
        ("void at::native::reduce_kernel<512, 1, ...MeanOps...>", "at::native::sbtopk::gatherTopK<...>"),
    ),
    Pattern(
        "copy",
        r"mem(cpy|set)|copy_kernel|_copy_|CatArray|FillFunctor|fill_kernel|arange|RangeFactories|index_?(select|func|put"
        r"|get|kernel|elementwise|ing)|gather|scatter|embedding|constant_pad|transpose|permute|roll_|flip_|repeat_inter",
        (
            "Memcpy HtoD (Pageable -> Device)",
            "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(...)...>",
            "void at::native::(anonymous namespace)::CatArrayBatchedCopy<...>",
            "void at::native::indexSelectSmallIndex<...>",
        ),
    ),
    Pattern(
        "elementwise",
        r"elementwise|pointwise|Functor|upsample|triu_tril|dropout|distribution|multi_tensor_apply|quant",
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<...>, ...>",),
    ),
)
"""In this order: a copy is an elementwise kernel by name, and cuDNN's convolutions are GEMMs by name."""

_TENSOR_CORES: Final = (
    r"nvjet|xmma|tensorop|[hiq]mma|gmma|(^|[^x\d])[hi]?s?(16816|16832|1688|884)|tensor\d+x\d+|^triton_"
)
_NO_TENSOR_CORES: Final = r"gemv|simt|sgemm|dgemm|dot_kernel|reduce_1Block|splitKreduce|gemmk1|gemmSN"

OPERATORS: Final[dict[Kind, str]] = {
    "attention": r"scaled_dot_product_(flash|efficient|cudnn|fused)\w*|(flash|efficient|cudnn)_attention\w*",
    "gemm": r"(grouped_|scaled_|weight_int\dpack_)?(add)?(b|baddb|batch_)?mm\w*|linear|matmul|einsum|dot|addmv|mv",
    "convolution": r"\w*convolution\w*|conv\dd|conv_transpose\dd|thnn_conv\w*|slow_conv\w*",
    "normalisation": r"\w*(layer|rms|group|batch)_norm\w*|(log_|safe_)?softmax|one_pass_softmax",
    "elementwise": r"(r?sub|add|mul|div|true_divide|floor_divide|remainder|fmod|neg|pow|square|sqrt|rsqrt|reciprocal"
    r"|sin|cos|tanh?|exp2?|log1?p?|log2|erf|abs|sign|ceil|floor|round|trunc|eq|ne|le|lt|ge|gt|greater|less|and|or|xor"
    r"|not|isinf|isnan|isfinite|isin|(bitwise|logical)_\w+|where|masked_fill|sigmoid|silu|gelu|relu|swish|clamp\w*|maximum"
    r"|minimum|lerp|addcmul|addcdiv|tri[ul]|upsample\w*|interpolate|native_dropout|de?quantize\w*|outer|hardtanh"
    r"|i?rshift|i?lshift|normal|uniform|random|bernoulli)(_(scalar|tensor|static))?",
    "reduction": r"sum|mean|prod|var\w*|std\w*|max|min|a?min_?max|amax|amin|arg(max|min|sort)|all|any|is_all_true|norm"
    r"|linalg_vector_norm|cum(sum|prod)|sort|topk|nonzero\w*|unique\w*|bincount|histc|multinomial|searchsorted|bucketize"
    r"|logsumexp|equal",
    "copy": r"copy|to_copy|clone|cat|concat|stack|(v|h)stack|(new_)?(zeros|ones|full)(_like)?|zero|fill"
    r"|arange|eye|linspace|scalar_tensor|embedding\w*|index|index_\w+|masked_(scatter|select)|gather|scatter\w*|take\w*"
    r"|pad|constant_pad_nd|repeat\w*|roll|flip|one_hot|tile|pin_memory",
    "views": r"view\w*|unsafe_view|reshape\w*|as_strided|transpose|t|permute|(un)?squeeze|expand\w*|slice|select|narrow"
    r"|chunk|(un)?split\w*|unsafe_split\w*|unbind|flatten|unflatten|detach|alias|lift_fresh|resize|resolve_\w+|movedim"
    r"|(new_)?empty\w*|item|local_scalar_dense|is_nonzero|result_type|set|data|size|stride|numpy_T|swapaxes|diagonal"
    r"|lift|broadcast_(to|tensors)|meshgrid|real|imag|positive|is_same_size|record_stream|set_data"
    r"|to|contiguous|float|half|bfloat16|type_as|cpu|cuda|dropout"
    r"|scaled_dot_product_attention(_math\w*)?|fused_sdp_choice|Vmapped\w*",
}
"""Full names of aten operators (without `aten::` and underscores at either end), those of the twin among them."""


@lru_cache(maxsize=65_536)
def kernel_kind(name: str) -> Kind:
    """The kind of a kernel, a copy or a memset on a device, by its name in a profile."""
    for pattern, regex in zip(PATTERNS, _REGEXES, strict=True):
        if regex.search(name):
            return pattern.kind
    return "unknown"


@lru_cache(maxsize=65_536)
def operator_kind(name: str) -> Kind:
    """The kind of an operator of the CPU, or of the twin: "aten::add_" and "add" are one."""
    plain = name.rpartition("::")[2].strip("_")
    for kind, regex in _OPERATORS.items():
        if regex.fullmatch(plain):
            return kind
    return "unknown"


def on_tensor_cores(name: str, kind: Kind) -> bool | None:
    """Whether a product or convolution runs on tensor cores, by its name; None where the name does not say."""
    if kind not in ("gemm", "convolution"):
        return None
    if _WITHOUT.search(name):
        return False
    return True if _WITH.search(name) else None


_REGEXES: Final = tuple(re.compile(pattern.regex, re.IGNORECASE) for pattern in PATTERNS)
_OPERATORS: Final = {kind: re.compile(regex) for kind, regex in OPERATORS.items()}
_WITH: Final = re.compile(_TENSOR_CORES, re.IGNORECASE)
_WITHOUT: Final = re.compile(_NO_TENSOR_CORES, re.IGNORECASE)
