"""`modelmeter verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelmeter.cli import options
from modelmeter.cli.output import JsonOption, MarkdownOption, QuietOption, check_outputs, deliver, progress

if TYPE_CHECKING:
    from modelmeter.live.verification.selection import Report


def verify(
    select: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SELECT]...",
            help="Only these layers: SAM, CLIP, projector, decoder, a class of layer, or the start of a module path.",
        ),
    ] = None,
    model_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A checkpoint folder with the vendor's code (transformers 4.46).")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the Python code in that folder, with your rights.")
    ] = False,
    config: options.ConfigOption = None,
    stage: Annotated[str, typer.Option(help="vision, prefill, page (both at once), decode or all.")] = "all",
    layers: Annotated[bool, typer.Option("--layers", help="Only layers, no whole stages.")] = False,
    context_len: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N", help="Tokens of the prefill, cached in decode; repeatable. Default: image tokens + 10."
        ),
    ] = None,
    decode_steps: Annotated[
        int | None, typer.Option(metavar="K", help="Decode steps in a row. Default: 1, with --real 4.")
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(metavar="B", help="Sequences; repeatable. Default: 1.")
    ] = None,
    views: Annotated[
        str | None, typer.Option(help="Views of a page, or none. Default: 1024x1024,640x640*6.", metavar="VIEWS")
    ] = None,
    attention: Annotated[str, typer.Option(help="eager or flash (the real model's sdpa).")] = "eager",
    experts: Annotated[
        str | None, typer.Option(help="How the real experts run: eager (default), batched_mm or grouped_mm.")
    ] = None,
    real: Annotated[bool, typer.Option("--real", help="A small model with real tensors, run by generate.")] = False,
    backward: Annotated[bool, typer.Option("--backward", help="Compare the backward pass too.")] = False,
    fvcore: Annotated[
        bool, typer.Option("--fvcore", help="Hold SAM, CLIP and the projector against fvcore's counter too.")
    ] = False,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    quiet: QuietOption = False,
) -> None:
    """The real model beside its analytic twin, operator by operator (needs modelmeter[live]).

    The real model runs without data, in full size. Exit code 0 when every exact quantity is equal and every other
    inside its bound, 1 when something differs.

    Examples:

        modelmeter verify

        modelmeter verify --layers SAM --views 640x640

        modelmeter verify --stage decode --context-len 1000 --decode-steps 5 --batch-size 4

        modelmeter verify --real
    """
    outputs = {"json": json, "markdown": markdown}
    check_outputs(outputs, [] if config is None else [str(config)])
    with progress(quiet) as say:
        from modelmeter.live.verification.request import Request, run

        request = Request(
            names=tuple(select or ()),
            only_layers=layers,
            model_path=model_path,
            trust_remote_code=trust_remote_code,
            config=config,
            stage=stage,
            context_len=tuple(context_len or ()),
            batch_size=tuple(batch_size or ()),
            decode_steps=decode_steps,
            views=views,
            attention=attention,
            experts=experts,
            real=real,
            backward=backward,
            fvcore=fvcore,
        )
        report = run(request, say)
    _deliver(report, outputs, quiet)
    if not report.ok:
        raise typer.Exit(1)


def _deliver(report: "Report", wanted: dict[str, str | None], quiet: bool) -> None:
    from modelmeter.live.verification import export, render

    writers = {"json": export.to_json, "markdown": render.to_markdown}
    deliver(report, wanted, writers, print_it=render.print_report, quiet=quiet)
