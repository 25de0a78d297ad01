"""What all studies share on the command line: the model and the device they are of, and where the results go."""

import inspect
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import attrs
import typer

from modelmeter.cli import options
from modelmeter.cli.output import QuietOption, complain, progress
from modelmeter.core.errors import ModelMeterError

if TYPE_CHECKING:
    from modelmeter.sweeps.studies.setup import Setup
    from modelmeter.sweeps.study import Study

AttentionOption: TypeAlias = Annotated[str, typer.Option(help="eager, flash, or both side by side.")]
ImplementationOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Whose code: vendor (default) or transformers (default with --measure-flops).")
]
DeviceOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--device", metavar="NAME|FILE", help="A device, for times; repeatable, or several with commas."),
]
ExecutionOption: TypeAlias = Annotated[str, typer.Option(help="eager, graph or fused; several with commas.")]
OutputOption: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write a folder of results: it appears whole.")
]
ForceOption: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace a folder that holds this study.")]
PlotsOption: TypeAlias = Annotated[bool, typer.Option("--plots/--no-plots", help="Draw the plots too.")]
MeasureOption: TypeAlias = Annotated[
    bool,
    typer.Option("--measure-flops", help="Run the real model at the same points, count its FLOPs (modelmeter[live])."),
]


@attrs.frozen(kw_only=True)
class Common:
    """The options that every study has, as given."""

    attention: str
    implementation: str | None
    experts: str
    cache: str
    logits: str
    coverage: str
    config: Path | None
    weights: str
    activations: str | None
    kv: str | None
    weights_parts: str
    device: list[str] | None
    device_file: list[Path] | None
    execution: str
    measure_flops: bool
    output: Path | None
    force: bool
    plots: bool
    quiet: bool

    def setup(self) -> "Setup":
        """What the study is of. Raises `ModelMeterError` for what cannot be."""
        from modelmeter.hardware.catalogue import get_device
        from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
        from modelmeter.nn.attention import ATTENTION_KINDS
        from modelmeter.sweeps.studies.setup import Setup

        kinds = tuple(kind for kind in ATTENTION_KINDS if self.attention in (kind, "both"))
        if not kinds:
            raise ModelMeterError(
                f"attention {self.attention!r} is unknown: choose {', '.join(ATTENTION_KINDS)} or both"
            )
        model = DeepseekOCRModel.from_config(
            options.config_of(self.config),
            precision=options.precision_of(self.weights, self.activations, self.kv, self.weights_parts),
            attention=kinds[0],
            implementation=self._implementation(),
            experts=self.experts,
            cache=self.cache,
            logits=self.logits,
            coverage=options.coverage_of(self.coverage),
        )
        names = [name for text in self.device or () for name in _several(text)]
        if not names:
            timed = {"--execution": self.execution != "eager", "--device-file": bool(self.device_file)}
            refuse(timed, "is for times: name a --device")
        executions = [options.execution_of(name) for name in _several(self.execution)]
        return Setup(
            model=model,
            attention=kinds,
            devices=tuple(get_device(name, *(self.device_file or ())) for name in names),
            execution=executions[0] if len(executions) == 1 else executions,
        )

    def _implementation(self) -> str:
        if self.measure_flops and self.implementation == "vendor":
            raise ModelMeterError("--measure-flops runs transformers' code: drop --implementation vendor")
        return self.implementation or ("transformers" if self.measure_flops else "vendor")


def refuse(given: Mapping[str, bool], why: str) -> None:
    """Raise `ModelMeterError` for the first option that is given where it would change nothing."""
    for name, there in given.items():
        if there:
            raise ModelMeterError(f"{name} {why}")


def _several(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def common_options(
    attention: AttentionOption = "both",
    implementation: ImplementationOption = None,
    experts: options.ExpertsOption = "loop",
    cache: options.CacheOption = "concat",
    logits: options.LogitsOption = "all",
    coverage: options.CoverageOption = "expected",
    config: options.ConfigOption = None,
    weights: options.WeightsOption = "bf16",
    activations: options.ActivationsOption = None,
    kv: options.KvOption = None,
    weights_parts: options.PartsOption = "decoder",
    device: DeviceOption = None,
    device_file: options.DeviceFileOption = None,
    execution: ExecutionOption = "eager",
    measure_flops: MeasureOption = False,
    output: OutputOption = None,
    force: ForceOption = False,
    plots: PlotsOption = True,
    quiet: QuietOption = False,
) -> None:
    """The signature is all there is to it: `with_common` gives it to every study."""


def with_common(command: Callable[..., None], **defaults: Any) -> Callable[..., None]:
    """`command(common, ...)` as a command that has its own options first, then the common ones.

    `defaults` replace those of common options.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    shared = [
        parameter.replace(default=defaults.get(parameter.name, parameter.default))
        for parameter in inspect.signature(common_options, eval_str=True).parameters.values()
    ]

    def run(**given: Any) -> None:
        common = Common(**{parameter.name: given.pop(parameter.name) for parameter in shared})
        command(common, **given)

    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *shared)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    return run


def run_study(common: Common, name: str, make: "Callable[[Setup], Study]") -> None:
    """Make the study, write its folder, print what was found and where it is."""
    from modelmeter.report.study.points import check_points
    from modelmeter.report.study.summary import print_study
    from modelmeter.report.study.write import check_folder, write_study

    if common.output is not None:
        check_folder(common.output, name, force=common.force)
    study = make(common.setup())
    check_points(study)
    if common.measure_flops:
        study = _measured(common, study)
    complain(study.warnings)
    if not common.quiet:
        print_study(study)
    if common.output is not None:
        command = shlex.join(["modelmeter", *sys.argv[1:]])
        files = write_study(study, common.output, command=command, force=common.force, plots=common.plots)
        if not common.quiet:
            typer.echo(f"wrote {common.output}: {len(files)} files, begin with README.md", err=True)


def _measured(common: Common, study: "Study") -> "Study":
    with progress(common.quiet) as say:
        from modelmeter.live.measured_study import measure_study

        return measure_study(study, config_file=common.config, say=say)
