"""Kernels and operators by name: real names of PyTorch, cuBLAS, cuDNN, CUTLASS, FlashAttention, Triton and vLLM."""

import re
from pathlib import Path

import pytest

from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.profiles.kinds import (
    KINDS,
    OPERATORS,
    PATTERNS,
    Kind,
    Pattern,
    kernel_kind,
    on_tensor_cores,
    operator_kind,
)

NATIVE = "void at::native::"
KERNELS: list[tuple[str, Kind]] = [
    ("void pytorch_flash::flash_fwd_splitkv_kernel<pytorch_flash::Flash_fwd_kernel_traits<128, 64>>", "attention"),
    ("void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<...>>>", "attention"),
    ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x64", "attention"),
    ("fmha_cutlassF_bf16_aligned_64x128_rf_sm80(PyTorchMemEffAttention::AttentionKernel<...>)", "attention"),
    ("void vllm::paged_attention_v2_kernel<__nv_bfloat16, 128>", "attention"),
    ("kernel_unified_attention_2d", "attention"),
    ("ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_stages_64x4_tn", "gemm"),
    ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize64x64x64_warpgroupsize1x1x1", "gemm"),
    ("nvjet_tst_64x8_64x16_4x1_v_bz_splitK_TNT", "gemm"),
    ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_64x64_32x6_tn_align8>", "gemm"),
    (
        "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<...>>",
        "gemm",
    ),
    ("void gemvNSP_kernel<__nv_bfloat16, __nv_bfloat16, __nv_bfloat16, float, 1, 32, 4, 1024>", "gemm"),
    ("std::enable_if<!T7, void>::type internal::gemvx::kernel<int, int, __nv_bfloat16, ...>", "gemm"),
    ("void cublasLt::splitKreduce_kernel<32, 16, int, float, __nv_bfloat16, ...>", "gemm"),
    ("fused_moe_kernel", "gemm"),
    ("triton_tem_fused_addmm_3", "gemm"),
    ("triton_mm", "gemm"),
    ("sm80_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x32", "convolution"),
    ("void cudnn::ops::nchwToNhwcKernel<__nv_bfloat16, __nv_bfloat16, float, false, true>", "convolution"),
    ("void at::native::(anonymous namespace)::conv_depthwise2d_forward_kernel<...>", "convolution"),
    ("void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<c10::BFloat16, float>", "normalisation"),
    ("void (anonymous namespace)::softmax_warp_forward<float, c10::BFloat16, float, 10, false>", "normalisation"),
    ("void at::native::(anonymous namespace)::cunn_SoftMaxForward<8, float, float, float>", "normalisation"),
    ("void vllm::fused_add_rms_norm_kernel<c10::BFloat16, 8>", "normalisation"),
    ("triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_0", "normalisation"),
    ("triton_per_fused_native_layer_norm_1", "normalisation"),
    (f"{NATIVE}vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<c10::BFloat16>>", "elementwise"),
    (f"{NATIVE}elementwise_kernel<128, 4, at::native::gpu_kernel_impl<at::native::silu_kernel(...)>>", "elementwise"),
    ("void at::native::(anonymous namespace)::upsample_bicubic2d_aa_out_frame<float>", "elementwise"),
    ("void vllm::act_and_mul_kernel<c10::BFloat16, &vllm::silu_kernel>", "elementwise"),
    ("void vllm::rotary_embedding_kernel<c10::BFloat16, true>", "elementwise"),
    ("triton_poi_fused_mm_mul_silu_2", "elementwise"),
    (f"{NATIVE}reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float>>>", "reduction"),
    (f"{NATIVE}sbtopk::gatherTopK<float, unsigned int, 2, false>", "reduction"),
    (f"{NATIVE}radixSortKVInPlace<2, -1, 32, 4, long, long, unsigned int>", "reduction"),
    ("void at_cuda_detail::cub::DeviceScanKernel<...>", "reduction"),
    ("triton_red_fused_argmax_0", "reduction"),
    ("Memcpy HtoD (Pageable -> Device)", "copy"),
    ("Memcpy DtoD (Device -> Device)", "copy"),
    ("Memset (Device)", "copy"),
    ("[CUDA memcpy Device-to-Host]", "copy"),
    (f"{NATIVE}unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)>", "copy"),
    (f"{NATIVE}vectorized_elementwise_kernel<4, at::native::bfloat16tofloat32_copy_kernel_cuda(...)>", "copy"),
    (f"{NATIVE}vectorized_elementwise_kernel<8, at::native::FillFunctor<c10::BFloat16>>", "copy"),
    ("void at::native::(anonymous namespace)::CatArrayBatchedCopy_aligned16_contig<...>", "copy"),
    ("void at::native::(anonymous namespace)::indexSelectSmallIndex<c10::BFloat16, long, unsigned int>", "copy"),
    (f"{NATIVE}index_elementwise_kernel<128, 4, at::native::gpu_index_kernel<...>>", "copy"),
    (f"{NATIVE}_scatter_gather_elementwise_kernel<128, 8, ...>", "copy"),
    ("void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16, __nv_bfloat16>", "copy"),
    ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", "unknown"),
    ("", "unknown"),
]


