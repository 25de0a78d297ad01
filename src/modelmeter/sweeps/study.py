"""A study: a sweep that has a name, as data. What it found stays in labelled arrays, one dataset a stage."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import xarray as xr


@attrs.frozen(kw_only=True)
class Study:
    """`datasets` are by stage ("vision", "prefill", "decode", ...), each as `sweep` gives it; none is empty.

    `description` is one sentence for readers; `warnings` are of results that cannot be (`guard`).
    """

    name: str
    description: str
    datasets: "Mapping[str, xr.Dataset]"
    warnings: tuple[str, ...] = ()
