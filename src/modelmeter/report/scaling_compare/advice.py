"""What to do about a difference: its size and place, its likely cause, and the command that removes it."""

import math
from fractions import Fraction

from modelmeter.report import units
from modelmeter.report.compare.words import percent, share, value_text
from modelmeter.report.scaling_compare.causes import Causes, causes_of
from modelmeter.report.scaling_compare.commands import not_in_command, sweep_command
from modelmeter.report.scaling_compare.compare import ScalingComparison, StagePair
from modelmeter.report.scaling_compare.predict import PRECISIONS
from modelmeter.report.timing.notes import machine_notes

_SLIGHT = Fraction(1, 100)
"""A convention that moves less than this share of the difference is no cause of it."""


def recommendation(found: ScalingComparison) -> list[str]:
    """Lines: settings that differ first, then FLOPs, then times; each with what to do."""
    return [*matching(found), *findings(found)]


def findings(found: ScalingComparison) -> list[str]:
    """What is to be said of FLOPs and times."""
    return [*_flops(found), *_times(found)]


def matching(found: ScalingComparison) -> list[str]:
    """The settings that differ, and the command that makes an analytic file with those of the measurement."""
    if not found.settings:
        return []
    texts = [f"{each.name} {value_text(each.a)} (measured: {value_text(each.b)})" for each in found.settings]
    lines = [f"the analytic file has {', '.join(texts)}", f"to match the measurement: {sweep_command(found)}"]
    python_only = not_in_command(found)
    if python_only:
        lines.append(f"that command cannot say {', '.join(python_only)}: DeepseekOCRModel.from_config() can")
    return lines


def notes(found: ScalingComparison) -> list[str]:
    """What predicted times rest on; nothing where none are."""
    if found.machine is None:
        return []
    device, measured = found.machine.device, found.measured.device
    lines = machine_notes(found.machine, PRECISIONS[found.measured.dtype])
    if (device.kind == "cpu") == (measured.torch_device == "cpu"):
        return lines
    return [*lines, f"careful: it was measured on {measured.torch_device} ({measured.name}), {device.name} is another"]


def _flops(found: ScalingComparison) -> list[str]:
    if not found.measured.counted:
        return ["FLOPs were not counted: measure with --flops, into another folder, to compare them"]
    worst, threshold = found.largest, share(found.threshold)
    if not worst.size:
        return ["FLOPs are equal at every length that both files have, to the last one"]
    where = f"{percent(worst.relative)} in {worst.stage} at {worst.length:,} tokens"
    if not found.exceeding:
        return [f"FLOPs differ by at most {where}: within the threshold of {threshold}"]
    line = f"FLOPs differ by more than {threshold} at {found.exceeding} of {len(found.pairs)} places, most {where}"
    if worst.relative is None:
        return [line, "the analytic file counts no FLOPs there: make it anew with modelmeter sweep seq-len"]
    return [line, *_cause_lines(found, causes_of(found, worst), worst)]


def _cause_lines(found: ScalingComparison, causes: Causes, worst: StagePair) -> list[str]:
    lines = []
    if causes.configuration:
        command = "" if found.settings else f": {sweep_command(found)}"  # else it stands above
        lines.append(
            "likely cause: another configuration; that of the measured file alone moves the analytic FLOPs by "
            f"{percent(causes.configuration)}{command}"
        )
    if causes.sizes:
        lines.append(f"likely cause: another batch size or number of decode steps ({percent(causes.sizes)})")
    for cause in causes.conventions:
        if abs(cause.moves) < _SLIGHT * worst.size:
            continue
        choices = f"{value_text(cause.setting.b)} in place of {value_text(cause.setting.a)}"
        lines.append(f"likely cause: {cause.name} {choices} moves the analytic FLOPs by {percent(cause.moves)}")
    if not causes.unexplained:
        return [*lines, "with the measured file's own settings the analytic model counts exactly what was measured"]
    sizes = f"--context-len {worst.length} --batch-size {found.measured.batch_size} --stage {worst.stage}"
    return [
        *lines,
        f"{percent(causes.unexplained)} is left with the measured file's own settings, which no setting explains: "
        f"`modelmeter verify {sizes}` shows the operators that differ",
    ]


def _times(found: ScalingComparison) -> list[str]:
    if found.machine is None:
        return ["times are only measured: name a --device to lay predicted ones beside them"]
    worst, ratio = max(_ratios(found), key=lambda pair: abs(math.log(pair[1])))
    if abs(math.log(ratio)) <= math.log(1 + found.threshold):
        return [*_impossible(found), f"times are within {share(found.threshold)} of those predicted"]
    where = f"{worst.stage} at {worst.length:,} tokens takes {units.ratio(ratio)} times what is predicted"
    if found.machine.calibration is not None:
        name = found.machine.device.name
        return [
            *_impossible(found),
            f"{where} on the calibrated {name}: a profile beside the prediction (modelmeter import-profile) shows "
            "which kernels; other jobs on the machine lengthen times too",
        ]
    calibrate = f"modelmeter calibrate --device {found.measured.device.torch_device} -o my-device.toml"
    return [
        *_impossible(found),
        f"{where} by roofline, at the rates of a data sheet: `{calibrate}` measures what the machine reaches; then "
        "compare with --device my-device.toml",
    ]


def _ratios(found: ScalingComparison) -> list[tuple[StagePair, float]]:
    return [(pair, pair.ratio) for pair in found.pairs if pair.ratio is not None]


def _impossible(found: ScalingComparison) -> list[str]:
    """Times that no implementation can have on the device that was named."""
    for pair in found.pairs:
        if found.machine is not None and pair.predicted is not None and pair.seconds < pair.predicted.seconds.bound:
            return [
                f"{pair.stage} at {pair.length:,} tokens was faster than the bound of {found.machine.device.name}: it "
                f"was measured on {found.measured.device.name}, so name that device"
            ]
    return []
