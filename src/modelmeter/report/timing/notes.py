"""What times rest on, in words: the levels, the assumptions, what stands against them."""

from modelmeter.core.precision import Precision
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.needs import Needs
from modelmeter.hardware.needs import Workload as Run
from modelmeter.report import units
from modelmeter.report.conventions import convention_notes
from modelmeter.report.timing.timing import Timing


def heading(timing: Timing) -> str:
    """One line: the device and how the model is run on it."""
    device, work = timing.machine.device, timing.workload
    batch = f", {work.batch_size} such pages at a time" if work.batch_size > 1 else ""
    return (
        f"{timing.model.config.name if timing.model.config else 'model'} on {device.title} ({device.name}), "
        f"{timing.machine.execution}; mode {work.mode}, at most {work.max_tiles} tiles; "
        f"each page {work.prompt_tokens} prompt tokens, {work.decode_tokens} decode steps{batch}"
    )


def notes(timing: Timing) -> list[str]:
    """What the times rest on, and the conventions of the counting."""
    precision = f"precision: {timing.precision.describe()}"
    return [*time_notes(timing), precision, *convention_notes(timing.conventions)]


def time_notes(timing: Timing) -> list[str]:
    """What the levels mean, and what was assumed."""
    machine = timing.machine
    level = "roofline" if machine.calibration is None else "calibrated"
    lines = [
        *cautions(timing),
        f"times on {machine.device.title} ({machine.device.name}), {machine.execution}",
        "bound: no implementation of this model on this device can be faster (cold caches, data-sheet clocks)"
        + _bound_by(timing)
        + "; roofline: operator by operator at data-sheet rates"
        + ("" if machine.calibration is None else "; calibrated: at the rates kernels reach here"),
        f"tensor, vector, memory, launch: where the {level} time goes; MFU: needed matrix FLOPs / (dense peak x time); "
        "MBU: (weights used, once, + KV cache) / (bandwidth x time)",
        *machine_notes(machine, timing.precision),
    ]
    host = timing.given_host_seconds
    if host is None:
        source = "from the page's size and kind of file, a size alone as a JPEG (bench/results/host-time.json)"
        lines.append(f"host: reading and resizing on one core, {source}")
    else:
        lines.append(f"host: {units.seconds(host)} a page, as given")
    return lines


def machine_notes(machine: Machine, precision: Precision) -> list[str]:
    """What was assumed of a device and its host, for products in the formats of `precision`."""
    device, lines = machine.device, []
    if machine.execution == "eager":
        known = (machine.given_host_seconds, machine.calibration, device.launch_seconds) != (None, None, None)
        text = f"eager: {machine.host_seconds * 1e6:.3g} us of the host a kernel"
        lines.append(text if known else f"{text}, an assumption (PyTorch takes 5 to 25 us): --launch-overhead sets it")
    else:
        lines.append(f"{machine.execution}: no host time between kernels")
    for wanted in dict.fromkeys((precision.float16.name, precision.activations or precision.float16.name)):
        used = machine.computes_in(wanted)
        if used != wanted:
            lines.append(f"{device.name} has no {wanted} units: products in {wanted} are taken at its {used} rate")
    if "fp32" not in device.vector:
        free = "elementwise work and products in fp32 are taken as free"
        lines.append(f"{device.name}: its vector rate is not published: {free}")
    if device.multiprocessors is None:
        lines.append(f"{device.name}: number of multiprocessors unknown: no tile and wave quantisation")
    if device.calibration is not None and device.l2_bandwidth is not None:
        lines.append(f"{device.name}: activations that fit its last cache move at that cache's measured bandwidth")
    if device.note:
        lines.append(f"{device.name}: {device.note}")
    return lines


def cautions(timing: Timing) -> list[str]:
    """What stands against running these pages like this: too many tokens, too little memory, no graph of a loop."""
    device, work, model = timing.machine.device, timing.workload, timing.model
    lines = []
    if timing.machine.execution == "graph" and timing.conventions.experts == "loop":
        lines.append("careful: a loop over experts waits for the host, no CUDA graph holds it: --experts grouped")
    runs = [
        Run(views=kind[0].views, context_len=kind[0].time.context_len, decode_tokens=work.decode_tokens)
        for kind in timing.kinds()
    ]
    positions = None if model.config is None else model.config.decoder.max_position_embeddings
    longest = max((run.end for run in runs), default=0)
    if positions is not None and longest > positions:
        lines.append(f"careful: context and decode steps are {longest} tokens, and the model has {positions} positions")
    held = max((Needs(model.engine, run).peak_bytes("run", work.batch_size) for run in runs), default=0)
    needed = model.parameter_bytes() + held
    if needed > device.memory_bytes:
        taken = f"{units.size(needed)} of its {units.size(device.memory_bytes)}"
        lines.append(f"careful: {device.name} does not hold this, weights, activations and KV cache are {taken}")
    return lines


def _bound_by(timing: Timing) -> str:
    """What the bound of the first kind of page is of."""
    if not timing.pages:
        return ""
    time = timing.pages[0].time
    return f", prefill by its {time.prefill.bound_by}, a decode step by its {time.decode.bound_by}"
