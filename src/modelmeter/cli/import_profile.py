"""`modelmeter import-profile`."""

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from modelmeter.cli import options
from modelmeter.cli.output import JsonOption, MarkdownOption, QuietOption, check_outputs, deliver
from modelmeter.cli.sweep.common import refuse
from modelmeter.core.errors import ModelMeterError

if TYPE_CHECKING:
    from modelmeter.report.profiles.build import ProfileReport

ProfileArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="FILE", help="A torch profiler trace (.json, .json.gz), or a kernel summary of nsys.")
]
PageArgument: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="[PAGE]", help="The page that was run, a file or its size: predicted, too.")
]
DeviceOption: TypeAlias = Annotated[
    str | None, typer.Option("--device", metavar="NAME|FILE", help="What it ran on: a device of `modelmeter devices`.")
]
StageOption: TypeAlias = Annotated[
    str | None, typer.Option(help="What lies in no range is of this stage: vision, prefill, decode, ...")
]
RunsOption: TypeAlias = Annotated[
    int | None, typer.Option(help="How often the page was run; left out, the number of prefill ranges.")
]
StepsOption: TypeAlias = Annotated[
    int | None, typer.Option(help="Decode steps of a run; left out, the number of decode ranges.")
]
CsvOption: TypeAlias = Annotated[str | None, typer.Option(metavar="FILE|-", help="A row for each kernel and stage.")]


def import_profile(
    file: ProfileArgument,
    page: PageArgument = None,
    device: DeviceOption = None,
    device_file: options.DeviceFileOption = None,
    execution: options.ExecutionOption = "eager",
    stage: StageOption = None,
    runs: RunsOption = None,
    weights: options.WeightsOption = "bf16",
    activations: options.ActivationsOption = None,
    kv: options.KvOption = None,
    weights_parts: options.PartsOption = "decoder",
    mode: options.ModeOption = "gundam",
    max_tiles: options.MaxTilesOption = 9,
    prompt_tokens: options.PromptTokensOption = 10,
    decode_tokens: StepsOption = None,
    batch_size: options.BatchSizeOption = 1,
    attention: options.AttentionOption = "eager",
    implementation: options.ImplementationOption = "vendor",
    experts: options.ExpertsOption = "loop",
    cache: options.CacheOption = "concat",
    logits: options.LogitsOption = "all",
    coverage: options.CoverageOption = "expected",
    config: options.ConfigOption = None,
    launch_overhead: options.LaunchOption = None,
    dpi: options.DpiOption = 144,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    csv: CsvOption = None,
    quiet: QuietOption = False,
) -> None:
    """Where the time of a profiled run went, by stage and kind of kernel, and beside it what is predicted.

    FILE is what torch.profiler's export_chrome_trace() wrote, or `nsys stats --report cuda_gpu_kern_sum --format csv`.
    With PAGE and --device the prediction for that page stands beside it, and MFU and MBU are those of the run.

    Examples:

        modelmeter import-profile trace.json.gz

        modelmeter import-profile trace.json 1654x2339 --device h200 --attention flash --implementation transformers

        modelmeter import-profile kernels.csv 1654x2339 --device a100-40g --stage decode --decode-tokens 128
    """
    from modelmeter.hardware.roofline import machine_of
    from modelmeter.models.deepseek_ocr.config import make_conventions
    from modelmeter.report.analysis import Workload
    from modelmeter.report.profiles.build import Expected, one_page
    from modelmeter.report.profiles.build import import_profile as run

    outputs = {"json": json, "markdown": markdown, "csv": csv}
    check_outputs(outputs, [file] if page is None else [file, page])
    expected = None
    if page is not None and device is not None:
        sizes = {"prompt_tokens": prompt_tokens, "batch_size": batch_size}
        kernels = {"attention": attention, "experts": experts, "cache": cache}
        counted = {"implementation": implementation, "logits": logits, "coverage": options.coverage_of(coverage)}
        chosen = options.execution_of(execution)
        expected = Expected(
            page=one_page(page, dpi),
            machine=machine_of(device, *(device_file or []), execution=chosen, host_seconds=launch_overhead),
            workload=Workload(mode=mode, max_tiles=max_tiles, **sizes),
            config=options.config_of(config),
            conventions=make_conventions({**kernels, **counted}),
            precision=options.precision_of(weights, activations, kv, weights_parts),
        )
    elif page is not None or device is not None:
        raise ModelMeterError("a prediction needs both the page that was run and --device: name them, or neither")
    else:
        given = {"--device-file": bool(device_file), "--execution": execution != "eager"}
        refuse(given | {"--launch-overhead": launch_overhead is not None}, "is for times: name a page and a --device")
    _deliver(run(file, expected, stage=stage, runs=runs, decode_tokens=decode_tokens), outputs, quiet)


def _deliver(report: "ProfileReport", wanted: dict[str, str | None], quiet: bool) -> None:
    from modelmeter.report.profiles import export, render

    writers = {"json": export.to_json, "markdown": export.to_markdown, "csv": export.to_csv}
    deliver(report, wanted, writers, print_it=render.print_profile, quiet=quiet)
