"""`modelmeter run`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelmeter.cli import options
from modelmeter.cli.output import QuietOption, complain

if TYPE_CHECKING:
    from modelmeter.live.running.progress import Progress


def run(
    files: options.FilesArgument,
    model_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A checkpoint folder: the vendor's code, or transformers' own.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the Python code in that folder, with your rights.")
    ] = False,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="The same architecture with random weights, without a checkpoint.")
    ] = False,
    layers: Annotated[
        int | None, typer.Option(metavar="N", help="Only the first N decoder layers of random weights.")
    ] = None,
    config: options.ConfigOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the random weights. Default: 0.")] = None,
    device: Annotated[str, typer.Option(help="Where to run: cpu, cuda or cuda:N.")] = "cpu",
    dtype: Annotated[
        str | None, typer.Option(help="bfloat16 or float16. Default: the checkpoint's, else bfloat16.")
    ] = None,
    attention: Annotated[str, typer.Option(help="eager, or flash (torch's attention kernels).")] = "eager",
    experts: Annotated[
        str | None, typer.Option(help="How transformers' experts run: eager (default), batched_mm or grouped_mm.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(metavar="K", help="Tokens out of a page at most; the prefill gives the first.")
    ] = 32,
    mode: options.ModeOption = "gundam",
    max_tiles: options.MaxTilesOption = 9,
    prompt: Annotated[
        str | None, typer.Option(help="A text with <image> in it, for a checkpoint with a tokenizer.")
    ] = None,
    prompt_tokens: options.PromptTokensOption = 10,
    batch_size: options.BatchSizeOption = 1,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Decode all tokens, also beyond the tokenizer's end of sequence.")
    ] = False,
    hooks: Annotated[bool, typer.Option("--hooks/--no-hooks", help="Watch the model's layers by hooks.")] = True,
    observe_experts: Annotated[
        bool, typer.Option("--observe-experts", help="Also count the experts that each layer reaches.")
    ] = False,
    warm_up: Annotated[int | None, typer.Option(metavar="N", help="Prefills before those measured.")] = None,
    repeats: Annotated[int | None, typer.Option(metavar="N", help="Prefills measured.")] = None,
    predict_device: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="The device to predict times of; a known CUDA device needs no naming."),
    ] = None,
    dpi: options.DpiOption = 144,
    html: Annotated[bool, typer.Option("--html/--no-html", help="Write report.html too (extra plot).")] = True,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the folders of runs are.")
    ] = Path("runs"),
    run_id: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of this run's folder. Default: the time and some letters.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """The real model on the pages of documents, measured, beside what was predicted (needs modelmeter[live]).

    Each run has a folder of its own with all results; a run that was stopped keeps what it had. Sizes such as 600x620
    are pages of noise. Exit code 1 when a page could not be run (the others are), or hooks and static model differ.

    Examples:

        modelmeter run page.png --random-weights --layers 2 --max-new-tokens 8

        modelmeter run paper.pdf --model-path DeepSeek-OCR/ --trust-remote-code --device cuda:0

        modelmeter run 600x620 --random-weights --layers 2 --predict-device my-cpu.toml --run-id first -o runs/
    """
    with _progress(quiet) as watch:
        from modelmeter.live.running.request import ModelChoice, RunRequest, workload_of
        from modelmeter.live.running.run import Interrupted, run_documents
        from modelmeter.live.running.tables import print_run

        model = ModelChoice(
            model_path=model_path,
            trust_remote_code=trust_remote_code,
            random_weights=random_weights,
            layers=layers,
            config=config,
            seed=seed,
            device=device,
            dtype=dtype,
            attention=attention,
            experts=experts,
        )
        request = RunRequest(
            files=tuple(files),
            model=model,
            workload=workload_of(
                mode=mode,
                max_tiles=max_tiles,
                prompt_tokens=prompt_tokens,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
            ),
            prompt=prompt,
            dpi=dpi,
            ignore_eos=ignore_eos,
            hooks=hooks,
            observe_experts=observe_experts,
            warm_up=warm_up,
            repeats=repeats,
            predict_device=predict_device,
            output=output,
            run_id=run_id,
            html=html,
        )
        try:
            summary = run_documents(request, watch=watch)
        except Interrupted as stop:
            complain([stop])
            raise
    complain(summary.errors)
    if not quiet:
        print_run(summary)
        typer.echo(f"wrote {summary.folder}", err=True)
    if not summary.ok:
        raise typer.Exit(1)


@contextmanager
def _progress(quiet: bool) -> "Iterator[Callable[[Progress], None]]":
    """A bar on the terminal: the stage, the page, how far it is; nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # It is drawn between passes alone: a thread that draws would take its share of those that are timed.
    with Bar(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("importing torch", total=None)
        bar.refresh()

        def show(progress: "Progress") -> None:
            bar.tasks[0].total = progress.total or None  # None in update() would leave it as it was
            bar.update(task, description=progress.words, completed=progress.done, refresh=True)

        yield show
