"""The operator and the four pricing rules: matmul, elementwise, move, fused. Nothing else has a price."""

from collections.abc import Callable, Sequence
from typing import Any

from modelmeter.core.cost import add
from modelmeter.core.dims import Dim
from modelmeter.core.op import Numbers, Op
from modelmeter.core.recorder import TAKEN, Recorder, Segment, current
from modelmeter.core.tensor import DType, Role, Shape, Storage, Tensor

_NONE: Dim = 0  # the first bytes of a role take its place: an array is not added to nothing


def matmul(
    name: str,
    a: Tensor,
    b: Tensor,
    out_shape: Shape,
    flops: Dim,
    *,
    extra: Tensor | None = None,
    scales: Tensor | None = None,
    b_read_bytes: Dim = None,
    needed_flops: Dim = None,
    groups: Dim = 1,
    role: Role = "activation",
) -> Tensor:
    """A matrix product or convolution of `flops` FLOPs (2 a multiply-add); `extra` (a bias) is read too.

    Runs on tensor cores in bf16, fp16, fp8 and int8, on CUDA cores in fp32. `b_read_bytes` replaces what is read of `b`
    (of the experts, those hit); `needed_flops` is what the cores do where a counter sees more (a causal triangle);
    `groups` products share the rows; `role` is the output's. A quantised `a` comes with its `scales`: they are read
    too, and the output is in the dtype of `b`.
    Backward: its FLOPs once for each of the two operands that needs a gradient, as d(a) = d(out) b^T and
    d(b) = a^T d(out); each reads d(out) and the other operand and writes the gradient.
    """
    recorder = current(name)
    b_read = b.nbytes if b_read_bytes is None else b_read_bytes
    needed = flops if needed_flops is None else needed_flops
    needs_grad = a.needs_grad or b.needs_grad or (extra is not None and extra.needs_grad)
    out_dtype = a.dtype if scales is None else b.dtype
    out = recorder.take(out_shape, out_dtype, role, needs_grad=needs_grad)
    tensor, cuda = (needed, 0) if a.dtype.on_tensor_cores else (0, needed)
    pairs = [(a, a.nbytes), (b, b_read)]
    if extra is not None:
        pairs.append((extra, extra.nbytes))
    if scales is not None:
        pairs.append((scales, scales.nbytes))
    reads = _reads(pairs)
    numbers = _numbers(tensor, cuda, flops, reads, out.nbytes, to_cache=role == "kv")
    op = Op(name, "matmul", a.dtype, out_shape, numbers)
    op.groups = groups
    if recorder.options.grad and needs_grad:
        for x, size, other, other_size in ((a, a.nbytes, b, b_read), (b, b_read, a, a.nbytes)):
            if x.needs_grad or name == "convolution":  # torch's convolution keeps both of its operands
                recorder.keep(other)
            if x.needs_grad:
                again = _reads(((out, out.nbytes), (other, other_size)))
                op.backward_numbers = _plus(op.backward_numbers, _numbers(tensor, cuda, flops, again, size))
    recorder.add(op)
    return out


def elementwise(
    name: str,
    inputs: Sequence[Tensor],
    shape: Shape,
    dtype: DType,
    flops: Dim,
    *,
    saves: Sequence[int] = (),
    saves_output: bool = False,
    more: Sequence[tuple[Shape, DType]] = (),
    into: Tensor | None = None,
    role: Role = "activation",
) -> tuple[Tensor, ...]:
    """An operator of `flops` vector FLOPs (CUDA cores) that reads `inputs` and writes an output (or `into`) and `more`.

    Backward needs the inputs at the positions `saves`, the output if `saves_output`, and `more`. It does the same FLOPs
    for each input that needs a gradient, reads d(out) and what was kept, writes the gradients.
    """
    recorder = current(name)
    needs_grad = recorder.options.grad and any([x.needs_grad for x in inputs])
    out = recorder.take(shape, dtype, role, needs_grad=needs_grad) if into is None else into
    results = (out, *[recorder.take(*spec) for spec in more]) if more else (out,)
    count = flops if recorder.options.elementwise else 0
    written = out.nbytes
    for x in results[1:]:
        written = written + x.nbytes
    numbers = _numbers(0, count, 0, _reads_of(inputs), written, to_cache=role == "kv")
    op = Op(name, "elementwise", dtype, shape, numbers)
    if recorder.options.grad and needs_grad:
        kept = [*[inputs[i] for i in saves], *results[1:], *([out] if saves_output else [])]
        for x in kept:
            recorder.keep(x)
        op.backward_numbers = _gradients(inputs, count, _reads([(x, x.nbytes) for x in (out, *kept)]))
    recorder.add(op)
    return results


