"""What stands against running pages as asked is said first."""

from modelmeter.documents import Page
from modelmeter.report.timing.notes import cautions, notes

A4 = Page("a.pdf", 1, 1191, 1684, "a.pdf p1")


def test_nothing_stands_against_a_page_on_a_large_device(timed):
    assert cautions(timed(A4, decode_tokens=2)) == []


def test_tokens_beyond_the_positions(timed):
    # 903 image tokens and 10 of the prompt
    (said,) = cautions(timed(A4, decode_tokens=7280))
    assert "8193 tokens" in said and "8192 positions" in said
    assert cautions(timed(A4, decode_tokens=7279)) == []


def test_memory_that_is_too_small(timed):
    assert cautions(timed(A4, decode_tokens=2, device="rtx-3080")) == []
    timing = timed(A4, decode_tokens=2, device="rtx-3080", batch_size=64)
    (said,) = cautions(timing)
    assert "rtx-3080 does not hold this" in said
    assert notes(timing)[0] == said


def test_a_loop_over_experts_in_a_graph(timed):
    (said,) = cautions(timed(A4, decode_tokens=2, execution="graph"))
    assert "--experts grouped" in said
    assert cautions(timed(A4, decode_tokens=2, execution="graph", experts="grouped")) == []
