"""The sections of a run, the most telling first: time may run out."""

from typing import Final

from gpu_bench import calibrating, equality, graphs, overhead, pages, planned, scaling
from gpu_bench.runner import Section

SECTIONS: Final = (
    Section(name=equality.NAME, title="Hooks, twin, FLOP counter and cache", run=equality.equality, share=0.15),
    Section(name=pages.NAME, title="Pages and batches", run=pages.pages, share=0.4),
    Section(
        name=graphs.NAME,
        title="Decode steps, eager and in a CUDA graph",
        run=graphs.graphs,
        needs_cuda=True,
        share=0.2,
    ),
    Section(name=overhead.NAME, title="What hooks take", run=overhead.overhead, share=0.15),
    Section(name=scaling.NAME, title="Measured scaling", run=scaling.scaling, share=0.2),
    Section(name=calibrating.NAME, title="Calibration", run=calibrating.calibration, needs_model=False, least=15.0),
    Section(name=pages.LARGE, title="Large batches", run=pages.large, share=0.4),
)
"""`share` is of the whole budget: what takes longer than it should ends itself, not what comes after it."""

WITHOUT_MODEL: Final = Section(
    name=planned.NAME,
    title="Predicted, not measured (bound / roofline / calibrated)",
    run=planned.planned,
    needs_model=False,
)
"""Runs at the end where the model cannot."""
