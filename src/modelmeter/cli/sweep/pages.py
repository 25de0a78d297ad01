"""`modelmeter sweep pages`: real documents."""

from typing import Annotated

import typer

from modelmeter.cli import options
from modelmeter.cli.output import complain
from modelmeter.cli.sweep.common import Common, run_study


def pages(
    common: Common,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Pictures, PDFs, directories, globs, sizes, or a .csv of width,height."),
    ],
    mode: options.ModeOption = "gundam",
    max_tiles: options.MaxTilesOption = 9,
    prompt_tokens: options.PromptTokensOption = 10,
    decode_steps: Annotated[int, typer.Option("--decode-steps", metavar="K", help="Decode steps of a page.")] = 512,
    dpi: options.DpiOption = 144,
) -> None:
    """How the pages of documents spread over image tokens, cost and time.

    Exit code 1 when a file could not be read; the others are still counted.

    Examples:

        modelmeter sweep pages scans/ -o pages --device h200

        modelmeter sweep pages sizes.csv --mode base
    """
    from modelmeter.documents import Page, PageError, read_pages
    from modelmeter.report.study.page_sizes import read_sizes
    from modelmeter.sweeps.studies.pages import pages as study

    tables = [name for name in files if name.lower().endswith(".csv")]
    found = list(read_pages([name for name in files if name not in tables], dpi=dpi))
    sizes = [(page.width, page.height) for page in found if isinstance(page, Page)]
    sizes += [size for name in tables for size in read_sizes(name)]
    errors = [page for page in found if isinstance(page, PageError)]
    complain(errors)
    work = {"max_tiles": max_tiles, "prompt_tokens": prompt_tokens, "decode_steps": decode_steps}
    run_study(common, "pages", lambda setup: study(setup, sizes, mode=mode, **work))
    if errors:
        raise typer.Exit(1)
