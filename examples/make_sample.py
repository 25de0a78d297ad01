"""Draws sample.pdf: four pages about measuring, each of another shape. Needs reportlab (the `dev` extra).

python examples/make_sample.py writes the same bytes every time (for one version of reportlab).
"""

import math
from collections.abc import Callable
from pathlib import Path

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4, A5, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Frame, Paragraph, Spacer, Table, TableStyle

SAMPLE = Path(__file__).parent / "sample.pdf"
RECEIPT = (300, 310)  # points: 600 x 620 pixels at 144 dpi, so it needs no tiles
INK, QUIET, LINE, PAPER, BLUE, RED = map(HexColor, ("#1d2530", "#5f6b7a", "#c4ccd6", "#f2f5f8", "#2563a8", "#c2452d"))

TITLE = ParagraphStyle("title", fontName="Times-Bold", fontSize=23, leading=28, textColor=INK)
BYLINE = ParagraphStyle("byline", fontName="Times-Italic", fontSize=11, leading=15, textColor=QUIET, spaceAfter=14)
HEADING = ParagraphStyle(
    "heading", fontName="Times-Bold", fontSize=14, leading=18, spaceBefore=12, spaceAfter=5, textColor=INK
)
BODY = ParagraphStyle("body", fontName="Times-Roman", fontSize=12, leading=17, alignment=4, spaceAfter=7)
CAPTION = ParagraphStyle("caption", parent=BODY, fontSize=10, leading=14, textColor=QUIET)

STEEL = 11.5e-6  # per kelvin: linear expansion of carbon steel, a handbook value
GRAVITY = 9.81  # metres per second squared
RUNS = [(300, 241, 610), (300, 240, 622), (300, 243, 598), (250, 196, 640), (250, 199, 611), (200, 154, 633)]

ARTICLE = [
    ("", "Whoever reads a number off an instrument has measured two things: the object, and the instrument. A steel "
     "rule that lay in the sun is longer than the same rule in a cellar, and a table measured with it comes out "
     "shorter than it is. The difference is small. It is also always there, in the same direction, and no amount of "
     "repetition will make it go away."),
    ("Two kinds of error", "Errors that change from one reading to the next are the friendly kind. They scatter on "
     "both sides of the truth, and the mean of many readings comes closer to it with the square root of their number: "
     "four times the patience buys half the doubt. The other kind does not scatter. A scale that starts at half a "
     "gram will add half a gram to everything, politely and for ever. Only a second instrument, or a known weight, "
     "can show it."),
    ("A rule in the sun", "Steel grows by about 11.5 millionths of its length for each degree. A rule of one metre "
     "that is true at 20 degrees therefore has the lengths of Table 1. At 40 degrees it is wrong by nearly a "
     "quarter of a millimetre, which is the thickness of two sheets of heavy paper."),
]  # fmt: skip
CLOSING = [
    ("What to write down", "A measurement is a number, a unit and a doubt. Leave out the unit and nobody can use the "
     "number; leave out the doubt and somebody will trust it too far. Write down the instrument, the day and the "
     "temperature as well. They cost a line each, and they are the first things asked for when two results disagree."),
    ("", "And read the instrument twice: once to learn the value, and once more to learn how well it was read. The "
     "second reading is the one that people skip. It takes a minute, it changes nothing on most days, and on the "
     "remaining days it is the only part of the work that was worth doing."),
]  # fmt: skip


def text(sections: list[tuple[str, str]]) -> list[Flowable]:
    """Headings and paragraphs."""
    flow: list[Flowable] = []
    for heading, body in sections:
        flow += [Paragraph(heading, HEADING)] if heading else []
        flow += [Paragraph(body, BODY)]
    return flow


def table(rows: list[list[str]], widths: list[float], size: float = 10.5) -> Table:
    """A table with a header row; all columns but the first are set to the right."""
    style = [
        ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", size),
        ("FONT", (0, 1), (-1, -1), "Helvetica", size),
        ("TEXTCOLOR", (0, 0), (-1, -1), INK),
        ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
        ("BACKGROUND", (0, 0), (-1, 0), PAPER),
        ("LINEBELOW", (0, 0), (-1, 0), 1, INK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, LINE),
    ]
    return Table(rows, colWidths=widths, style=TableStyle(style), hAlign="LEFT")


