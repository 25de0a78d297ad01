"""The program: its commands, its version, and how it reports an error."""

import errno
import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.cli.analyze import analyze
from modelmeter.cli.analyze_model import analyze_model
from modelmeter.cli.calibrate import calibrate
from modelmeter.cli.compare import compare
from modelmeter.cli.devices import devices
from modelmeter.cli.fit import fit
from modelmeter.cli.formula import formula
from modelmeter.cli.import_profile import import_profile
from modelmeter.cli.measure import measure
from modelmeter.cli.output import complain
from modelmeter.cli.plan import plan
from modelmeter.cli.report import report
from modelmeter.cli.run import run as run_command
from modelmeter.cli.sweep.app import sweep
from modelmeter.cli.table import table
from modelmeter.cli.time import time
from modelmeter.cli.verify import verify
from modelmeter.core.errors import ModelMeterError

app = typer.Typer(
    name="modelmeter",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="analyze")(analyze)
app.command(name="analyze-model")(analyze_model)
app.command(name="calibrate")(calibrate)
app.command(name="compare")(compare)
app.command(name="devices")(devices)
app.command(name="fit")(fit)
app.command(name="formula")(formula)
app.command(name="import-profile")(import_profile)
app.command(name="measure")(measure)
app.command(name="plan")(plan)
app.command(name="report")(report)
app.command(name="run")(run_command)
app.add_typer(sweep, name="sweep")
app.command(name="table")(table)
app.command(name="time")(time)
app.command(name="verify")(verify)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modelmeter {__version__} (analytic model {ANALYTIC_MODEL_VERSION})")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What DeepSeek-OCR costs on a document and a GPU: FLOPs, bytes, memory.

    Examples:

        modelmeter analyze paper.pdf

        modelmeter analyze 1654x2339 --json -

        modelmeter formula deepseek-ocr decode --quantity tensor_flops

        modelmeter verify
    """


def run() -> None:
    """Run the program; what a user caused is one line on stderr and exit code 2."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter of a file's name
    try:
        try:
            app(prog_name="modelmeter")
        finally:
            if sys.stdout is not None:  # closed before we began
                sys.stdout.flush()
    except ModelMeterError as error:
        complain([error])
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO):
            raise
        # The reader of our output has closed it (| head), or it cannot be written: nothing more goes there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            sys.exit(1)
        complain([f"cannot write to standard output: {error.strerror}"])
        sys.exit(2)
