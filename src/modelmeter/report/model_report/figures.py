"""The plots of a report: the stages by part, and the layers, of the kind of page that it has most of."""

from typing import TYPE_CHECKING

import attrs

from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.report.model_report.data import AnalyticModelReport, PageKind

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def report_figures(report: AnalyticModelReport) -> "dict[str, Figure]":
    """The figures of `page_plots` by name. Raises `ModelMeterError` where matplotlib is missing."""
    from modelmeter.report.plots import page_plots

    spec, kind = report.model, max(report.kinds, key=lambda kind: kind.pages)
    model = DeepseekOCRModel.from_config(spec.config, precision=spec.precision, **attrs.asdict(report.conventions))
    model.set_views(_plan(kind, spec.config.sam.patch_size))
    return page_plots(model, kind.context_len, report.profile.workload.batch_size)


def _plan(kind: PageKind, patch_size: int) -> ViewPlan:
    """The views of a kind of page; their batches are the tiles, where there are any, then the global view."""
    (_, tile), (_, base) = kind.views[0], kind.views[-1]
    return attrs.evolve(ViewPlan.from_grid(kind.grid, base_size=base, tile_size=tile), patch_size=patch_size)
