"""What people read: tables on a terminal and as Markdown, against golden files, and that no number is lost in them.

Refresh the golden files with `pytest tests/report --update-golden`.
"""

import io
import re

import pytest
from rich.console import Console

from modelmeter.documents import Page, PageError
from modelmeter.report.render import print_analysis, to_markdown
from modelmeter.report.tables import analysis_tables, heading, notes

ESCAPE = "\x1b"


def printed(analysis, **console):
    """What `print_analysis` prints."""
    out = io.StringIO()
    print_analysis(analysis, Console(file=out, **console))
    return out.getvalue()


def stripped(text):
    """Text without colours and without what frames a table, its spaces made single."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[|+─-]", " ", text).split())


def test_terminal_text(golden, document):
    golden("analysis.txt", printed(document))


def test_markdown(golden, document):
    golden("analysis.md", to_markdown(document))


def test_one_page(golden, analysed):
    analysis = analysed(Page("1654x2339", 1, 1654, 2339, "1654x2339"), attention="flash", coverage="max", batch_size=4)
    golden("one_page.txt", printed(analysis))


def test_plain_text_has_no_escape_codes(document):
    assert ESCAPE not in printed(document)


@pytest.mark.parametrize("width", [40, 80, 92, 120, 250])
def test_a_terminal_of_any_width_shows_every_number(document, width):
    text = printed(document, force_terminal=True, width=width, color_system="standard")
    assert ESCAPE in text
    assert "…" not in text
    narrow = stripped(text)
    for table in analysis_tables(document):
        for row in table.rows:
            numbers = " ".join(" ".join(row[table.text_columns :]).split())
            assert numbers in narrow or width < 92  # narrower than the tables, lines wrap
    for line in notes(document):
        assert all(word in narrow for word in stripped(line).split())


def test_every_number_of_the_tables_is_in_the_plain_text(document):
    text = stripped(printed(document))
    for table in analysis_tables(document):
        assert stripped(table.title) in text
        for row in table.rows:
            assert stripped(" ".join(row[table.text_columns :])) in text


def test_huge_numbers_push_no_column_out(analysed):
    analysis = analysed(Page("10x10", 1, 10, 10, "10x10"), prompt_tokens=10**30, decode_tokens=10**30)
    text = stripped(printed(analysis))
    for table in analysis_tables(analysis):
        for row in table.rows:
            assert stripped(" ".join(row[table.text_columns :])) in text


AWKWARD = ["[bold]x.png", "[red]", ":smile:.png", "a|b.png", "<b>.png", "back\\slash.png", "`tick`.png", "*star*.png"]


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_is_printed_as_it_is(analysed, name):
    text = printed(analysed(Page(name, 1, 600, 620, name)))
    lines = [line.strip() for line in text.splitlines()]
    assert name in lines  # the title of its table
    assert any(line.startswith(f"| {name} ") for line in lines)  # its row


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_breaks_no_markdown(analysed, name):
    text = to_markdown(analysed(Page(name, 1, 600, 620, name), PageError(name, "damaged")))
    assert "<b>" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        columns = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) - 1 for row in table.splitlines()]
        assert len(set(columns)) == 1


def test_markdown_lists_what_was_not_read(document):
    assert "- broken.pdf: the PDF is damaged" in to_markdown(document).splitlines()


def test_tables_are_the_document(document):
    tables = {table.title: table for table in analysis_tables(document)}
    assert [row[:3] for row in tables["Pages"].rows] == [
        ("1191x1684", "1191 x 1684", "2 x 3"),
        ("scan|2.png", "1190 x 1684", "2 x 3"),
        ("1684x1191", "1684 x 1191", "3 x 2"),
        ("600x620", "600 x 620", "none"),
    ]
    assert "1191x1684 and 1 more, each" in tables  # pages that run alike share a table of their stages
    assert "All 4 pages" in tables
    (parts,) = [table for title, table in tables.items() if title.startswith("Parts")]
    assert [row[0] for row in parts.rows] == ["sam", "clip", "projector", "embedding", "decoder", "lm_head", "all"]
    assert parts.rows[-1][1:] == tables["All 4 pages"].rows[-1][1:]  # both are the run of all pages
    for table in tables.values():
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_the_heading_names_model_and_workload(document, analysed):
    assert "3,336,106,240 parameters" in heading(document)
    assert "10 prompt tokens, 5 decode steps" in heading(document)
    many = analysed(Page("1x1", 1, 1, 1, "1x1"), batch_size=8)
    assert "8 such pages at a time" in heading(many)
    assert any("8 equal pages at once" in note for note in notes(many))


def test_every_output_prints_the_conventions(document):
    for text in (to_markdown(document), printed(document)):
        flat = stripped(text)
        assert all(stripped(note) in flat for note in notes(document))
