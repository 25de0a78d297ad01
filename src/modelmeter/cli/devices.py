"""`modelmeter devices`."""

from typing import Annotated

import typer

from modelmeter.cli import options
from modelmeter.cli.output import JsonOption, QuietOption, check_outputs, deliver


def devices(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Only these, value by value; or a .toml file with one device."),
    ] = None,
    device_file: options.DeviceFileOption = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """The devices that modelmeter knows: dense peaks, memory, caches, and the document each value is from.

    Examples:

        modelmeter devices

        modelmeter devices h200 rtx-4090

        modelmeter devices --json -
    """
    from modelmeter.hardware import catalogue
    from modelmeter.report import devices as report

    files = device_file or []
    outputs = {"json": json}
    check_outputs(outputs, [str(file) for file in files])
    if names:
        found = list(dict.fromkeys(catalogue.get_device(name, *files) for name in names))
    else:
        found = list(catalogue.devices(*files).values())
    print_it = report.print_sheets if names else report.print_devices
    deliver(found, outputs, {"json": report.to_json}, print_it=print_it, quiet=quiet)
