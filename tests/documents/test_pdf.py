"""PDF files: visible sizes, rounding, and what is wrong with a file or with one of its pages."""

import itertools
import time
from pathlib import Path

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import Page, PageError, count_pages, read_pages

A4 = b"/MediaBox [0 0 595 842]"


def sizes(path, **arguments):
    return [(page.width, page.height) for page in read_pages(path, **arguments)]


def test_pages_in_order(make_pdf):
    path = make_pdf(A4, b"/MediaBox [0 0 842 595]", name="two.pdf")
    assert list(read_pages(path)) == [
        Page(str(path), 1, 595 * 2, 842 * 2, "two.pdf p1"),  # 144 pixels an inch, 72 points an inch
        Page(str(path), 2, 842 * 2, 595 * 2, "two.pdf p2"),
    ]
    assert count_pages(path) == 2


@pytest.mark.parametrize(
    ("page", "points"),
    [
        (A4 + b"/Rotate 90", (842, 595)),
        (A4 + b"/Rotate 180", (595, 842)),
        (A4 + b"/Rotate -90", (842, 595)),
        (A4 + b"/CropBox [10 20 110 320]", (100, 300)),
        (A4 + b"/CropBox [10 20 110 320] /Rotate 270", (300, 100)),
        (A4 + b"/CropBox [-50 -50 5000 5000]", (595, 842)),  # a crop box shows no more than the media box
        (b"/MediaBox [595 842 0 0]", (595, 842)),
        (b"/MediaBox [100 100 200 300]", (100, 200)),
        (b"/MediaBox [0 0 0 0]", (612, 792)),  # PDFium's own choice: US Letter
        (A4 + b"/UserUnit 2", (595, 842)),  # not applied, as PDFium renders
    ],
)
def test_visible_size(make_pdf, page, points):
    assert sizes(make_pdf(page), dpi=72) == [points]


def test_a_page_inherits_box_and_rotation(make_pdf):
    assert sizes(make_pdf(b"", inherited=b"/MediaBox [0 0 300 200] /Rotate 90"), dpi=72) == [(200, 300)]


@pytest.mark.parametrize(
    ("width", "dpi", "pixels"),
    [
        ("595.28", 144, 1191),  # 1190.56, up
        ("595.001", 144, 1191),  # 1190.002, up
        ("595", 144, 1190),
        ("595.2", 300, 2480),  # 2480 exactly, 2480.00005 from a 32-bit float
        ("595.2", 150.0, 1240),
        ("841.89", 72, 842),
        ("0.001", 72, 1),
    ],
)
def test_pixels_are_rounded_up_but_not_for_noise(make_pdf, width, dpi, pixels):
    assert sizes(make_pdf(b"/MediaBox [0 0 %s 100]" % width.encode()), dpi=dpi)[0][0] == pixels


def test_noise_of_a_box_away_from_the_origin(make_pdf):
    assert sizes(make_pdf(b"/MediaBox [1000.1 1000.1 1595.3 1842.1]"), dpi=300)[0][0] == 2480  # 595.2 points


@pytest.mark.parametrize("dpi", [0, -144, float("nan"), float("inf"), "144", None, True])
def test_dpi_must_be_a_positive_number(dpi):
    with pytest.raises(ModelMeterError, match="dpi must be a positive finite number"):
        read_pages("1654x2339", dpi=dpi)


def test_an_absurd_page_does_not_stop_the_others(make_pdf):
    path = make_pdf(A4, b"/MediaBox [0 0 1000000 1000000]", A4 + b"/CropBox [2000 2000 2100 2100]", A4)
    first, huge, outside, last = read_pages(path)
    assert isinstance(first, Page) and isinstance(last, Page) and last.number == 4
    assert isinstance(huge, PageError) and "page 2 is 2000000 x 2000000 pixels, more than" in huge.message
    assert huge.message.endswith("crop the page or lower the dpi")
    assert isinstance(outside, PageError) and "page 3 has no area" in outside.message


