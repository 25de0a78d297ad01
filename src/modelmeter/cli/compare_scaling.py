"""The part of `modelmeter compare` that is of predicted and measured scaling."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import typer

from modelmeter.cli import options
from modelmeter.cli.output import deliver
from modelmeter.cli.sweep.common import refuse

if TYPE_CHECKING:
    from modelmeter.report.scaling_compare.compare import ScalingComparison
    from modelmeter.report.scaling_compare.pair import ScalingPair


@attrs.frozen(kw_only=True)
class ScalingOptions:
    """The options that only this pair has, as given."""

    device: str | None
    device_file: list[Path] | None
    execution: str
    launch_overhead: float | None
    plot: Path | None

    def refuse_all(self) -> None:
        """Raise `ModelMeterError` for one that is given where two other results are compared."""
        given = {"--device": self.device is not None, "--device-file": bool(self.device_file)}
        given |= {"--execution": self.execution != "eager", "--plot": self.plot is not None}
        given |= {"--launch-overhead": self.launch_overhead is not None}
        refuse(given, "is for analytic_scaling.json beside measured_scaling.json: drop it")


def compare_pair(
    files: "ScalingPair", scaling: ScalingOptions, threshold: str | None, outputs: dict[str, str | None], quiet: bool
) -> bool:
    """Compare the two, write and print; True where a FLOP difference is above the threshold."""
    from modelmeter.hardware.roofline import machine_of
    from modelmeter.report.compare.compare import parse_threshold
    from modelmeter.report.scaling_compare.compare import THRESHOLD, compare_scaling

    chosen = options.execution_of(scaling.execution)
    machine = None
    if scaling.device is not None:
        given_files, host = scaling.device_file or (), scaling.launch_overhead
        machine = machine_of(scaling.device, *given_files, execution=chosen, host_seconds=host)
    else:
        given = {"--execution": chosen != "eager", "--device-file": bool(scaling.device_file)}
        given |= {"--launch-overhead": scaling.launch_overhead is not None}
        refuse(given, "is for times: name a --device")
    found = compare_scaling(
        files,
        machine=machine,
        threshold=THRESHOLD if threshold is None else parse_threshold(threshold),
        command=shlex.join(["modelmeter", *sys.argv[1:]]),
    )
    _deliver(found, scaling.plot, outputs, quiet)
    return found.exceeding > 0


def _deliver(found: "ScalingComparison", plot: Path | None, wanted: dict[str, str | None], quiet: bool) -> None:
    from modelmeter.report.files import write_bytes
    from modelmeter.report.scaling_compare import export, render
    from modelmeter.report.scaling_compare.plot import scaling_plot

    if plot is not None:
        write_bytes(plot, scaling_plot(found, plot.suffix.removeprefix(".").lower()))
        if not quiet:
            typer.echo(f"wrote {plot}", err=True)
    writers = {"json": export.to_json, "markdown": render.to_markdown, "csv": export.to_csv}
    deliver(found, wanted, writers, print_it=render.print_scaling, quiet=quiet)
