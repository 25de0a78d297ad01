"""`modelmeter measure`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from modelmeter.cli import options
from modelmeter.cli.output import QuietOption, complain, interruptible, progress
from modelmeter.cli.sweep.values import whole_numbers

ListOption: TypeAlias = list[str] | None


def measure(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder of measured_scaling.json.")],
    more: Annotated[ListOption, typer.Argument(metavar="[N]...", help="More lengths.")] = None,
    seq_lens: Annotated[
        ListOption, typer.Option("--seq-lens", metavar="N...", help="Tokens of the prompt: 256 512, or 256:4096:256.")
    ] = None,
    decode_steps: Annotated[int, typer.Option(help="Decode steps after each prefill.")] = 16,
    batch_size: Annotated[int, typer.Option(help="Equal prompts run at once.")] = 1,
    flops: Annotated[bool, typer.Option("--flops/--no-flops", help="Count FLOPs too, in a run of its own.")] = True,
    model_path: Annotated[Path | None, typer.Option(metavar="DIR", help="A checkpoint folder.")] = None,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run the folder's own code.")] = False,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="transformers' model of a configuration, without a checkpoint.")
    ] = False,
    layers: Annotated[int | None, typer.Option(metavar="N", help="Of random weights: the first N layers.")] = None,
    config: options.ConfigOption = None,
    device: Annotated[str, typer.Option(help="Where to run: cpu, cuda or cuda:N.")] = "cpu",
    dtype: Annotated[str | None, typer.Option(help="bfloat16 or float16; left out, the checkpoint's.")] = None,
    attention: options.AttentionOption = "eager",
    experts: Annotated[
        str | None, typer.Option(help="Of random weights: eager (a loop), grouped_mm or batched_mm.")
    ] = None,
    warm_up: Annotated[int | None, typer.Option(metavar="N", help="Prefills before those that are timed.")] = None,
    repeats: Annotated[int | None, typer.Option(metavar="N", help="Timed runs of each length.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Measure anew what the folder holds already.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Run a real model over lengths of the prompt: times and counted FLOPs of prefill and decode (modelmeter[live]).

    DIR/measured_scaling.json is written after each length. A command that was interrupted goes on where it was; lengths
    that are there already are not measured again. What does not fit the memory is skipped; exit code 1 where
    nothing is left.

    Examples:

        modelmeter measure --seq-lens 256 512 1024 2048 --decode-steps 16 --random-weights -o measured

        modelmeter measure --seq-lens 256 512 --random-weights --layers 2 --no-flops -o two-layers

        modelmeter measure --seq-lens 1024 --model-path DeepSeek-OCR --trust-remote-code --device cuda:0 -o measured

        modelmeter compare scaling measured --device h200
    """
    lengths = whole_numbers("--seq-lens", [*(seq_lens or ()), *(more or ())])
    with progress(quiet) as say, interruptible():
        from modelmeter.live.measuring.measure import measure_scaling
        from modelmeter.live.measuring.request import MeasureRequest
        from modelmeter.live.running.request import ModelChoice

        found = measure_scaling(
            ModelChoice(
                model_path=model_path,
                trust_remote_code=trust_remote_code,
                random_weights=random_weights,
                layers=layers,
                config=config,
                device=device,
                dtype=dtype,
                attention=attention,
                experts=experts,
            ),
            MeasureRequest(
                seq_lens=tuple(lengths),
                decode_steps=decode_steps,
                batch_size=batch_size,
                flops=flops,
                warm_up=warm_up,
                repeats=repeats,
            ),
            output,
            replace=replace,
            command=shlex.join(["modelmeter", *sys.argv[1:]]),
            say=say,
            warn=lambda line: complain([line]),
        )
    if not quiet:
        from modelmeter.live.measuring.render import print_measured

        print_measured(found)
        typer.echo(f"wrote {output}: measured_scaling.json", err=True)
    if not found.points:
        raise typer.Exit(1)