def move(
    name: str,
    inputs: Sequence[Tensor],
    shape: Shape,
    dtype: DType,
    *,
    read_bytes: Dim = None,
    write_bytes: Dim = None,
    role: Role = "activation",
    into: Tensor | None = None,
    when: Dim = 1,
    launches: Dim = 1,
    saves: Sequence[int] = (),
) -> Tensor:
    """A copy, cast, gather, scatter, concatenation or fill: bytes and no FLOPs.

    `read_bytes` and `write_bytes` replace what is read of the first input (rows of a table) and written, `role` is the
    output's, `into` an output that exists already, `when` a 0/1 dim for a copy that some sizes do not need (then the
    result is a view of the input), `launches` the kernels it takes. Backward reads d(out) and the inputs at the
    positions `saves` (indices), writes the inputs' gradients.
    """
    if type(when) is int and when == 0:
        return inputs[0].view(*shape)
    recorder = current(name)
    needs_grad = recorder.options.grad and any([x.needs_grad for x in inputs])
    out = recorder.take(shape, dtype, role, needs_grad=needs_grad) if into is None else into
    reads = _reads_of(inputs)
    if read_bytes is not None:
        reads = _reads([(inputs[0], read_bytes), *[(x, x.nbytes) for x in inputs[1:]]])
    written = out.nbytes if write_bytes is None else write_bytes
    numbers = _numbers(0, 0, 0, reads, written, to_cache=out.role == "kv")
    op = Op(name, "move", dtype, shape, numbers)
    op.launches = launches
    if recorder.options.grad and needs_grad:
        kept = [inputs[i] for i in saves]
        for x in kept:
            recorder.keep(x)
        op.backward_numbers = _gradients(inputs, 0, _reads([(x, x.nbytes) for x in (out, *kept)]))
    if type(when) is not int:
        op.launches = when
        op.numbers, op.backward_numbers = _where(when, op.numbers), _where(when, op.backward_numbers)
        _only_when(recorder, out, inputs[0], when)
        if inputs[0].role == "kv":
            out.role, out.cached = "kv", 1 - when
    recorder.add(op)
    return out


def fused(function: Callable[..., Tensor], name: str = "fused", *, recomputes: int = 0) -> Callable[..., Tensor]:
    """`function` as one kernel: the same FLOPs; only the tensors passed in and the result reach memory.

    Backward: that of its operators, its first `recomputes` matrix products again (a flash kernel keeps no scores), and
    reads d(out), the inputs and the output, writes the inputs' gradients.
    """

    def kernel(*args: Any, **kwargs: Any) -> Tensor:
        recorder = current(name)
        outside = recorder.open
        inside = recorder.segment = Segment(None, plain=recorder.plain)
        recorder.muted += 1
        result = function(*args, **kwargs)
        shape, dtype, needs_grad = result.shape, result.dtype, result.needs_grad
        del result  # what happens inside ends inside
        recorder.muted -= 1
        recorder.segment = outside
        inputs = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        out = recorder.take(shape, dtype, needs_grad=needs_grad)
        reads = _reads([(x, x.nbytes) for x in inputs])
        tensor, cuda, counted = inside.numbers[:3]
        op = Op(name, "fused", out.dtype, out.shape, _numbers(tensor, cuda, counted, reads, out.nbytes))
        if recorder.options.grad and out.needs_grad:
            op.backward_numbers = _fused_backward(recorder, inside, inputs, out, recomputes)
        recorder.add(op)
        return out

    return kernel


