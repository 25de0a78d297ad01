"""The formulas that torch's counter lacks, by hand, and what they make of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modelmeter.live import FLOP_FORMULAS, record
from modelmeter.live.recording import flops

BF16 = torch.bfloat16


def counted(call, *tensors, mapping=FLOP_FORMULAS):
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with counter:
        call(*tensors)
    return counter.get_total_flops()


def empty(*shape):
    return torch.empty(*shape, device="meta", dtype=BF16)


def ends(*values):
    return torch.tensor(values, dtype=torch.int32, device="meta")


GROUPED = {
    # one matrix a group of rows: transformers' experts
    "rows": (empty(6, 16), empty(4, 16, 8), 2 * 6 * 16 * 8),
    # one matrix of rows for each group of columns
    "columns": (empty(4, 8, 16), empty(16, 32), 2 * 32 * 16 * 8),
    # a matrix each
    "batch": (empty(4, 8, 16), empty(4, 16, 8), 4 * (2 * 8 * 16 * 8)),
    # the inner axis is split: the gradient of the experts' weights
    "inner": (empty(8, 32), empty(32, 16), 2 * 8 * 32 * 16),
}


@pytest.mark.parametrize("form", GROUPED)
def test_grouped_mm(form):
    a, b, expected = GROUPED[form]
    assert flops.grouped_mm(a.shape, b.shape) == expected
    offs = {"rows": ends(2, 2, 6, 6), "columns": ends(8, 8, 16, 32), "batch": None, "inner": ends(8, 8, 16, 32)}[form]
    assert counted(lambda: F.grouped_mm(a, b, offs=offs)) == expected
    assert counted(lambda: F.grouped_mm(a, b, offs=offs), mapping={}) == 0  # the trap


def test_grouped_mm_is_the_loop_over_groups():
    x, experts = torch.randn(6, 16, dtype=BF16), torch.randn(3, 16, 8, dtype=BF16)
    groups = ((0, 2), (2, 2), (2, 6))
    loop = counted(lambda: [x[start:end] @ experts[i] for i, (start, end) in enumerate(groups) if end > start])
    assert loop == flops.grouped_mm(x.shape, experts.shape)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (4, 1)])
def test_attention_is_eager_attention(heads, kv_heads):
    """On the CPU one kernel; every query head has its scores and values, grouped heads share keys."""
    q, k = torch.randn(2, heads, 5, 8), torch.randn(2, kv_heads, 7, 8)

    def eager(q, k):
        k = k.repeat_interleave(heads // kv_heads, dim=1)
        return torch.softmax(q @ k.transpose(-1, -2), -1) @ k

    def fused(q, k):
        return F.scaled_dot_product_attention(q, k, k, enable_gqa=heads != kv_heads)

    assert flops.attention(q.shape, k.shape, k.shape) == 2 * 2 * heads * 5 * 7 * (8 + 8)
    assert counted(fused, q, k) == counted(eager, q, k) == flops.attention(q.shape, k.shape, k.shape)
    assert counted(fused, q, k, mapping={}) == 0  # the trap


def test_attention_backward_is_eagers_and_the_scores_again():
    q, k, v = (torch.randn(2, 4, n, 8, requires_grad=True) for n in (5, 7, 7))

    def both(attention):
        forward = counted(attention, q, k, v)
        return counted(lambda: attention(q, k, v).sum().backward()) - forward

    eager = both(lambda q, k, v: torch.softmax(q @ k.transpose(-1, -2), -1) @ v)
    fused = both(F.scaled_dot_product_attention)
    scores = 2 * 2 * 4 * 5 * 7 * 8
    assert eager == 4 * scores  # gradients of values, weights, queries, keys
    assert fused == eager + scores == flops.attention_backward(q.shape, q.shape, k.shape, v.shape)
    assert both(lambda q, k, v: F.scaled_dot_product_attention(q, k, v)) == fused


def test_flash_attn_packages_layout():
    q, k = (2, 5, 4, 8), (2, 7, 2, 8)
    assert flops.flash_attn(q, k, k) == 2 * 2 * 4 * 5 * 7 * (8 + 8)
    assert flops.flash_attn_backward(q, q, k, k) == 2 * 2 * 4 * 5 * 7 * 5 * 8


@pytest.mark.parametrize(
    ("call", "shapes", "expected"),
    [
        (torch.mv, [(3, 4), (4,)], 2 * 3 * 4),
        (torch.dot, [(5,), (5,)], 2 * 5),
        (torch.addmv, [(3,), (3, 4), (4,)], 2 * 3 * 4),
        (lambda c, a, b: c.addmm_(a, b), [(3, 5), (3, 4), (4, 5)], 2 * 3 * 4 * 5),
        (lambda c, a, b: c.baddbmm_(a, b), [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 2 * 2 * 3 * 4 * 5),
        (torch.addbmm, [(3, 5), (2, 3, 4), (2, 4, 5)], 2 * 2 * 3 * 4 * 5),
    ],
)
def test_products_that_torch_does_not_count(call, shapes, expected):
    tensors = [torch.randn(*shape) for shape in shapes]
    assert counted(call, *tensors) == expected
    assert counted(call, *tensors, mapping={}) == 0


def test_torch_counts_the_rest_itself():
    """Ours are additions: where torch has a formula, it is torch's."""
    counter = FlopCounterMode(display=False)
    missing = [packet for packet in FLOP_FORMULAS if packet in counter.flop_registry]
    assert missing == []


def test_a_page_on_the_cpu_is_counted_in_full():
    """Attention and experts as transformers 5 runs them by default, against the same model in eager."""
    from support.recorded import mixtral, quiet

    ids = torch.randint(3, 50, (2, 6))
    with quiet():
        model = mixtral("grouped_mm").eval()

        def page(attention, experts, mapping):
            model.set_attn_implementation(attention)
            model.config._experts_implementation = experts
            return counted(lambda: model(ids, use_cache=False), mapping=mapping)

        full = page("eager", "eager", {})
        assert page("sdpa", "grouped_mm", FLOP_FORMULAS) == full
        assert page("sdpa", "grouped_mm", {}) < full
        assert record(model, ids, use_cache=False).total.counted_flops == full


def test_recorded_kinds():
    q = torch.randn(1, 2, 3, 8)

    class Attends(nn.Module):
        def forward(self, q):
            return F.scaled_dot_product_attention(q, q, q) @ q.transpose(-1, -2)

    kinds = {op.name: op.kind for _, op in record(Attends(), q).operators()}
    assert kinds.pop("_scaled_dot_product_flash_attention_for_cpu") == "fused"
    assert kinds.pop("bmm") == "matmul"