@pytest.mark.parametrize(("name", "kind"), KERNELS, ids=lambda value: value[-40:])
def test_a_kernel_is_of_its_kind(name: str, kind: Kind) -> None:
    assert kernel_kind(name) == kind


@pytest.mark.parametrize(("pattern", "example"), [(p, e) for p in PATTERNS for e in p.examples])
def test_the_examples_of_the_table_are_of_its_kinds(pattern: Pattern, example: str) -> None:
    assert kernel_kind(example) == pattern.kind


OPERATOR_NAMES: list[tuple[str, Kind]] = [
    ("aten::mm", "gemm"),
    ("aten::addmm", "gemm"),
    ("aten::_grouped_mm", "gemm"),
    ("aten::baddbmm", "gemm"),
    ("aten::mkldnn_convolution", "convolution"),
    ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
    ("aten::scaled_dot_product_attention", "views"),  # hands on to a kernel, or to products and a softmax
    ("aten::native_layer_norm", "normalisation"),
    ("aten::_softmax", "normalisation"),
    ("aten::_fused_rms_norm", "normalisation"),
    ("aten::add_", "elementwise"),
    ("aten::__and__", "elementwise"),
    ("aten::upsample_linear1d", "elementwise"),
    ("aten::mean", "reduction"),
    ("aten::topk", "reduction"),
    ("aten::_to_copy", "copy"),
    ("aten::index_add_", "copy"),
    ("aten::embedding", "copy"),
    ("aten::_unsafe_view", "views"),
    ("aten::empty_strided", "views"),
    ("aten::_local_scalar_dense", "views"),
    ("mine::frobnicate", "unknown"),
]


@pytest.mark.parametrize(("name", "kind"), OPERATOR_NAMES)
def test_an_operator_is_of_its_kind(name: str, kind: Kind) -> None:
    assert operator_kind(name) == kind


@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
@pytest.mark.parametrize("kernels", [("eager", "loop", "concat"), ("flash", "grouped", "in_place")])
def test_every_operator_of_the_twin_is_of_a_kind(implementation: str, kernels: tuple[str, str, str]) -> None:
    attention, experts, cache = kernels
    chosen = {"attention": attention, "experts": experts, "cache": cache, "implementation": implementation}
    model = DeepseekOCRModel.from_config(**chosen)
    model.set_views(ViewPlan.from_grid((2, 1)))
    model.start_prefill(913, 1)
    names = set(model.trace().by_op())
    model.start_decode()
    names |= set(model.trace().by_op())
    assert {name for name in names if operator_kind(name) == "unknown"} == set()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_stages_64x4_tn", True),
        ("volta_h884gemm_128x64_nn", True),
        ("nvjet_tst_64x8_64x16_4x1_v_bz_TNT", True),
        ("void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16_32x32_128x2_tn_align8>", True),
        ("sm80_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x32", True),
        ("ampere_sgemm_128x64_tn", False),
        ("void cutlass::Kernel2<cutlass_80_simt_sgemm_128x128_8x4_tn_align1>", False),
        ("void gemvNSP_kernel<__nv_bfloat16>", False),
        ("void cublasLt::splitKreduce_kernel<32, 16>", False),
        ("void gemm_kernel<float>", None),
        ("void at::native::vectorized_elementwise_kernel<4>", None),
    ],
)
def test_tensor_cores_are_told_by_the_name(name: str, expected: bool | None) -> None:
    assert on_tensor_cores(name, kernel_kind(name)) is expected


def test_the_page_has_the_same_kinds() -> None:
    """docs/profiles.md: each kind once, in order, and its examples are of it."""
    page = Path(__file__).parents[2] / "docs" / "profiles.md"
    table = page.read_text(encoding="utf-8").split("## Kinds")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    kinds = [row[0].strip("|` ") for row in rows]
    assert kinds == list(KINDS)
    for kind, row in zip(kinds, rows, strict=True):
        kernels, operators = (re.findall(r"`([^`]+)`", cell) for cell in row[2:])
        assert {kernel_kind(name) for name in kernels} <= {kind}
        assert operators and {operator_kind(name) for name in operators} == {kind}


def test_the_tables_name_kinds_alone() -> None:
    assert {pattern.kind for pattern in PATTERNS} | {*OPERATORS, "unknown"} == set(KINDS)
