"""`modelmeter sweep custom`: any dimensions; `modelmeter sweep shapes`: lists of grids."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from modelmeter.cli.output import QuietOption, progress
from modelmeter.cli.sweep.common import Common, refuse, run_study
from modelmeter.cli.sweep.values import over_of
from modelmeter.core.errors import ModelMeterError

if TYPE_CHECKING:
    from modelmeter.sweeps.studies.setup import Setup
    from modelmeter.sweeps.study import Study


USUAL = {"attention": "eager", "experts": "loop", "cache": "concat", "logits": "all", "coverage": "expected"}
"""The options that --over may name too, and what they are where they are not given."""


def custom(
    common: Common,
    over: Annotated[
        list[str], typer.Option(metavar="NAME=VALUES", help="A dimension: 1,2,4 or 1:8192:64; repeatable, in order.")
    ],
    stage: Annotated[str, typer.Option(help="vision, prefill, decode or run.")],
    quantities: Annotated[str | None, typer.Option(metavar="NAME,...", help="Only these quantities.")] = None,
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Work in blocks into a Zarr store; goes on where it was stopped.")
    ] = None,
    chunks: Annotated[int | None, typer.Option(metavar="N", help="Points of a block.")] = None,
    scheduler: Annotated[str | None, typer.Option(metavar="tcp://...", help="A dask scheduler's address.")] = None,
    workers: Annotated[int, typer.Option(help="Processes of this machine.")] = 1,
) -> None:
    """A sweep over any dimensions, in memory or in blocks into a Zarr store.

    Examples:

        modelmeter sweep custom --over context_len=1:8192:64 --over batch_size=1,2,4 --stage decode --device h200

        modelmeter sweep custom --over context_len=1:100000 --over batch_size=1:100 --stage decode --store big.zarr
    """
    asked: dict[str, Any] = {"stage": stage, "quantities": None if quantities is None else quantities.split(",")}
    dimensions = over_of(over)
    options = attrs.asdict(common)
    said = {"device": bool(common.device), "implementation": common.implementation is not None}
    said |= {name: options[name] != usual for name, usual in USUAL.items()}
    refuse({f"--{name}": there and name in dimensions for name, there in said.items()}, "is in --over too: drop one")
    if store is None:
        given = {"--chunks": chunks, "--scheduler": scheduler, "--workers": None if workers == 1 else workers}
        refuse({name: value is not None for name, value in given.items()}, "is of --store: name a folder for it")
        run_study(common, "custom", lambda setup: _study(setup, dimensions, asked))
        return
    if common.output is not None or common.measure_flops:
        raise ModelMeterError("--store has its own format: drop --output and --measure-flops")
    _store(common, dimensions, {**asked, "chunks": chunks, "scheduler": scheduler, "workers": workers}, store)


def shapes(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A .yaml, .db or .sqlite file.")],
    max_tiles: Annotated[int, typer.Option(metavar="N", help="Most tiles.")] = 32,
    quiet: QuietOption = False,
) -> None:
    """A list of grids for --shapes: the squarest of each number of tiles, and all that the released model has.

    Examples:

        modelmeter sweep shapes --max-tiles 64 -o shapes.yaml
    """
    from modelmeter.sweeps.shapes import make_shapes_file

    found = make_shapes_file(max_tiles, output)
    if not quiet:
        typer.echo(f"wrote {output}: {len(found)} shapes", err=True)


def _study(setup: "Setup", over: dict[str, Any], asked: dict[str, Any]) -> "Study":
    from modelmeter.sweeps.studies.custom import custom as study

    return study(setup, over, **asked)


def _store(common: Common, over: dict[str, Any], asked: dict[str, Any], store: Path) -> None:
    with progress(common.quiet) as say:
        say("sweeping")
        dataset = common.setup().sweep(over, say=say, store=store, **asked)
    if not common.quiet:
        lengths = " x ".join(f"{name} {length:,}" for name, length in dataset.sizes.items())
        typer.echo(f"{lengths}: {', '.join(map(str, dataset.data_vars))}")
        typer.echo(f"wrote {store}: xarray.open_zarr opens it", err=True)
