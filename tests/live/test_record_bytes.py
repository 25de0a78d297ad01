"""Bytes read and written, operator by operator, as arithmetic. fp32 is 4 bytes, an index 8, a mask 1."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modelmeter.core.cost import Cost
from modelmeter.live import record


class Do(nn.Module):
    """Runs a function of the inputs; `weight` is a parameter, should it ask for one."""

    def __init__(self, function, *weights):
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(weights)

    def forward(self, *inputs):
        return self.function(*inputs, *self.weights)


def costs(function, *inputs, weights=()):
    """(operator, bytes of weights read, of activations read, of activations written), in order."""
    trace = record(Do(function, *weights), *inputs)
    assert not trace.unpriced
    return [
        (op.name, op.cost.weight_read_bytes, op.cost.activation_read_bytes, op.cost.activation_write_bytes)
        for _, op in trace.operators()
    ]


DEVICES = pytest.mark.parametrize("device", ["meta", "cpu"])


def zeros(*shape, device, dtype=torch.float32):
    return torch.zeros(shape, device=device, dtype=dtype)


def indices(*values, device):
    return torch.tensor(values, device=device)


@DEVICES
def test_products(device):
    x, weight, bias = zeros(3, 4, device=device), zeros(5, 4, device=device), zeros(5, device=device)
    assert costs(F.linear, x, weights=(weight, bias)) == [("addmm", 4 * (5 * 4 + 5), 4 * 3 * 4, 4 * 3 * 5)]
    assert costs(F.linear, x, weights=(weight,)) == [("mm", 4 * 5 * 4, 4 * 3 * 4, 4 * 3 * 5)]
    a, b = zeros(2, 3, 4, device=device), zeros(2, 4, 5, device=device)
    assert costs(torch.bmm, a, b) == [("bmm", 0, 4 * 2 * (3 * 4 + 4 * 5), 4 * 2 * 3 * 5)]
    half = zeros(3, 4, device=device, dtype=torch.bfloat16)
    assert costs(torch.mm, half, half.t()) == [("mm", 0, 2 * 2 * 3 * 4, 2 * 3 * 3)]
    assert costs(torch.mv, x, zeros(4, device=device)) == [("mv", 0, 4 * (3 * 4 + 4), 4 * 3)]


@DEVICES
def test_convolution(device):
    x, weight, bias = zeros(2, 3, 8, 8, device=device), zeros(6, 3, 3, 3, device=device), zeros(6, device=device)
    read, written = 4 * 2 * 3 * 8 * 8, 4 * 2 * 6 * 6 * 6
    assert costs(F.conv2d, x, weights=(weight, bias)) == [("convolution", 4 * (6 * 3 * 9 + 6), read, written)]


@DEVICES
def test_embedding_reads_the_rows_it_gives(device):
    ids = indices(1, 2, 2, device=device)
    found = costs(lambda ids, table: F.embedding(ids, table), ids, weights=(zeros(1000, 4, device=device),))
    assert found == [("embedding", 4 * 3 * 4, 8 * 3, 4 * 3 * 4)]


@DEVICES
def test_norms(device):
    x, weight, bias = zeros(3, 4, device=device), zeros(4, device=device), zeros(4, device=device)
    found = costs(lambda x, w, b: F.layer_norm(x, (4,), w, b), x, weights=(weight, bias))
    assert found == [
        ("native_layer_norm", 4 * 2 * 4, 4 * 3 * 4, 4 * (3 * 4 + 2 * 3))
    ]  # with mean and 1/std of each row


@DEVICES
def test_elementwise_reads_each_operand_at_its_own_size(device):
    x, row = zeros(3, 4, device=device), zeros(4, device=device)
    assert costs(torch.add, x, row) == [("add", 0, 4 * (3 * 4 + 4), 4 * 3 * 4)]
    assert costs(lambda x: x * 2, x) == [("mul", 0, 4 * 3 * 4, 4 * 3 * 4)]
    assert costs(torch.add, zeros(3, 1, device=device), row) == [("add", 0, 4 * (3 + 4), 4 * 3 * 4)]
    found = costs(torch.where, zeros(3, 4, device=device, dtype=torch.bool), x, row)
    assert found == [("where", 0, 3 * 4 + 4 * (3 * 4 + 4), 4 * 3 * 4)]


@DEVICES
def test_views_cost_nothing(device):
    def views(x):
        x = x.view(4, 3).transpose(0, 1)[1:, ::2].unsqueeze(0).expand(5, -1, -1).permute(1, 2, 0).squeeze()
        return x.unbind(0)[0].detach(), x.split(1), x.chunk(2), x.diagonal(), x[..., None]

    assert costs(views, zeros(3, 4, device=device)) == []
    assert costs(lambda x: x.unsqueeze_(0).transpose_(0, 1).squeeze_(), zeros(3, 4, device=device)) == []


@DEVICES
def test_views_are_read_at_their_own_size(device):
    x = zeros(3, 4, device=device)
    assert costs(lambda x: x[1:] + 1, x) == [("add", 0, 4 * 2 * 4, 4 * 2 * 4)]  # a slice
    assert costs(lambda x: x[:1].expand(7, 4) + 1, x) == [("add", 0, 4 * 4, 4 * 7 * 4)]  # an expanded axis, once
    # Windows that overlap: 4 of 3 elements over a row of 6.
    row = zeros(6, device=device)
    assert costs(lambda x: x.unfold(0, 3, 1) + 1, row) == [("add", 0, 4 * 6, 4 * 4 * 3)]
    assert costs(lambda x: x.t().contiguous(), x) == [("clone", 0, 4 * 3 * 4, 4 * 3 * 4)]
    assert costs(lambda x: x.contiguous(), x) == []
    assert costs(lambda x: x.t().reshape(12), x) == [("clone", 0, 4 * 3 * 4, 4 * 3 * 4)]


@DEVICES
def test_copies(device):
    x, y = zeros(3, 4, device=device), zeros(2, 4, device=device)
    assert costs(lambda x, y: torch.cat([x, y]), x, y) == [("cat", 0, 4 * 5 * 4, 4 * 5 * 4)]
    assert costs(torch.clone, x) == [("clone", 0, 4 * 3 * 4, 4 * 3 * 4)]
    assert costs(lambda x: x.to(torch.float16), x) == [("_to_copy", 0, 4 * 3 * 4, 2 * 3 * 4)]
    assert costs(lambda x: x.to(torch.float32), x) == []
    assert costs(lambda x, y: x[:2].copy_(y), x, y) == [("copy", 0, 4 * 2 * 4, 4 * 2 * 4)]  # the part, not read
    assert costs(lambda x, y: x[:2].copy_(y[:1]), x, y) == [("copy", 0, 4 * 4, 4 * 2 * 4)]  # broadcast from one row
    assert costs(lambda x: F.pad(x, (1, 1)), x) == [("constant_pad_nd", 0, 4 * 3 * 4, 4 * 3 * 6)]


@DEVICES
def test_fills_read_nothing(device):
    x = zeros(3, 4, device=device)
    size = 4 * 3 * 4
    assert costs(torch.zeros_like, x) == [("zeros_like", 0, 0, size)]
    assert costs(lambda x: x.new_zeros(3, 4), x) == [("new_zeros", 0, 0, size)]
    assert costs(lambda x: torch.full((3, 4), 1.0, device=x.device), x) == [("full", 0, 0, size)]
    assert costs(lambda x: torch.arange(5, device=x.device), x) == [("arange", 0, 0, 8 * 5)]
    assert costs(lambda x: x.zero_(), x) == [("zero", 0, 0, size)]
    assert costs(lambda x: x[1:].fill_(1.0), x) == [("fill", 0, 0, 4 * 2 * 4)]
    assert costs(torch.empty_like, x) == []
    assert costs(lambda x: x.normal_(), x) == [("normal", 0, 0, size)]


@DEVICES
def test_gathers_read_what_they_give(device):
    x, rows = zeros(100, 4, device=device), indices(1, 5, 5, device=device)
    assert costs(lambda x, i: x[i], x, rows) == [("index", 0, 4 * 3 * 4 + 8 * 3, 4 * 3 * 4)]
    assert costs(lambda x, i: x.index_select(0, i), x, rows) == [("index_select", 0, 4 * 3 * 4 + 8 * 3, 4 * 3 * 4)]
    column = indices([1], [2], device=device)
    assert costs(lambda x, i: x.gather(1, i), x, column) == [("gather", 0, 4 * 2 + 8 * 2, 4 * 2)]


@DEVICES
def test_scatters_write_only_the_rows_they_change(device):
    x, rows, i = zeros(100, 4, device=device), zeros(3, 4, device=device), indices(1, 5, 6, device=device)
    part = 4 * 3 * 4
    assert costs(lambda x, r, i: x.index_add_(0, i, r), x, rows, i) == [("index_add", 0, 2 * part + 8 * 3, part)]
    assert costs(lambda x, r, i: x.index_copy_(0, i, r), x, rows, i) == [("index_copy", 0, part + 8 * 3, part)]
    assert costs(lambda x, i: x.index_fill_(0, i, 1.0), x, i) == [("index_fill", 0, 8 * 3, part)]
    put = "index_put"
    assert costs(lambda x, r, i: x.index_put_((i,), r), x, rows, i) == [(put, 0, part + 8 * 3, part)]
    assert costs(lambda x, r, i: x.index_put_((i,), r, True), x, rows, i) == [(put, 0, 2 * part + 8 * 3, part)]
    # One value for all that the indices select: 3 rows, and 3 single elements.
    one = zeros(device=device)
    assert costs(lambda x, v, i: x.index_put_((i,), v), x, one, i) == [(put, 0, 4 + 8 * 3, part)]
    assert costs(lambda x, v, i: x.index_put_((i, i - i), v), x, one, i)[-1] == (put, 0, 4 + 2 * 8 * 3, 4 * 3)
    index, source = indices([0, 1], [2, 3], device=device), zeros(100, 4, device=device)
    taken = 4 * 4  # of the source as much as there are indices
    assert costs(lambda x, s, i: x.scatter_(0, i, s), x, source, index) == [("scatter", 0, taken + 8 * 4, taken)]
    assert costs(lambda x, i: x.scatter_(0, i, 1.0), x, index) == [("scatter", 0, 8 * 4, taken)]
    found = costs(lambda x, s, i: x.scatter_add_(0, i, s), x, source, index)
    assert found == [("scatter_add", 0, 2 * taken + 8 * 4, taken)]
    found = costs(lambda x, s, i: x.scatter_reduce_(0, i, s, "amax"), x, source, index)
    assert found == [("scatter_reduce", 0, 2 * taken + 8 * 4, taken)]
    whole = 4 * 100 * 4  # not in place: a copy of all
    found = costs(lambda x, s, i: x.scatter(0, i, s), x, rows[:1], index[:1])
    assert found[0][3] == whole


def test_masks():
    x, mask = torch.zeros(3, 4), torch.tensor([True, False, True])
    size = 4 * 3 * 4
    assert costs(lambda x, m: x.masked_fill(m[:, None], 0.0), x, mask) == [("masked_fill", 0, size + 3, size)]
    assert costs(lambda x, m: x.masked_fill_(m[:, None], 0.0), x, mask) == [("masked_fill", 0, 3, size)]
    rows = torch.ones(2, 4)
    assert costs(lambda x, m, r: x.index_put_((m,), r), x, mask, rows) == [("index_put", 0, 3 + 4 * 8, 4 * 8)]
    found = costs(lambda x, m, r: x.masked_scatter_(m[:, None].expand(3, 4), r), x, mask, rows)
    assert found == [("masked_scatter", 0, 3 + 4 * 8, 4 * 8)]


@DEVICES
def test_in_place_and_out(device):
    x, y = zeros(3, 4, device=device), zeros(3, 4, device=device)
    size = 4 * 3 * 4
    assert costs(lambda x, y: x.add_(y), x, y) == [("add", 0, 2 * size, size)]
    assert costs(lambda x: x.mul_(2), x) == [("mul", 0, size, size)]
    assert costs(lambda x, y: torch.add(x, x, out=y), x, y) == [("add", 0, 2 * size, size)]  # y is not read
    assert costs(lambda x, y: torch.mm(x, x.t(), out=y[:, :3]), x, y) == [("mm", 0, 2 * size, 4 * 3 * 3)]
    assert costs(lambda x, y: x.addmm_(y[:, :3], x), x, y)[0][1:] == (0, 4 * 3 * 3 + 2 * size, size)


@DEVICES
def test_lists_of_tensors(device):
    x, y = zeros(3, 4, device=device), zeros(2, device=device)
    size = 4 * (3 * 4 + 2)
    assert costs(lambda x, y: torch._foreach_add_([x, y], 1.0), x, y) == [("_foreach_add", 0, size, size)]
    found = costs(lambda x, y: torch._foreach_mul([x, y], [x, y]), x, y)
    assert found == [("_foreach_mul", 0, 2 * size, size)]
    trace = record(Do(lambda x, y: torch._foreach_add_([x, y], 1.0)), x, y)
    assert trace.total.cuda_flops == 3 * 4 + 2


@DEVICES
def test_an_out_that_grows(device):
    x, out = zeros(3, 4, device=device), zeros(0, device=device)
    trace = record(Do(lambda x, out: torch.add(x, 1, out=out)), x, out)
    assert trace.total == Cost(cuda_flops=12, activation_read_bytes=48, activation_write_bytes=48)
    assert trace.peak_bytes == 48 + 48


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_attention_kernel(kv_heads):
    q, k = torch.zeros(2, 4, 5, 8), torch.zeros(2, kv_heads, 7, 8)
    kernel = "_scaled_dot_product_flash_attention_for_cpu"
    found = costs(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), q, k, k)
    read, out, sums = 4 * 2 * (4 * 5 * 8 + 2 * kv_heads * 7 * 8), 4 * 2 * 4 * 5 * 8, 4 * 2 * 4 * 5
    assert found == [(kernel, 0, read, out + sums)]


def test_attention_kernel_reads_an_expanded_bias_once():
    q, k = torch.zeros(2, 4, 5, 8), torch.zeros(2, 4, 7, 8)
    bias = torch.zeros(1, 1, 5, 7).expand(2, 4, 5, 7)
    ((_, _, read, _),) = costs(lambda q, k, v, b: F.scaled_dot_product_attention(q, k, v, b), q, k, k, bias)
    assert read == 4 * 2 * 4 * (5 * 8 + 2 * 7 * 8) + 4 * 5 * 7


@DEVICES
def test_grouped_product_reads_the_groups_that_have_rows(device):
    dtype = torch.bfloat16
    x, experts = zeros(6, 16, device=device, dtype=dtype), zeros(8, 16, 8, device=device, dtype=dtype)
    ends = torch.tensor([2, 2, 6, 6, 6, 6, 6, 6], dtype=torch.int32, device=device)
    found = costs(lambda x, ends, w: F.grouped_mm(x, w, offs=ends), x, ends, weights=(experts,))
    hit = 2 if device == "cpu" else 6  # without data each row is taken to have an expert of its own
    assert found == [("_grouped_mm", 2 * hit * 16 * 8, 2 * 6 * 16 + 4 * 8, 2 * 6 * 8)]


@DEVICES
def test_losses_read_what_they_pick(device):
    logits, target = zeros(3, 50, device=device), indices(1, 2, 3, device=device)
    softmax, nll = costs(F.cross_entropy, logits, target)
    assert softmax == ("_log_softmax", 0, 4 * 3 * 50, 4 * 3 * 50)
    assert nll == ("nll_loss_forward", 0, 4 * 3 + 8 * 3, 4 + 4)  # the loss and the sum of the classes' weights


def test_batch_norm_writes_its_running_statistics():
    norm, x = nn.BatchNorm2d(3), torch.randn(2, 3, 4, 4)
    size, channel = 4 * 2 * 3 * 16, 4 * 3
    trace = record(norm, x)
    counter, running = [op.cost for _, op in trace.operators()]
    assert (counter.weight_read_bytes, counter.activation_write_bytes) == (8, 8)  # num_batches_tracked
    assert running.weight_read_bytes == 4 * channel  # weight, bias, running mean and variance
    assert running.activation_write_bytes == size + 2 * channel + 2 * channel  # output, mean and 1/std; running ones
    assert running.cuda_flops == 8 * x.numel()
    trace = record(norm.eval(), x)
    assert trace.total.cuda_flops == 4 * x.numel()
    assert trace.total.activation_write_bytes == size


def test_a_sparse_gradient_is_its_rows():
    trace = record(nn.Embedding(1000, 4, sparse=True), torch.tensor([1, 2, 2]), backward=True)
    made = {op.name: op.backward.activation_write_bytes for _, op in trace.operators() if any(op.backward_numbers)}
    assert max(made.values()) == 4 * 3 * 4 + 8 * 3  # rows and their indices, not a table's 4 * 1000 * 4


def test_backward_bytes():
    trace = record(nn.Linear(4, 5, bias=False), torch.randn(3, 4), backward=True)
    ones, product = (op.backward for _, op in reversed(list(trace.operators())) if any(op.backward_numbers))
    assert ones.activation_write_bytes == 4 * 3 * 5
    assert product.activation_read_bytes == 4 * (3 * 5 + 3 * 4)
    assert product.activation_write_bytes == 4 * 5 * 4