def _fused_backward(recorder: Recorder, inside: Segment, inputs: list[Tensor], out: Tensor, recomputes: int) -> Numbers:
    """FLOPs of the parts and of what is computed again; bytes of the inputs, the output, d(out) and the gradients."""
    products = [item for item in inside.items if isinstance(item, Op) and item.kind == "matmul"]
    flops = inside.backward_numbers[:3]
    for op in products[:recomputes]:
        flops = _plus(flops, op.numbers[:3])
    for x in (*inputs, out):
        recorder.keep(x)
    reads = _reads([(out, out.nbytes * 2), *[(x, x.nbytes) for x in inputs]])
    return _plus((*flops, 0, 0, 0, 0, 0), _gradients(inputs, 0, reads))


def _where(when: Dim, numbers: Numbers) -> Numbers:
    """The numbers of an operator that runs where `when` is 1; a plain 0 stays one."""
    return tuple([value if type(value) is int and value == 0 else value * when for value in numbers])


def _gradients(inputs: Sequence[Tensor], flops: Dim, reads: tuple[Dim, Dim, Dim]) -> Numbers:
    """One kernel that reads `reads` and writes the gradient of each input that needs one, `flops` FLOPs each."""
    wanted = [x for x in inputs if x.needs_grad]
    written: Dim = 0
    for x in wanted:
        written = add(written, x.nbytes)
    return _numbers(0, flops * len(wanted), 0, reads, written)


def _only_when(recorder: Recorder, result: Tensor, source: Tensor, when: Dim) -> None:
    """A copy that some sizes do not need takes memory where it is made; where it is not, it is a view of `source`.

    There the two share the source's memory: that part of it goes when both are gone.
    """
    storage, origin = result.storage, source.storage
    if storage is None:
        return
    recorder.open.events.pop()
    storage.nbytes = storage.nbytes * when
    recorder.open.events.append((TAKEN, storage.nbytes))
    if origin is not None:
        shared = Storage(recorder, origin.nbytes * (1 - when), origin.base)
        origin.nbytes, origin.base = origin.nbytes * when, shared
        storage.base = shared


def _reads_of(inputs: Sequence[Tensor]) -> tuple[Dim, Dim, Dim]:
    """(weight, activation, KV) bytes of the whole of `inputs`."""
    if len(inputs) == 1 and inputs[0].role == "activation":
        return 0, inputs[0].nbytes, 0
    return _reads([(x, x.nbytes) for x in inputs])


def _reads(pairs: Sequence[tuple[Tensor, Dim]]) -> tuple[Dim, Dim, Dim]:
    """(weight, activation, KV) bytes read."""
    weight: Dim = _NONE
    activation: Dim = _NONE
    kv: Dim = _NONE
    for x, num_bytes in pairs:
        if x.role == "activation":
            activation = num_bytes if activation is _NONE else activation + num_bytes
        elif x.role == "weight":
            weight = num_bytes if weight is _NONE else weight + num_bytes
        else:
            if x.storage is not None:  # a copy at some sizes
                copied = num_bytes * (1 - x.cached)
                activation = copied if activation is _NONE else activation + copied
                cached = num_bytes - copied
            else:
                cached = num_bytes
            kv = cached if kv is _NONE else kv + cached
    return weight, activation, kv


def _numbers(
    tensor: Dim, cuda: Dim, counted: Dim, reads: tuple[Dim, Dim, Dim], written: Dim, *, to_cache: bool = False
) -> Numbers:
    """In the order of `COST_FIELDS`. The gradient of a weight is written as an activation."""
    weight, activation, kv = reads
    if to_cache:
        return (tensor, cuda, counted, weight, activation, 0, kv, written)
    return (tensor, cuda, counted, weight, activation, written, kv, 0)


def _plus(a: Numbers, b: Numbers) -> Numbers:
    return tuple([add(x, y) for x, y in zip(a, b, strict=True)])
