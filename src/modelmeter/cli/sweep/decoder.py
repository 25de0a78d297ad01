"""`modelmeter sweep seq-len`, `kv-heads` and `experts`."""

from typing import Annotated, Any, TypeAlias

import typer

from modelmeter.cli import options
from modelmeter.cli.sweep.common import Common, refuse, run_study
from modelmeter.cli.sweep.grids import StepsOption
from modelmeter.cli.sweep.values import values_of, whole_numbers

ContextOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--context-len", metavar="N,...", help="Tokens of the prompt, text alone.")
]
ListOption: TypeAlias = list[str] | None


def seq_len(
    common: Common,
    more: Annotated[ListOption, typer.Argument(metavar="[N]...", help="More lengths.")] = None,
    seq_lens: Annotated[
        ListOption, typer.Option("--seq-lens", metavar="N...", help="Tokens of the prompt: 256 512, or 256:4096:256.")
    ] = None,
    decode_steps: StepsOption = 16,
    batch_size: options.BatchSizeOption = 1,
) -> None:
    """How prefill and decode grow with the prompt; the folder has analytic_scaling.json too.

    Examples:

        modelmeter sweep seq-len --seq-lens 256 512 1024 2048 4096 --decode-steps 16 -o scaling

        modelmeter sweep seq-len --seq-lens 512:8192:512 --device h200
    """
    from modelmeter.sweeps.studies import decoder

    lengths = whole_numbers("--seq-lens", [*(seq_lens or ()), *(more or ())]) or decoder.SEQ_LENS
    sizes = {"decode_steps": decode_steps, "batch_size": batch_size}
    run_study(common, "seq-len", lambda setup: decoder.seq_len(setup, lengths, **sizes))


def kv_heads(
    common: Common,
    heads: Annotated[
        ListOption, typer.Argument(metavar="[N]...", help="KV heads; left out, all that divide the attention heads.")
    ] = None,
    context_len: ContextOption = None,
    batch_size: options.BatchSizeOption = 1,
) -> None:
    """What fewer KV heads than attention heads save: prefill and one decode step.

    Examples:

        modelmeter sweep kv-heads -o kv-heads

        modelmeter sweep kv-heads 1 2 10 --context-len 1024,4096,8192
    """
    from modelmeter.sweeps.studies import decoder

    numbers = whole_numbers("N", heads or ())
    lengths = whole_numbers("--context-len", context_len or ()) or (decoder.CONTEXT_LEN,)
    run_study(
        common,
        "kv-heads",
        lambda setup: decoder.kv_heads(setup, numbers, context_lens=lengths, batch_size=batch_size),
    )


def experts(
    common: Common,
    top_k: Annotated[ListOption, typer.Option(metavar="N,...", help="Experts that a token takes.")] = None,
    numbers: Annotated[ListOption, typer.Option(metavar="N,...", help="Routed experts of a layer.")] = None,
    coverages: Annotated[
        ListOption, typer.Option(metavar="NAME,...", help="Experts reached: expected, max, min, or numbers.")
    ] = None,
    context_len: ContextOption = None,
    batch_size: options.BatchSizeOption = 1,
) -> None:
    """What experts cost: how many a token takes, how many there are, how many tokens reach.

    Examples:

        modelmeter sweep experts -o experts

        modelmeter sweep experts --top-k 2,4,8 --numbers 64 --coverages expected,max --batch-size 16
    """
    from modelmeter.sweeps.studies import decoder

    refuse({"--coverage": common.coverage != "expected"}, "is varied by this study: give --coverages")
    taken = whole_numbers("--top-k", top_k or ()) or decoder.TOP_K
    there = whole_numbers("--numbers", numbers or ()) or decoder.EXPERTS
    reached = values_of("--coverages", coverages or ()) or decoder.COVERAGES
    lengths = whole_numbers("--context-len", context_len or ()) or (decoder.CONTEXT_LEN,)
    sizes: dict[str, Any] = {"context_lens": lengths, "batch_size": batch_size}
    run_study(
        common,
        "experts",
        lambda setup: decoder.experts(setup, top_k=taken, numbers=there, coverages=reached, **sizes),
    )
