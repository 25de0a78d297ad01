"""The subcommands of `modelmeter sweep`."""

import typer

from modelmeter.cli.sweep.common import with_common
from modelmeter.cli.sweep.custom import custom, shapes
from modelmeter.cli.sweep.decoder import experts, kv_heads, seq_len
from modelmeter.cli.sweep.grids import decode, prefill, vision
from modelmeter.cli.sweep.pages import pages
from modelmeter.cli.sweep.running import batch, device, precision

sweep = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Vary something and see what it costs: named studies, or your own.",
)
sweep.command(name="batch", short_help="Pages at once.")(with_common(batch))
sweep.command(name="custom", short_help="Any dimensions, in memory or in a Zarr store.")(
    with_common(custom, attention="eager")
)
sweep.command(name="decode", short_help="Decode steps over grids of tiles.")(with_common(decode))
sweep.command(name="device", short_help="Devices.")(with_common(device))
sweep.command(name="experts", short_help="Experts: taken, there, reached.")(with_common(experts))
sweep.command(name="kv-heads", short_help="KV heads.")(with_common(kv_heads))
sweep.command(name="pages", short_help="Real documents, or a CSV of page sizes.")(with_common(pages, attention="eager"))
sweep.command(name="precision", short_help="Weights and KV cache.")(with_common(precision))
sweep.command(name="prefill", short_help="Prefill over grids of tiles.")(with_common(prefill))
sweep.command(name="seq-len", short_help="Length of the prompt.")(with_common(seq_len))
sweep.command(name="shapes", short_help="Write a list of grids.")(shapes)
sweep.command(name="vision", short_help="Vision over grids, modes or sides.")(with_common(vision))
