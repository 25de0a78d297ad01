"""What people read of a verification: golden files of made-up reports, and that nothing is lost on a narrow terminal.

Refresh the golden files with `pytest tests/live/test_render.py --update-golden`.
"""

import io
import re

import attrs
import pytest
from rich.console import Console

from modelmeter.live.verification.compare import Check
from modelmeter.live.verification.render import differences, print_report, sections, to_markdown, verdict
from modelmeter.live.verification.selection import select
from modelmeter.live.verification.tables import layer_tables, relative, routing_table, stage_table


def printed(report, **console):
    """What `print_report` prints."""
    out = io.StringIO()
    print_report(report, Console(file=out, **console))
    return out.getvalue()


def stripped(text):
    """Text without colours and without what frames a table, its spaces made single."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[|+─-]", " ", text).split())


@pytest.mark.parametrize("name", ["sound", "broken"])
def test_plain_text(golden, name, request):
    golden(f"{name}.txt", printed(request.getfixturevalue(f"{name}_report")))


@pytest.mark.parametrize("name", ["sound", "broken"])
def test_a_narrow_terminal(golden, name, request):
    text = printed(request.getfixturevalue(f"{name}_report"), force_terminal=True, width=100, color_system=None)
    assert max(map(len, text.splitlines())) <= 100
    golden(f"{name}-100.txt", text)


@pytest.mark.parametrize("name", ["sound", "broken"])
def test_markdown(golden, name, request):
    golden(f"{name}.md", to_markdown(request.getfixturevalue(f"{name}_report")))


def test_markdown_has_integers_in_full(report):
    text = to_markdown(report)
    for comparison in report.comparisons:
        for row in comparison.rows:
            assert f"| {row.check('counted_flops').measured:,} |" in text


@pytest.mark.parametrize("width", [92, 100, 149, 150, 200])
def test_every_number_is_on_a_terminal_of_any_width(report, width):
    text = printed(report, force_terminal=True, width=width, color_system="standard")
    assert "…" not in text
    flat = stripped(text)
    layout = "stacked" if width < 150 else "wide"
    for table in [stage_table(report, layout), *layer_tables(report, layout)]:
        for row in table.rows:
            for cell in row[table.text_columns :]:
                assert all(stripped(line) in flat for line in cell.splitlines())


def test_no_escape_codes_in_plain_text_and_no_line_is_wrapped(broken_report):
    lines = printed(broken_report).splitlines()
    assert not any("\x1b" in line for line in lines)
    assert lines[-1] == verdict(broken_report)


def test_each_row_is_in_one_table(report):
    rows = {row for comparison in report.comparisons for row in comparison.layers}
    assert sum(len(table.rows) for table in layer_tables(report)) == len(rows)
    for table in layer_tables(report):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_a_table_says_where_its_rows_are_too(sound_report):
    titles = [table.title for table in layer_tables(sound_report)]
    assert titles == [
        "Layers: vision",
        "Layers: decode 913, batch 2; 1 of 2 the same in decode 913+1, batch 2",
        "Layers: decode 913+1, batch 2, those that are new",
    ]


def test_modules_stand_below_what_they_are_in(report):
    for table in layer_tables(report):
        for above, row in zip(table.rows, table.rows[1:], strict=False):
            depth, before = (len(each[0]) - len(each[0].lstrip()) for each in (row, above))
            assert depth <= before + 2


def test_totals_are_sums_and_memory_the_largest(report):
    table = stage_table(report, "exact")
    rows = [comparison.total for comparison in report.comparisons if comparison.point.stage != "page"]  # both again
    total = dict(zip((column.replace("\n", " ") for column in table.columns), table.rows[-1], strict=True))
    assert total["stage"] == "all but page"
    assert total["FLOPs, real"] == f"{sum(row.check('counted_flops').measured for row in rows):,}"
    assert total["activ. moved"] == f"{sum(row.check('activation_bytes').measured for row in rows):,}"
    assert total["activ. peak"] == f"{max(row.check('peak_bytes').measured for row in rows):,}"
    assert total["KV cache"] == f"{max(row.check('kv_cache_bytes').measured for row in rows):,}"


def test_only_layers_have_no_table_of_stages(sound):
    report = select(sound, only_layers=True)
    assert stage_table(report) is None
    assert routing_table(report) is None
    assert "Stages" not in printed(report)


def test_the_experts_reached(sound, sound_report):
    table = routing_table(sound_report)
    assert table.rows[0] == ("decode 913, batch 2", "4, 5, 3", "4.0", "4.5", "8")  # (4 + 5 + 3) / 3
    unrouted = [attrs.evolve(each, routing=None) for each in sound.comparisons]
    assert routing_table(select(attrs.evolve(sound, comparisons=tuple(unrouted)))) is None


def test_a_verdict_names_the_innermost_module(broken_report):
    line = verdict(broken_report)
    assert line.startswith("NOT verified: ")
    assert "counted FLOPs, peak memory of Attention model.sam_model.blocks.0.attn (vision)" in line
    assert "FLOPs of mm of MlpProjector model.projector (vision)" in line
    assert "activations moved of Splice model.splice (vision)" in line
    assert "fft has no price in model.sam_model.neck (vision)" in line
    assert "Block" not in line and "ImageEncoderViT" not in line and "the whole" not in line


def test_a_verdict_is_short(broken):
    vision, *_ = broken.comparisons
    rows = tuple(attrs.evolve(vision.layers[-1], paths=(f"model.splice_{n}",)) for n in range(20))
    many = attrs.evolve(broken, comparisons=(attrs.evolve(vision, layers=rows, unpriced=()),))
    assert verdict(select(many, only_layers=True)).endswith("splice_5 (vision) and 14 more")


def test_a_sound_verdict_gives_the_largest_differences(sound_report, report):
    assert verdict(sound_report) == (
        "verified: 3 stages, 39 modules; every exact quantity is equal; largest differences: "
        "activations moved +1.2% (the whole, vision), peak memory 0"
    )
    assert verdict(report).startswith("verified: 5 stages, ")


def test_differences_are_in_full(broken_report):
    lines = list(differences(broken_report))
    assert "vision, the whole: counted FLOPs: real 6,000,000,000, twin 6,000,000,128 (+128)" in lines
    assert "vision, the whole: FLOPs of mm: real 600, twin 500 (-100)" in lines
    assert any(line.endswith("real 1,000, twin 2,000 (+1,000, +100%, allowed 15%)") for line in lines)


def test_nothing_wrong_nothing_said(sound_report, nothing):
    assert [title for title, _ in sections(sound_report)] == ["Operators on one side only", "Conventions"]
    assert printed(nothing).splitlines()[-1].startswith("verified: ")
    assert to_markdown(nothing)


@pytest.mark.parametrize(
    ("measured", "analytic", "text"),
    [
        (100, 100, "0"),
        (0, 0, "0"),
        (10_000, 10_024, "+0.24%"),
        (1000, 870, "-13%"),
        (10, 20, "+100%"),
        (10**9, 10**9 + 1, "+1e-07%"),
        (0, 5, "+5"),
    ],
)
def test_relative_differences(measured, analytic, text):
    assert relative(Check("peak_bytes", measured, analytic)) == text
