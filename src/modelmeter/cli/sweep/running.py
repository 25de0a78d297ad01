"""`modelmeter sweep batch`, `precision` and `device`: how a page is run."""

from typing import TYPE_CHECKING, Annotated, TypeAlias

import attrs
import typer

from modelmeter.cli import options
from modelmeter.cli.sweep.common import Common, refuse, run_study
from modelmeter.cli.sweep.grids import A4, page_of
from modelmeter.cli.sweep.values import whole_numbers

if TYPE_CHECKING:
    from modelmeter.sweeps.studies.running import Prompt

PageOption: TypeAlias = Annotated[str, typer.Option(metavar="WxH", help="The page, in pixels.")]
ContextOption: TypeAlias = Annotated[
    int | None, typer.Option("--context-len", metavar="N", help="A prompt of so many tokens of text, in place of it.")
]
ListOption: TypeAlias = list[str] | None


def batch(
    common: Common,
    more: Annotated[ListOption, typer.Argument(metavar="[N]...", help="More sizes.")] = None,
    batch_sizes: Annotated[
        ListOption, typer.Option("--batch-sizes", metavar="N...", help="Pages at once: 1 2 4, or 1:64.")
    ] = None,
    page: PageOption = A4,
    mode: options.ModeOption = "gundam",
    prompt_tokens: options.PromptTokensOption = 10,
    context_len: ContextOption = None,
) -> None:
    """What several equal pages at once cost: vision, prefill and one decode step.

    Examples:

        modelmeter sweep batch -o batch --device h200

        modelmeter sweep batch --batch-sizes 1 8 64 512 --context-len 1024
    """
    from modelmeter.sweeps.studies import running

    sizes = whole_numbers("--batch-sizes", [*(batch_sizes or ()), *(more or ())]) or running.BATCH_SIZES
    prompt = _prompt(page, mode, prompt_tokens, context_len)
    run_study(common, "batch", lambda setup: running.batch(setup, sizes, prompt=prompt))


def precision(
    common: Common,
    kinds: Annotated[
        ListOption, typer.Argument(metavar="[KIND]...", help="Kinds of weights: bf16, fp16, fp8, int8, int4.")
    ] = None,
    kv_kinds: Annotated[
        str | None, typer.Option(metavar="KIND,...", help="Kinds of KV cache, each with all weights; else --kv.")
    ] = None,
    page: PageOption = A4,
    mode: options.ModeOption = "gundam",
    prompt_tokens: options.PromptTokensOption = 10,
    context_len: ContextOption = None,
    batch_size: options.BatchSizeOption = 1,
) -> None:
    """What the precision of weights and KV cache changes: vision, prefill and one decode step.

    Examples:

        modelmeter sweep precision -o precision --device h200

        modelmeter sweep precision bf16 int4 --kv-kinds bf16,fp8 --batch-size 32
    """
    from modelmeter.sweeps.studies import running

    refuse({"--weights": common.weights != "bf16"}, "is varied by this study: give the kinds as arguments")
    refuse({"--kv": common.kv is not None and kv_kinds is not None}, "and --kv-kinds both say it: drop one")
    weights = [kind for text in kinds or () for kind in text.split(",")] or running.WEIGHTS
    caches = (common.kv,) if kv_kinds is None else kv_kinds.split(",")
    prompt = _prompt(page, mode, prompt_tokens, context_len)
    run_study(
        common,
        "precision",
        lambda setup: running.precision(setup, weights, caches, prompt=prompt, batch_size=batch_size),
    )


def device(
    common: Common,
    names: Annotated[
        ListOption, typer.Argument(metavar="[NAME|FILE]...", help="Devices; left out, four of the catalogue.")
    ] = None,
    page: PageOption = A4,
    mode: options.ModeOption = "gundam",
    prompt_tokens: options.PromptTokensOption = 10,
    context_len: ContextOption = None,
    batch_size: options.BatchSizeOption = 1,
) -> None:
    """How long a page takes on several devices: vision, prefill and one decode step.

    Examples:

        modelmeter sweep device h200 a100-40g rtx-4090 -o devices

        modelmeter sweep device h200 l40s --execution eager,graph
    """
    from modelmeter.sweeps.studies import running

    common = attrs.evolve(common, device=[*(common.device or ()), *(names or ())] or list(running.DEVICES))
    prompt = _prompt(page, mode, prompt_tokens, context_len)
    run_study(common, "device", lambda setup: running.device(setup, prompt=prompt, batch_size=batch_size))


def _prompt(page: str, mode: str, prompt_tokens: int, context_len: int | None) -> "Prompt":
    from modelmeter.sweeps.studies.running import Prompt

    if context_len is not None:
        given = {"--page": page != A4, "--mode": mode != "gundam", "--prompt-tokens": prompt_tokens != 10}
        refuse(given, "is of a page, --context-len of text alone: drop one")
    return Prompt(page=page_of(page), mode=mode, prompt_tokens=prompt_tokens, context_len=context_len)
