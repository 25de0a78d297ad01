"""What a profile's numbers rest on, in words."""

from modelmeter.documents.pages import one_line
from modelmeter.report import units
from modelmeter.report.conventions import convention_notes
from modelmeter.report.profiles.build import ProfileReport
from modelmeter.report.timing.notes import machine_notes

_TOOLS = {"torch": "torch profiler", "nsys": "Nsight Systems kernel summary"}


def heading(report: ProfileReport) -> str:
    """One line: the file, what it holds, and the page it is compared with."""
    profile, expected = report.profile, report.expected
    things = "kernels and copies" if profile.runs_on == "gpu" else "operators"
    device = "" if profile.device_name is None else f" of {one_line(profile.device_name)}"
    line = f"{one_line(profile.source)}: {_TOOLS[profile.tool]}{device}, {profile.total.launches:,} {things} in "
    line += units.seconds(profile.total.seconds)
    if expected is None:
        return line
    work = expected.workload
    runs = f"{report.runs} runs of " if report.runs > 1 else ""
    batch = f"{work.batch_size} at a time of " if work.batch_size > 1 else ""
    return (
        f"{line}; beside {runs}{batch}{expected.page.label} on {expected.machine.device.name}, mode {work.mode}, "
        f"{work.prompt_tokens} prompt tokens, {work.decode_tokens} decode steps"
    )


def notes(report: ProfileReport) -> list[str]:
    """What was measured, what was predicted, and the conventions of the counting."""
    profile, prediction, expected = report.profile, report.prediction, report.expected
    lines = [*_cautions(report), *_measured(report)]
    if prediction is None or expected is None:
        return lines
    machine = prediction.machine
    own = "with their launches" if machine.synchronous else "the device's work alone"
    over = "kernel time: the tool has no timeline" if profile.elapsed is None else "elapsed time"
    return [
        *lines,
        f"predicted: {prediction.level}, operators {own}; elapsed: waiting for launches included",
        f"MFU: needed matrix FLOPs / (dense peak x time); MBU: (weights used, once, + KV cache) / (bandwidth x time); "
        f"time is the {over}",
        *machine_notes(machine, expected.precision),
        f"precision: {expected.precision.describe()}",
        *convention_notes(expected.conventions),
    ]


def _measured(report: ProfileReport) -> list[str]:
    profile = report.profile
    if profile.runs_on == "gpu":
        lines = ["kernels: time on the device, copies and memsets included; those of several streams may overlap"]
        if profile.elapsed is not None:
            lines.append("elapsed: by how much a stage's kernels move the time at which the device is done")
    else:
        lines = [
            "operators: each one's own time, without that of operators it calls; launches are the calls that do "
            "something themselves; a profiler slows them down",
            "elapsed: the time in a stage's ranges, Python included",
        ]
    if profile.tool == "nsys":
        lines.append("a kernel summary has no stages and no copies (cuda_gpu_kern_sum): --stage names the one")
    lines.append("attention is fused attention alone: products and softmax of eager attention are in their own kinds")
    return lines


def _cautions(report: ProfileReport) -> list[str]:
    profile, expected, lines = report.profile, report.expected, []
    marked = profile.ranges.get("decode", 0)
    if marked and report.decode_steps not in (marked, None):
        lines.append(f"careful: {marked} decode ranges were marked, and {report.decode_steps} decode steps are taken")
    if profile.unfinished:
        lines.append(f"careful: {profile.unfinished} events have no end and are left out: the profiler stopped first")
    if expected is not None and (expected.machine.device.kind == "cpu") != (profile.runs_on == "cpu"):
        lines.append(f"careful: the profile is of a {profile.runs_on.upper()}, {expected.machine.device.name} is none")
    if profile.by_stage().keys() == {"unknown"} and profile.tool == "torch":
        lines.append('careful: no range is marked: record_function("prefill"), "decode", ... in the profiled program')
    return lines