def article(canvas: Canvas) -> None:
    """Page 1, A4 portrait: a page of text with a small table."""
    canvas.setPageSize(A4)
    width, height = A4
    rows = [["Temperature", "True length", "Error of the rule"]]
    for celsius in (0, 10, 20, 30, 40):
        growth = 1000 * STEEL * (celsius - 20)  # millimetres
        rows.append([f"{celsius} °C", f"{1000 + growth:.3f} mm", f"{growth:+.3f} mm" if growth else "none"])
    flow = [Paragraph("The rule and the sun", TITLE), Paragraph("Notes on measuring, first of four pages", BYLINE)]
    flow += [*text(ARTICLE), Spacer(0, 4), table(rows, [155, 150, 150]), Spacer(0, 4)]
    flow += [Paragraph("Table 1. A steel rule of one metre, true at 20 °C.", CAPTION), *text(CLOSING)]
    Frame(70, 60, width - 140, height - 120, 0, 0, 0, 0).addFromList(flow, canvas)
    canvas.setFont("Times-Roman", 10)
    canvas.drawCentredString(width / 2, 36, "1")
    canvas.showPage()


def chart(canvas: Canvas) -> None:
    """Page 2, A4 landscape: a chart of vector shapes and its caption."""
    canvas.setPageSize(landscape(A4))
    width, height = landscape(A4)
    canvas.setFillColor(INK)
    canvas.setFont("Times-Bold", 22)
    canvas.drawString(80, height - 70, "How long does a pendulum take?")
    axes(canvas, 80, 130, width - 160, height - 230)
    caption = (
        "Figure 1. Time of one full swing against the length of the string. The curve is 2π√(L/g) with "
        "g = 9.81 m/s²; each dot is one swing timed by hand, its bar the doubt of a hand on a stopwatch, "
        "0.1 s. Timing ten swings in one go makes that doubt ten times smaller."
    )
    Frame(80, 30, width - 160, 66, 0, 0, 0, 0).addFromList([Paragraph(caption, CAPTION)], canvas)
    canvas.showPage()


def axes(canvas: Canvas, left: float, bottom: float, width: float, height: float) -> None:
    """The chart: length 0 to 2 metres across, period 0 to 3 seconds up, in a box given in points."""

    def at(metres: float, seconds: float) -> tuple[float, float]:
        return left + metres / 2 * width, bottom + seconds / 3 * height

    canvas.setFillColor(PAPER)
    canvas.rect(left, bottom, width, height, stroke=0, fill=1)
    canvas.setFont("Helvetica", 10)
    canvas.setFillColor(QUIET)
    canvas.setStrokeColor(LINE)
    for step in range(9):
        x, _ = at(step / 4, 0)
        canvas.line(x, bottom, x, bottom + height)
        canvas.drawCentredString(x, bottom - 14, f"{step / 4:.2f}")
    for step in range(7):
        _, y = at(0, step / 2)
        canvas.line(left, y, left + width, y)
        canvas.drawRightString(left - 6, y - 3.5, f"{step / 2:.1f}")
    canvas.drawString(left + width - 104, bottom + 8, "length of string, m")
    canvas.drawString(left + 8, bottom + height - 16, "one swing, s")
    curve(canvas, at)


