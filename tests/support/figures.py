"""What a figure shows, read back from its artists."""

import numpy as np


def panels(figure):
    """Its axes, by title, without those that only name points."""
    return {axes.get_title().replace("\n", " "): axes for axes in figure.axes}


def labels(figure):
    """The labels of all axes that have numbers."""
    return [text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel())]


def line(axes, name):
    """(x, y) of the curve of that name."""
    (found,) = [one for one in axes.lines if one.get_label() == name]
    return np.asarray(found.get_xdata(), dtype=float), np.asarray(found.get_ydata(), dtype=float)


def bars(axes, name):
    """Widths of the bars of that name, from the top; None: of the only ones."""
    (found,) = [one for one in axes.containers if name in (None, one.get_label())]
    return [float(bar.get_width()) for bar in found]


def legend(figure):
    """The words of the figure's legend."""
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def ticks(axes, which="x"):
    """The words of an axis's ticks."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    return [text.get_text() for text in axis.get_ticklabels()]
