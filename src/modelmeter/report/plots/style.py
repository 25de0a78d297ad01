"""One look for all plots: colours, markers, line styles and hatches, and figures as the bytes of files."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs

from modelmeter.core.errors import ModelMeterError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS: Final = ("svg", "png", "pdf")
DPI: Final = 150
# Okabe and Ito's palette (Color Universal Design, 2008), told apart by the colour-blind; no yellow, too light.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#000000", "#666666"
COLOURS: Final = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK, GREY)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES: Final = ("", "///", "\\\\\\", "xxx", "+++", "/", "\\", "x")  # slanted or crossed: no line looks like an edge
LINES: Final = ("-", "--", "-.", ":")
TEXT: Final = "#333333"
GRID: Final = "#dddddd"
SMALL: Final = 7.5

_RC: Final[dict[Any, Any]] = {
    "axes.axisbelow": True,
    "axes.edgecolor": TEXT,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.titlesize": 11,
    "font.family": "sans-serif",
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib ships it: the same widths everywhere
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "svg.fonttype": "none",  # letters stay letters: small files, and words that can be searched
    "svg.hashsalt": "modelmeter",  # equal data make equal files
    "text.parse_math": False,  # a dollar in a name begins no formula
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
# No date and no version of matplotlib in a file.
_UNDATED: Final[dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@attrs.frozen(kw_only=True)
class Look:
    """How a curve or a bar looks: told apart by colour, by marker or hatch, and by line."""

    colour: str
    marker: str = "o"
    line: str = "-"
    hatch: str = ""
    filled: bool = True


STAGES: Final = {
    "vision": Look(colour=BLUE, marker="o"),
    "prefill": Look(colour=GREEN, marker="s", line="--", hatch="///"),
    "decode": Look(colour=VERMILION, marker="^", line="-.", hatch="\\\\\\"),
    "run": Look(colour=BLACK, marker="D", line=":", hatch="xxx"),
}
ATTENTION: Final = {
    "eager": Look(colour=VERMILION, marker="o"),
    "flash": Look(colour=BLUE, marker="s", line="--", hatch="///", filled=False),
}


def look(i: int) -> Look:
    """The look of the i-th of several curves or bars; the ninth looks like the first, but for its line."""
    n = len(COLOURS)
    line = LINES[(i % n + i // n) % len(LINES)]
    return Look(colour=COLOURS[i % n], marker=MARKERS[i % n], line=line, hatch=HATCHES[i % n])


@contextmanager
def styled() -> Iterator[None]:
    """Within it figures are made and written in this style; a caller's settings stay. Raises without matplotlib."""
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise ModelMeterError("plots need matplotlib: pip install 'modelmeter[plot]'") from error
    with rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # in a name: drawn as a box
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, inches wide and high, that no global list holds. Call it within `styled()`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def check_format(suffix: str) -> str:
    """`suffix` where it is a format in FORMATS. Raises `ModelMeterError` for another one."""
    if suffix not in FORMATS:
        found = f"a .{suffix}" if suffix else "a file without a suffix"
        raise ModelMeterError(f"cannot draw {found}: name the plot .{', .'.join(FORMATS)}")
    return suffix


def file_bytes(figure: "Figure", suffix: str) -> bytes:
    """`figure` as the bytes of a file of a format in FORMATS; equal figures give equal bytes."""
    check_format(suffix)
    out = io.BytesIO()
    with styled():
        figure.savefig(out, format=suffix, dpi=DPI, metadata=_UNDATED[suffix])
    return out.getvalue()


def printable(text: str) -> str:
    """`text` with a sign in place of what cannot be drawn."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
