"""Counted FLOPs are FlopCounterMode's, operator kind by kind and module by module."""

import pytest
import torch
from support.recorded import MODELS, NEEDS_DATA, WITH_SDPA, built, quiet, recorded_counts, torch_counts
from support.reference import images, token_ids
from torch import nn
from torch.utils import checkpoint

from modelmeter.live import record, record_call

RUNS = [
    (name, device, attention)
    for name in MODELS
    for device in ("meta", "cpu")
    for attention in (("eager", "sdpa") if name in WITH_SDPA else ("sdpa",))
    if not (device == "meta" and name in NEEDS_DATA)
]


def by_module(trace, of):
    return {path: of(cost) for path, cost in trace.by_layer().items() if of(cost)}


@pytest.mark.parametrize(("name", "device", "attention"), RUNS)
def test_forward(name, device, attention):
    module, args, kwargs = built(name, device, attention)
    with quiet():
        trace = record(module, *args, **kwargs)
        operators, modules = torch_counts(module, *args, **kwargs)
    assert recorded_counts(trace) == operators and operators
    assert by_module(trace, lambda cost: cost.counted_flops) == modules
    assert trace.backward.counted_flops == 0
    assert not trace.unpriced


@pytest.mark.parametrize(("name", "device", "attention"), RUNS)
def test_forward_and_backward(name, device, attention):
    module, args, kwargs = built(name, device, attention)
    with quiet():
        trace = record(module, *args, backward=True, **kwargs)
        operators, _ = torch_counts(module, *args, backward=True, **kwargs)
        forward, _ = torch_counts(module, *args, **kwargs)
    assert recorded_counts(trace) == operators
    assert trace.total.counted_flops == sum(forward.values())
    assert trace.total.counted_flops + trace.backward.counted_flops == sum(operators.values())
    assert not trace.unpriced


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradient_modes_around_change_nothing(mode):
    module, args, kwargs = built("vit", "cpu")
    here = record(module, *args, **kwargs)
    with mode():
        there = record(module, *args, **kwargs)
    assert there.total == here.total
    assert [(path, op.name) for path, op in there.operators()] == [(path, op.name) for path, op in here.operators()]


def test_a_backward_is_its_modules():
    # 2 FLOPs a multiply-add; the backward of a linear layer is a product for its weight and one for its input.
    first, last = 2 * 3 * 4 * 5, 2 * 3 * 5 * 2
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    trace = record(model, torch.randn(3, 4), backward=True)
    layers = {path: segment for path, segment in trace.segments() if path}
    backward = {path: segment.backward_numbers[2] for path, segment in layers.items()}
    assert backward == {"0": first, "1": 0, "2": 2 * last}  # the model's own input needs no gradient
    assert trace.total.counted_flops == first + last


class Cube(torch.autograd.Function):
    """Its forward is seen without gradients, its backward calls a product."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight.t(), x.t() @ grad


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        return Cube.apply(x, self.weight)


class Silent(nn.Module):
    """Runs operators that have no gradient, between those that do."""

    def forward(self, x):
        torch.arange(3) + 1
        return x


def test_a_custom_functions_backward_is_its_modules():
    model = nn.Sequential(nn.Linear(4, 4), Custom(), Silent(), nn.Linear(4, 4))
    trace = record(model, torch.randn(3, 4), backward=True)
    product = 2 * 3 * 4 * 4
    backward = {path: segment.backward_numbers[2] for path, segment in trace.segments() if path}
    assert backward == {"0": product, "1": 2 * product, "2": 0, "3": 2 * product}


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        self.first = nn.Linear(4, 4)
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint.checkpoint(self.block, self.first(x), use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_recomputes_in_the_backward(reentrant):
    module, x = Checkpointed(reentrant), torch.randn(3, 4)
    trace = record(module, x, backward=True)
    operators, _ = torch_counts(module, x, backward=True)
    product = 2 * 3 * 4 * 4
    assert recorded_counts(trace) == operators
    assert trace.total.counted_flops == 3 * product
    # Two products each for the block's layers, one for the first (its input needs no gradient); and run again: the
    # whole block, or without reentrance all of it but the last product, whose output nobody asks for.
    assert trace.backward.counted_flops == (2 * 2 + 1) * product + (2 if reentrant else 1) * product
    backward = {}
    for path, op in trace.operators():
        backward[path] = backward.get(path, 0) + op.backward.counted_flops
    assert backward["block.0"] == 3 * product and backward["first"] == product


def test_tied_weights_and_a_module_called_twice():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.body = nn.Embedding(7, 4), nn.Linear(4, 4)
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(self.body(self.body(self.embed(ids))))

    module, ids = Tied(), torch.tensor([[1, 2, 3]])
    trace = record(module, ids, backward=True)
    body, head = 2 * 3 * 4 * 4, 2 * 3 * 4 * 7
    assert trace.by_layer()["body"].counted_flops == 2 * body
    assert trace.by_layer()["head"].counted_flops == head
    assert [path for path, _ in trace.segments()] == ["", "embed", "body", "body", "head"]
    assert trace.backward.counted_flops == 2 * (2 * body + head)
    assert trace.total.weight_read_bytes == 4 * (3 * 4 + 2 * (4 * 4 + 4) + 4 * 7)  # embedded rows, body twice, head


def test_torchs_own_fused_layer_is_counted():
    """In eval mode and without gradients the whole layer is one operator; a module's hooks would keep torch from it."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    x = torch.randn(2, 5, 16)
    trace = record(layer, x)
    tokens = 2 * 5
    projections = 4 * 2 * tokens * 16 * 16
    scores_and_values = 2 * 2 * tokens * 5 * 16
    feed_forward = 2 * 2 * tokens * 16 * 32
    assert recorded_counts(trace) == {"_transformer_encoder_layer_fwd": projections + scores_and_values + feed_forward}
    assert recorded_counts(trace) == torch_counts(layer, x)[0]
    attention = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    trace = record(attention, x, x, x)
    assert recorded_counts(trace) == {"_native_multi_head_attention": projections + scores_and_values}
    assert not trace.unpriced


STAGES = {
    "vision": lambda model: model.model.get_image_features(pixel_values=images(1, 512)),
    "prefill": lambda model: model(input_ids=token_ids(2, 50), use_cache=True),
    "sam": lambda model: model.model.vision_tower.sam_encoder(images(1, 512)),
    "decoder_layers": lambda model: model.model.language_model(input_ids=token_ids(1, 20)),
}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_real_model(stage, attention, request):
    """Full size, on meta."""
    stages = request.getfixturevalue("real" if attention == "eager" else "real_sdpa")
    call = STAGES[stage]
    counted = stages.count(call)
    trace = record_call(stages.real, lambda: call(stages.real))
    assert recorded_counts(trace) == counted.by_operator
    modules = {path: flops for path, flops in counted.by_module.items() if flops and path}
    assert {p: n for p, n in by_module(trace, lambda cost: cost.counted_flops).items() if p} == modules
    assert not trace.unpriced
