"""Pages, output tokens and servers."""

import pytest

from modelmeter import ModelMeterError
from modelmeter.hardware.capacity.server import Server
from modelmeter.hardware.capacity.statistics import estimate, student_t_975
from modelmeter.hardware.capacity.workload import OutputTokens, PageKind, PageMix


def test_a_page_of_n_tokens_takes_n_minus_1_decode_steps(pages):
    assert pages(900).steps == 899
    assert pages(1).steps == 0


def test_cached_tokens_are_the_mean_over_decode_steps():
    mix = PageMix((PageKind(name="a", context=100),), OutputTokens((3, 5), (1.0, 1.0)))
    # Pages of 3 tokens hold 100, 101 before their two steps; pages of 5 hold 100 to 103 before their four.
    held = [100, 101, 100, 101, 102, 103]
    assert mix.cached == pytest.approx(sum(held) / len(held))


def test_blocks_are_those_of_the_end():
    mix = PageMix((PageKind(name="a", context=30),), OutputTokens((3, 4), (1.0, 3.0)))
    # 30 + 2 tokens end a block of 16, one more begins the third; the last token is never cached.
    assert [mix.blocks(0, 3), mix.blocks(0, 4)] == [2, 3]
    # A quarter of the pages decode for two steps, the others for three: so much more often are these met.
    assert mix.held_blocks == pytest.approx((2 * 0.25 * 2 + 3 * 0.75 * 3) / (0.25 * 2 + 0.75 * 3))
    assert mix.most_blocks == 3


def test_a_sample_counts_each_length():
    assert OutputTokens.empirical([7, 5, 7]) == OutputTokens((5, 7), (1.0, 2.0))


@pytest.mark.parametrize(("freedom", "point"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (9, 2.2622), (30, 2.0423)])
def test_students_t_is_that_of_the_tables(freedom, point):
    assert student_t_975(freedom) == pytest.approx(point, rel=2e-3)


def test_the_interval_of_a_mean():
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half_width == pytest.approx(student_t_975(2) * (1 / 3) ** 0.5)  # variance 1, of three
    assert estimate([1.0]).half_width == float("inf")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: OutputTokens((0,), (1.0,)), "at least 1 output token, got 0"),
        (lambda: OutputTokens((5,), (1.0, 2.0)), "as many weights"),
        (lambda: OutputTokens((), ()), "empty"),
        (lambda: OutputTokens((5,), (0.0,)), "weights must be positive"),
        (lambda: PageKind(name="a", context=0), "context must be positive"),
        (lambda: Server(max_batch=0), "max_batch must be 1 or more, got 0"),
        (lambda: Server(max_batch=1, policy="fifo"), "choose one of prefill-first, chunked"),
        (lambda: Server(max_batch=64, policy="chunked", token_budget=64), "raise the budget"),
        (lambda: Server(max_batch=1, host_workers=0), "host_workers"),
    ],
)
def test_what_cannot_be(make, says):
    with pytest.raises(ModelMeterError, match=says):
        make()


def test_a_page_larger_than_the_memory_is_an_error(pages):
    with pytest.raises(ModelMeterError, match="one page takes 113 KV blocks, the device has room for 112"):
        Server(max_batch=4, kv_blocks=112).check(pages(900, context=909))  # (909 + 899) / 16 = 113
