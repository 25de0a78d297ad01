"""Shared by the tests of predicted beside measured scaling."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.scaling import write_pair

from modelmeter.report.scaling_compare.compare import ScalingComparison, compare_scaling
from modelmeter.report.scaling_compare.measured import MeasuredScaling
from modelmeter.report.scaling_compare.pair import ScalingPair

Compared = Callable[..., ScalingComparison]


@pytest.fixture
def compared(tmp_path: Path) -> Compared:
    """compared(analytic, measured, options...): the comparison of two files."""

    def run(ours: Mapping[str, Any], theirs: MeasuredScaling, **options: Any) -> ScalingComparison:
        paths = write_pair(tmp_path, ours, theirs)
        return compare_scaling(ScalingPair(analytic=paths[0], measured=paths[1]), **options)

    return run
