"""`modelmeter formula`."""

from typing import Annotated

import typer

from modelmeter.cli import options
from modelmeter.cli.output import JsonOption, write


def formula(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="deepseek-ocr.")],
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="vision, prefill or decode.")],
    quantity: Annotated[str, typer.Option(help="For example tensor_flops, io_bytes, kv_cache_bytes.")] = "flops",
    layer: Annotated[
        str | None, typer.Option(metavar="PATH", help="One module, for example model.layers.1.mlp.")
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX.")] = False,
    attention: options.AttentionOption = "eager",
    implementation: options.ImplementationOption = "vendor",
    config: options.ConfigOption = None,
    logits: options.LogitsOption = "all",
    cache: Annotated[str, typer.Option(help="How the KV cache grows: concat or in_place.")] = "concat",
    causal: Annotated[str, typer.Option(help="Scores counted as needed: full or triangle.")] = "full",
    coverage: options.CoverageOption = "expected",
    exact: Annotated[bool, typer.Option("--exact", help="Keep the cases of sizes of 1 apart.")] = False,
    json: JsonOption = None,
) -> None:
    """The closed formula of a stage, in B, S, T and R (see below), from the same code that counts.

    B: batch. S: query tokens of the prefill. T: tokens cached before the decoded one. R: side of a view / 64 px.

    Examples:

        modelmeter formula deepseek-ocr decode --quantity tensor_flops

        modelmeter formula deepseek-ocr prefill --quantity kv_bytes --latex
    """
    from modelmeter.formulas import describe_formula

    result = describe_formula(
        model,
        stage,
        quantity,
        layer=layer,
        config=config,
        exact=exact,
        attention=attention,
        implementation=implementation,
        logits=logits,
        cache=cache,
        causal=causal,
        coverage=options.coverage_of(coverage),
    )
    if json is not None:
        write(json, result.to_json(), quiet=False)
    if json != "-":
        typer.echo(result.latex if latex else result.text)
        for note in result.notes:
            typer.echo(f"{'% ' if latex else '  '}{note}")
