"""Cases: what is called is what is priced."""

import math

import pytest
import torch

from modelmeter.core import ops
from modelmeter.core.tensor import BF16
from modelmeter.live.calibration import attention, products, traffic
from modelmeter.live.calibration.cases import Case, Pool, measure, priced
from modelmeter.live.calibration.clock import CPUClock, Timing, clock_of, keep_memory
from modelmeter.live.recording.record import record_call

CPU = torch.device("cpu")
CASES = [
    *products.product_cases(quick=True),
    *attention.attention_cases(quick=True),
    *traffic.traffic_cases(quick=True),
]


@pytest.fixture(scope="module")
def pool():
    """64 MB of random numbers."""
    return Pool(CPU, 64 << 20)


def outputs(result):
    """The tensors of a result: one, several, or a list of parts."""
    return [result] if isinstance(result, torch.Tensor) else [x for part in result for x in outputs(part)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.name}")
def test_the_call_gives_what_its_operator_is_priced_for(case, pool):
    found = outputs(case.prepare(pool)())
    if case.name.startswith(("topk", "sort")):
        found = found[:1]  # the operator's shape is that of the values
    assert sum(x.numel() for x in found) == math.prod(case.op.shape)
    assert {x.dtype for x in found} <= {torch.bfloat16, torch.float32}


@pytest.mark.parametrize("case", [c for c in CASES if c.op.numbers[2]], ids=lambda case: f"{case.kind}: {case.name}")
def test_its_flops_are_those_of_the_real_operators(case, pool):
    call = case.prepare(pool)
    real = record_call(torch.nn.Identity(), call, ((), {}))
    assert real.total.counted_flops == case.op.numbers[2]


def test_each_set_of_cases_is_of_every_class():
    full = [
        *products.product_cases(quick=False),
        *attention.attention_cases(quick=False),
        *traffic.traffic_cases(quick=False),
    ]
    large = [
        *products.product_cases(quick=False, large=True),
        *attention.attention_cases(quick=False, large=True),
        *traffic.traffic_cases(quick=False, large=True),
    ]
    assert {case.kind for case in CASES} == {case.kind for case in full} == {case.kind for case in large}
    assert len({case.name for case in large}) == len(large)
    assert {case.name for case in full} < {case.name for case in large}


def test_a_case_is_one_operator():
    with pytest.raises(ValueError, match="one operator"):
        priced(lambda r: ops.unary("mul", ops.unary("mul", r.take((3,), BF16))))


def test_a_pool_hands_out_other_memory_until_it_is_through():
    pool = Pool(CPU, 4 * 4096 * 2)  # four pages of 16-bit numbers
    starts = [pool.take(4096).data_ptr() for _ in range(5)]
    assert len(set(starts)) == 4
    assert starts[4] == starts[0]
    with pytest.raises(ValueError, match="the pool holds"):
        pool.take(5 * 4096)


def test_rounds_interleave_the_cases(pool):
    order = []
    case = priced(lambda r: ops.unary("mul", r.take((3,), BF16)))
    cases = [Case(name=name, op=case, prepare=lambda p, n=name: order.append(n) or (lambda: None)) for name in "ab"]
    said = []
    samples = measure(cases, CPUClock(), pool, rounds=2, seconds=1e-5, say=said.append)
    assert order == ["a", "b", "a", "b"]
    assert [sample.name for sample in samples] == ["a", "b"]
    assert said[0] == "round 1 of 2: elementwise, a"


def test_a_timing_is_the_median_with_its_spread():
    found = Timing.of([1.0, 5.0, 2.0, 3.0, 4.0])
    assert (found.seconds, found.low, found.high, found.repeats) == (3.0, 1.0, 5.0, 5)
    assert found.spread == (4.0 - 2.0) / 3.0  # the quartiles of 1, 2, 3, 4, 5
    assert Timing.of([2.0]).spread == 0


def test_one_thread_is_measured_by_its_processor_time():
    torch.set_num_threads(1)
    assert clock_of(CPU).name == "processor time of one thread"
    torch.set_num_threads(2)
    assert clock_of(CPU).name == "wall clock"


def test_memory_is_kept_where_glibc_is(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", ""))
    assert keep_memory() is False
