"""`modelmeter formula`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmeter.cli.output import JsonOption, coverage_option, write


def formula(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="deepseek-ocr.")],
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="vision, prefill or decode.")],
    quantity: Annotated[str, typer.Option(help="For example tensor_flops, io_bytes, kv_cache_bytes.")] = "flops",
    layer: Annotated[
        str | None, typer.Option(metavar="PATH", help="One module, for example model.layers.1.mlp.")
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX.")] = False,
    attention: Annotated[str, typer.Option(help="eager or flash.")] = "eager",
    implementation: Annotated[str, typer.Option(help="Whose code: vendor or transformers.")] = "vendor",
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A config.json instead of the released model.")
    ] = None,
    logits: Annotated[str, typer.Option(help="Logits of all prompt positions or the last: all or last.")] = "all",
    cache: Annotated[str, typer.Option(help="How the KV cache grows: concat or in_place.")] = "concat",
    causal: Annotated[str, typer.Option(help="Scores counted as needed: full or triangle.")] = "full",
    coverage: Annotated[str, typer.Option(help="Experts reached: expected, max, min, or a number.")] = "expected",
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
        coverage=coverage_option(coverage),
    )
    if json is not None:
        write(json, result.to_json(), quiet=False)
    if json != "-":
        typer.echo(result.latex if latex else result.text)
        for note in result.notes:
            typer.echo(f"{'% ' if latex else '  '}{note}")
