"""`modelmeter analyze-model`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelmeter.cli import options
from modelmeter.cli.output import (
    JsonOption,
    MarkdownOption,
    QuietOption,
    check_outputs,
    deliver,
    interruptible,
    progress,
)

if TYPE_CHECKING:
    from modelmeter.live.analyser.render import Result


def analyze_model(
    page: Annotated[
        str | None,
        typer.Argument(metavar="[PAGE]", help="A picture or document (its first page), WIDTHxHEIGHT, or none."),
    ] = None,
    model_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A checkpoint folder with the vendor's code (transformers 4.46).")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the Python code in that folder, with your rights.")
    ] = False,
    config: options.ConfigOption = None,
    mode: options.ModeOption = "gundam",
    max_tiles: options.MaxTilesOption = 9,
    prompt_tokens: options.PromptTokensOption = 10,
    context_len: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of the prefill. Default: image and prompt tokens.")
    ] = None,
    cached: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens cached before the first decode step. Default: the context.")
    ] = None,
    decode_steps: Annotated[int, typer.Option(metavar="K", help="Decode steps in a row.")] = 1,
    batch_size: options.BatchSizeOption = 1,
    attention: Annotated[str, typer.Option(help="eager or flash (the real model's sdpa).")] = "eager",
    experts: Annotated[
        str | None, typer.Option(help="How the real experts run: eager (default), batched_mm or grouped_mm.")
    ] = None,
    grid: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML of lengths, decode_steps and batches to scale over.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write DIR/static_analysis/.")
    ] = None,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    quiet: QuietOption = False,
) -> None:
    """What the real model is made of and runs, stage by stage, beside its analytic twin (needs modelmeter[live]).

    The real model runs without weights and without data, in full size. Exit code 0 when every exact quantity is equal
    and every other inside the bounds of verify, 1 when something differs.

    Examples:

        modelmeter analyze-model

        modelmeter analyze-model page.png --attention flash -o analysis/

        modelmeter analyze-model none --context-len 500 --decode-steps 4

        modelmeter analyze-model --model-path DIR --trust-remote-code

        modelmeter analyze-model --grid grid.yaml -o analysis/
    """
    outputs = {"json": json, "markdown": markdown}
    check_outputs(outputs, [str(name) for name in (page, config, grid) if name is not None])
    with progress(quiet) as say, interruptible():
        from modelmeter.live.analyser.request import Request, run

        request = Request(
            page=page,
            mode=mode,
            max_tiles=max_tiles,
            prompt_tokens=prompt_tokens,
            context_len=context_len,
            cached=cached,
            decode_steps=decode_steps,
            batch_size=batch_size,
            config=config,
            model_path=model_path,
            trust_remote_code=trust_remote_code,
            attention=attention,
            experts=experts,
            grid=grid,
            output=output,
        )
        result = run(request, say)
    if output is not None and not quiet:
        typer.echo(f"wrote {output}", err=True)
    _deliver(result, outputs, quiet)
    if not result.ok:
        raise typer.Exit(1)


def _deliver(result: "Result", wanted: dict[str, str | None], quiet: bool) -> None:
    from modelmeter.live.analyser import export, render

    writers = {"json": export.result_json, "markdown": render.to_markdown}
    deliver(result, wanted, writers, print_it=render.print_result, quiet=quiet)
