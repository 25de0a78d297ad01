"""A study of one's own: any dimensions of one stage."""

from collections.abc import Mapping
from typing import Any

from modelmeter.sweeps.studies.setup import Setup, make_study
from modelmeter.sweeps.study import Study


def custom(setup: Setup, over: Mapping[str, Any], *, stage: str, quantities: Any = None) -> Study:
    """`stage` over what `over` names, as `sweep` takes it, and the setup's kinds of attention and devices."""
    dataset = setup.sweep(over, stage, quantities=quantities)
    named = ", ".join(str(name).replace("_", " ") for name in dataset.dims)
    return make_study("custom", f"What the stage {stage} costs by {named or 'nothing that varies'}.", {stage: dataset})