def test_absurd_dpi(make_pdf):
    (error,) = read_pages(make_pdf(), dpi=1e308)
    assert isinstance(error, PageError) and "lower the dpi" in error.message
    assert sizes(make_pdf(), dpi=1e-300) == [(1, 1)]


def test_damaged_pages_in_a_row_are_one_error(make_pdf):
    path = make_pdf(A4, A4, A4, A4, A4)
    path.write_bytes(path.read_bytes().replace(b"4 0 R 5 0 R", b"94 0 R 95 0 R"))  # pages 2 and 3 are nowhere
    first, error, fourth, fifth = read_pages(path)
    assert (first.number, fourth.number, fifth.number) == (1, 4, 5)
    assert isinstance(error, PageError) and error.message.startswith("pages 2 to 3 cannot be read")


def test_a_claim_of_a_million_pages_is_one_error(make_pdf):
    page, error = read_pages(make_pdf(A4, count=1_000_000))
    assert isinstance(page, Page)
    assert isinstance(error, PageError) and "pages 2 to 1000000" in error.message


@pytest.mark.parametrize("count", [0, -5, 10**9, 2**40])
def test_a_claim_beyond_belief_is_ignored(make_pdf, count):
    assert [type(page) for page in read_pages(make_pdf(A4, A4, count=count))] == [Page, Page]


def test_pages_stream(make_pdf):
    path = make_pdf(*[A4] * 20_000)
    start = time.perf_counter()
    pages = read_pages(path)
    assert [page.number for page in itertools.islice(pages, 3)] == [1, 2, 3]
    pages.close()  # and with it the file
    assert time.perf_counter() - start < 1
    path.unlink()


ENCRYPT = b"/ID [<00> <00>] /Encrypt <</Filter /%s /V %d /R 2 /P -4 /O <%s> /U <%s>>>"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dict(trailer=ENCRYPT % (b"Standard", 1, b"00" * 32, b"11" * 32)), "needs a password: save a copy without one"),
        (dict(trailer=ENCRYPT % (b"Unheard", 9, b"00" * 32, b"11" * 32)), "save a copy without protection"),
        (b"%PDF-1.7\n", "damaged or cut short"),
        (b"%PDF-1.7\n" + b"nothing of the kind\n" * 100, "damaged or cut short"),
    ],
)
def test_a_document_that_does_not_open_is_one_error(make_pdf, data, words):
    path = make_pdf(**data) if isinstance(data, dict) else make_pdf()
    if isinstance(data, bytes):
        path.write_bytes(data)
    errors = list(read_pages(path))
    assert [type(error) for error in errors] == [PageError] and words in errors[0].message
    assert errors[0].source == str(path) and "\n" not in str(errors[0]) and count_pages(path) == 1


def test_a_document_without_pages(make_pdf):
    path = make_pdf(A4)
    path.write_bytes(path.read_bytes().replace(b"3 0 R", b"     ").replace(b"/Type /Page /", b"/Type /None /"))
    assert [type(error) for error in read_pages(path)] == [PageError]


def test_every_prefix_of_a_document_is_read_or_refused(make_pdf):
    path = make_pdf(A4, A4)
    data = path.read_bytes()
    for end in range(8, len(data), 7):
        path.write_bytes(data[:end])
        assert list(read_pages(path))


def test_a_name_that_is_not_text(make_pdf):
    path = make_pdf(name="bad\udcff\nname.pdf")
    (page,) = read_pages(path)
    assert isinstance(page, Page) and page.label == "bad\\udcff\\nname.pdf p1"


def test_the_sample_document():
    sample = Path(__file__).parents[2] / "examples" / "sample.pdf"
    assert sizes(sample) == [(1191, 1684), (1684, 1191), (600, 620), (1191, 840)]  # A4, A4 lying, small, turned A5
    assert sample.stat().st_size < 60_000
