"""`modelmeter calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmeter.cli.output import QuietOption, check_outputs, progress


def calibrate(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.toml", help="The device file to write, named as the device.")
    ],
    device: Annotated[str, typer.Option(help="What to measure: cpu, cuda or cuda:N.")] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="A few seconds, few operators: to try it out.")] = False,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads on the CPU; torch's choice if left out.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Measure this machine and write a device file that gives calibrated times (needs modelmeter[live]).

    Products, attention, memory, elementwise operators and the host's own time are measured, and a few numbers a kind of
    operator are fitted to them. It takes minutes; let nothing else run meanwhile.

    Examples:

        modelmeter calibrate -o my-cpu.toml --threads 1

        modelmeter calibrate --device cuda:0 -o my-gpu.toml

        modelmeter time 1654x2339 --device my-gpu.toml
    """
    check_outputs({"output": str(output)}, [])
    with progress(quiet) as say:
        from modelmeter.live.calibration.calibrate import calibrate as run
        from modelmeter.live.calibration.render import print_calibrated
        from modelmeter.live.calibration.write import check_writable, write_device_file

        check_writable(output)
        found = run(device, quick=quick, threads=threads, say=say)
    write_device_file(found, output)
    if not quiet:
        print_calibrated(found)
        typer.echo(f"wrote {output}", err=True)