def curve(canvas: Canvas, at: Callable[[float, float], tuple[float, float]]) -> None:
    """The law as a line, and eight readings as dots with bars; `at` maps (metres, seconds) to points."""
    canvas.setStrokeColor(BLUE)
    canvas.setLineWidth(2)
    path = canvas.beginPath()
    path.moveTo(*at(0, 0))
    for step in range(1, 101):
        metres = 2 * (step / 100) ** 2  # closer together where the curve is steep
        path.lineTo(*at(metres, 2 * math.pi * math.sqrt(metres / GRAVITY)))
    canvas.drawPath(path)
    canvas.setStrokeColor(RED)
    canvas.setFillColor(RED)
    canvas.setLineWidth(1.2)
    for number, slip in enumerate((0.04, -0.03, 0.05, -0.05, 0.02, 0.06, -0.04, 0.01), 1):
        metres = number * 0.23
        seconds = 2 * math.pi * math.sqrt(metres / GRAVITY) + slip
        canvas.line(*at(metres, seconds - 0.1), *at(metres, seconds + 0.1))
        canvas.circle(*at(metres, seconds), 3.6, stroke=0, fill=1)


def receipt(canvas: Canvas) -> None:
    """Page 3, a receipt: small enough for one view."""
    canvas.setPageSize(RECEIPT)
    width, height = RECEIPT
    canvas.setFillColor(INK)
    canvas.setFont("Courier-Bold", 13)
    canvas.drawCentredString(width / 2, height - 34, "THE PLUMB LINE")
    canvas.setFont("Courier", 9.5)
    canvas.drawCentredString(width / 2, height - 49, "instruments, new and second hand")
    goods = [("Steel rule, 1 m", 1250), ("Stopwatch", 3400), ("Brass weights, set", 2875), ("String, 2 m", 90)]
    lines = [(name, f"{cents / 100:.2f}") for name, cents in goods]
    total = sum(cents for _, cents in goods)
    lines += [("", ""), ("Total", f"{total / 100:.2f}"), ("Cash", "80.00"), ("Change", f"{(8000 - total) / 100:.2f}")]
    canvas.setDash(2, 2)
    canvas.line(24, height - 60, width - 24, height - 60)
    y = height - 80
    canvas.setFont("Courier", 10.5)
    for name, price in lines:
        canvas.drawString(28, y, name)
        canvas.drawRightString(width - 28, y, price)
        y -= 18
    canvas.line(24, y + 8, width - 24, y + 8)
    canvas.setFont("Courier", 9.5)
    canvas.drawCentredString(width / 2, y - 12, "Returned within a week, weighed again,")
    canvas.drawCentredString(width / 2, y - 26, "refunded to the nearest gram.")
    canvas.showPage()


def log_sheet(canvas: Canvas) -> None:
    """Page 4, A5 turned by /Rotate 90: stored upright, shown lying, and drawn so that it reads when shown."""
    canvas.setPageSize(landscape(A5))  # as shown; reportlab stores it upright because of the rotation
    canvas.setPageRotation(90)
    canvas.translate(A5[0], 0)
    canvas.rotate(90)
    width, height = A5[1], A5[0]
    canvas.setFillColor(INK)
    canvas.setFont("Times-Bold", 18)
    canvas.drawString(50, height - 56, "Log of the water clock")
    rows = [["Run", "Start level", "End level", "Time by stopwatch", "Loss a minute"]]
    for run, (start, end, seconds) in enumerate(RUNS, 1):
        rows.append([f"{run}", f"{start} mm", f"{end} mm", f"{seconds} s", f"{(start - end) * 60 / seconds:.2f} mm"])
    note = Paragraph("The vessel empties more slowly as it empties: compare runs 4 to 6, which began lower.", CAPTION)
    flow = [table(rows, [45, 105, 105, 130, 110]), Spacer(0, 8), note]
    Frame(50, 40, width - 100, height - 115, 0, 0, 0, 0).addFromList(flow, canvas)
    canvas.setFont("Times-Italic", 11)
    canvas.setFillColor(QUIET)
    canvas.drawString(50, 44, "Kept in the cellar, 12 °C. Float and scale read at eye height.")
    canvas.showPage()


def main() -> None:
    """Write sample.pdf beside this file."""
    canvas = Canvas(str(SAMPLE), invariant=True, pageCompression=1, lang="en")
    canvas.setTitle("Notes on measuring")
    canvas.setAuthor("modelmeter authors")
    for draw in (article, chart, receipt, log_sheet):
        draw(canvas)
    canvas.save()
    print(f"{SAMPLE}: {SAMPLE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
