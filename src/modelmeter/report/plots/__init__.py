"""Plots with matplotlib: of a study (`plots_of`, `save_plots`) and of one page (`page_plots`)."""

from modelmeter.report.plots.choose import plots_of
from modelmeter.report.plots.page import page_plots
from modelmeter.report.plots.save import save_figures, save_plots

__all__ = ["page_plots", "plots_of", "save_figures", "save_plots"]
