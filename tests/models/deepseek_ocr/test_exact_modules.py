"""Every twin alone against its real module: counted FLOPs and number of weights, as integers."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import torch
from support.compare import counted_by_operator
from support.decoder_cases import DECODER_CASES, rotary_product
from support.harness import trace_call
from support.reference import count, image_arguments, parameters, token_ids
from support.twin_cases import DECODER, EAGER, FLASH, UNUSED_PATCH_CONVOLUTION, VENDOR, Case, tensor
from support.vision_cases import VISION_CASES
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.models.unlimited_ocr.configuration_unlimited_ocr import UnlimitedOcrTextConfig
from transformers.models.unlimited_ocr.modeling_unlimited_ocr import UnlimitedOcrTextExperts

import modelmeter.models.deepseek_ocr as twins
from modelmeter import Conventions, DeepseekOCRModel, Layer, ViewPlan
from modelmeter.core.kv_cache import PastKV
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import BF16, FP32, INT64
from modelmeter.models.deepseek_ocr import deepseek_v2, llama, network


def network_of(c: Conventions) -> network.DeepseekOCRForCausalLM:
    return DeepseekOCRModel.from_config(**attrs.asdict(c)).network


def network_inputs(recorder: Recorder, _: Conventions) -> tuple[Any, ...]:
    """ids, attention mask, past and grid of 2 x 28 text tokens after 100."""
    return recorder.take((2, 28), INT64), recorder.take((2, 128), INT64), PastKV(length=100), (1, 1)


def call_network(module: nn.Module) -> Any:
    cache = DynamicCache()
    for index in range(12):
        cache.update(tensor(2, 10, 100, 128), tensor(2, 10, 100, 128), index)
    return module(input_ids=token_ids(2, 28), past_key_values=cache, use_cache=True)


def whole(name: str, ours: Callable[[Conventions], Layer], real: Callable[[PreTrainedModel], Any]) -> Case:
    return Case(
        name,
        ours,
        real,
        call_network,
        inputs=network_inputs,
        vision=False,
        vendor_flops=12 * rotary_product(28),
        vendor_parameters=UNUSED_PATCH_CONVOLUTION,
    )


class ImageFeatures(nn.Module):
    """The real vision method as a module: towers, projector, newlines, separator. Its weights: all of `model`."""

    def __init__(self, real: PreTrainedModel) -> None:
        super().__init__()
        self.real = real

    def forward(self, plan: ViewPlan, batch: int) -> Any:
        return self.real.get_image_features(**image_arguments(plan, batch))


def vision_stage(name: str, ours: Callable[[network.Backbone], Layer]) -> Case:
    plan, batch = ViewPlan.from_grid((2, 3)), 2
    return Case(
        name,
        lambda c: ours(network_of(c).model),
        lambda m: ImageFeatures(m.model),
        lambda m: m(plan, batch),
        inputs=lambda recorder, _: (
            plan.grid,
            batch,
            *[recorder.take((batch * number, 3, side, side), BF16) for number, side in plan.views],
        ),
        vendor_parameters=UNUSED_PATCH_CONVOLUTION,
    )


CASES: dict[type[Layer], list[Case]] = {
    **VISION_CASES,
    **DECODER_CASES,
    network.Backbone: [
        attrs.evolve(
            whole("backbone", lambda c: network_of(c).model, lambda m: m.model), vendor_flops=12 * rotary_product(28)
        )
    ],
    network.DeepseekOCRForCausalLM: [whole("network", network_of, lambda m: m)],
    network.VisionStage: [vision_stage("stage", network.VisionStage)],
}


WITHOUT_A_REAL_MODULE = {
    "sam._GridLayer": "abstract: the default input of SAM's layers",
    "network.ImageTokens": "inline in get_image_features: copies only; its two vectors are counted in parameters tests",
    "network.ImageTokenSplice": "inline in the real forward: comparisons and copies",
    "head.Head": "`lm_head` and a cast of the logits that the real forward makes inline",
    "network.CausalMask": "a function there (create_causal_mask): comparisons and copies",
    "masks.UnlimitedOcrMasks": "functions there (create_causal_mask and its reference-sliding kin): no products",
    "network.VisionBackbone": "the child of VisionStage that calls Backbone.encode; VisionStage's case runs it",
}


EACH_CASE = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{twin.__name__}-{case.name.replace(' ', '-')}")
        for twin, cases in CASES.items()
        for case in cases
    ],
)


def twin_trace(case: Case, conventions: Conventions) -> tuple[int, int]:
    """(counted FLOPs, parameters) of our side."""
    layer = case.ours(conventions)
    if case.inputs is None:
        trace = layer.trace_at(*case.sizes)
    else:
        trace = trace_call(layer, lambda recorder: case.inputs(recorder, conventions))
    return trace.total.counted_flops, layer.parameter_count()


def real_numbers(case: Case, model: PreTrainedModel) -> tuple[int, int]:
    module = case.real(model)
    wrapped = module if isinstance(module, nn.Module) else nn.Identity()
    return count(_Call(module, case.call)).total, parameters(wrapped)


class _Call(nn.Module):
    """A call as a module, for the counter's module tracking to have a root."""

    def __init__(self, module: nn.Module, call: Callable[[Any], Any]) -> None:
        super().__init__()
        self.module = module
        self.call = call

    def forward(self) -> Any:
        return self.call(self.module)


