"""What a calibration found, as a table."""

from typing import TYPE_CHECKING

from modelmeter.live.calibration.calibrate import Calibrated
from modelmeter.live.calibration.fit import Fitted
from modelmeter.report.grid import Table, console_for, print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS = ("operators", "tensor", "vector", "memory", "overlap", "us a\nkernel", "measured", "median\nerror", "worst")


def table_of(found: Calibrated) -> Table:
    """A row for each kind of operator: the shares of the device's rates it reaches, and how well they fit."""
    rows = tuple((kind.replace("_", " "), *_row(one)) for kind, one in found.fitted.items())
    return Table(title="Shares of the device's rates", columns=_COLUMNS, rows=rows)


def _row(one: Fitted) -> tuple[str, ...]:
    reached = one.efficiency
    shares = (reached.tensor, reached.vector, reached.memory, reached.overlap)
    numbers = [f"{share:.3g}" for share in shares] + [f"{reached.seconds * 1e6:.3g}", str(one.operators)]
    return (*numbers, f"{one.median_error:.1%}", f"{one.worst_error:.1%}")


def print_calibrated(found: Calibrated, console: "Console | None" = None) -> None:
    """Print the rates, the table and the host's time."""
    console = console_for(console)
    device = found.device
    peaks = ", ".join(f"{dtype} {rate / 1e12:.3g} TFLOP/s" for dtype, rate in device.peaks.items())
    print_line(console, f"{device.title}: {peaks}; memory {device.bandwidth / 1e9:.3g} GB/s", style="bold")
    print_table(console, table_of(found))
    host = found.host
    print_line(console, f"host: {host.seconds * 1e6:.3g} us a kernel, measured on {host.measured_on}")
