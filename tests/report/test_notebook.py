"""What a notebook shows: HTML that is well formed, with the numbers of the object."""

from html.parser import HTMLParser

import numpy as np
import pytest
import sympy

from modelmeter import Cost, DeepseekOCRModel, StageCost
from modelmeter.report import units
from modelmeter.report.notebook import MOST_ROWS, table


class Table(HTMLParser):
    """Rows of cells, and that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture
def model():
    found = DeepseekOCRModel.from_config()
    found.start_prefill(100)
    return found


def test_a_cost_is_shown_exactly():
    rows = Table(Cost(tensor_flops=2_000_000, cuda_flops=10, kv_read_bytes=1024)._repr_html_()).rows
    assert ["tensor flops", "2.00 M", "2,000,000"] in rows
    assert ["flops", "2.00 M", "2,000,010"] in rows
    assert ["kv read bytes", "1.00 KiB", "1,024"] in rows


def test_a_sweep_is_shown_as_its_range_and_a_formula_as_itself():
    assert "10 to 30 (3 points)" in Cost(tensor_flops=np.array([10, 20, 30]))._repr_html_()
    length = sympy.Symbol("T")
    assert "2*T" in StageCost(cost=Cost(tensor_flops=2 * length, kv_read_bytes=length))._repr_html_()


def test_a_stage(model):
    cost = model.get_forward_cost()
    rows = Table(cost._repr_html_()).rows
    assert ["weights held", units.size(cost.weights_bytes), f"{cost.weights_bytes:,}"] in rows


def test_a_trace_lists_its_operators_and_sums_the_rest(model):
    trace = model.trace()
    header, *rows = Table(trace._repr_html_()).rows
    assert header == ["operator", "calls", "FLOPs", "bytes moved"]
    assert len(rows) == MOST_ROWS + 1
    assert sum(int(row[1].replace(",", "")) for row in rows) == len(trace)
    most = max(trace.by_op().items(), key=lambda item: item[1].cost.io_bytes)
    assert rows[0][0] == most[0]


def test_a_trace_of_a_sweep(model):
    model.start_prefill(np.array([10, 20]))
    assert "2 points" in model.trace()._repr_html_()


def test_a_timeline(model):
    timeline = model.trace().roofline("h200")
    header, *rows = Table(timeline._repr_html_()).rows
    assert header == ["operator", "time", "tensor", "vector", "memory", "launch", "binds"]
    longest = max(timeline.by_op().items(), key=lambda item: item[1].seconds)
    assert rows[0][:2] == [longest[0], units.seconds(longest[1].seconds)]


def test_a_timeline_of_a_sweep(model):
    model.start_prefill(np.array([10, 2000]))
    assert "2 points" in model.trace().roofline("h200")._repr_html_()


def test_text_is_escaped():
    assert "<script>" not in table("<script>", ("<b>",), [("<i>", "<u>")])