@EACH_CASE
def test_eager(real, case):
    assert twin_trace(case, EAGER) == real_numbers(case, real.real)


@EACH_CASE
def test_scaled_dot_product_attention(real_sdpa, case):
    """On meta it is taken apart into the same two products, whatever the mask."""
    assert twin_trace(case, FLASH) == real_numbers(case, real_sdpa.real)


@EACH_CASE
def test_vendor(real, real_sdpa, case):
    """The vendor's code beside transformers': the differences are named and counted in each case."""
    flops, weights = real_numbers(case, (real_sdpa if case.vision else real).real)
    expected = flops + case.vendor_flops, weights + case.vendor_parameters
    assert twin_trace(case, VENDOR) == expected


def test_routed_experts_as_a_loop_are_mm():
    """The loop over experts routes on data, so it runs on the CPU, small: 8 experts of 32, 100 tokens of 2 experts.

    Elsewhere the real model runs its experts as "batched_mm"; this shows that `mm` is what the loop does.
    """
    small = attrs.evolve(DECODER, hidden_size=80, moe_intermediate_size=32, n_routed_experts=8, num_experts_per_tok=2)
    config = UnlimitedOcrTextConfig(hidden_size=80, moe_intermediate_size=32, n_routed_experts=8, num_experts_per_tok=2)
    config._experts_implementation = "eager"
    loop = UnlimitedOcrTextExperts(config)
    for parameter in loop.parameters():
        nn.init.zeros_(parameter)
    chosen = torch.arange(100 * 2).view(100, 2) % 8
    counted = count(loop, torch.zeros(100, 80), chosen, torch.zeros(100, 2))
    layer = deepseek_v2.Experts(small, EAGER)
    trace = trace_call(
        layer,
        lambda recorder: (
            recorder.take((100, 80), BF16),
            recorder.take((100, 2), FP32),
            recorder.take((100, 2), INT64),
        ),
    )
    assert counted_by_operator(trace) == counted.by_operator == {"mm": 2 * 100 * 2 * (80 * 64 + 32 * 80)}


def test_every_twin_has_a_case():
    for module in pkgutil.iter_modules(twins.__path__):
        importlib.import_module(f"{twins.__name__}.{module.name}")
    found = {kind for kind in subclasses(Layer) if kind.__module__.startswith(twins.__name__)}
    names = {kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}" for kind in found}
    without = {name for kind, name in names.items() if kind not in CASES}
    assert without == set(WITHOUT_A_REAL_MODULE)
    assert all(CASES.values())


@pytest.mark.parametrize("conventions", [EAGER, FLASH, VENDOR], ids=["eager", "flash", "vendor"])
def test_each_case_records_its_class(conventions):
    """The class a case stands under is the class that is recorded, or one that calls it."""
    for twin, cases in CASES.items():
        for case in cases:
            layer = case.ours(conventions)
            if twin in (llama.LlamaAttention, llama.LlamaFlashAttention2):
                flash = conventions.attention == "flash"
                assert type(layer) is (llama.LlamaFlashAttention2 if flash else llama.LlamaAttention)
            else:
                assert type(layer) is twin


def subclasses(kind: type[Layer]) -> Iterator[type[Layer]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)
