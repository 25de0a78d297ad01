"""`measure_scaling`: a real model over lengths of the prompt; what is finished is on disk before the next length."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import attrs
import torch
import transformers

from modelmeter.live.calibration.clock import keep_memory
from modelmeter.live.calibration.rates import memory_bytes, title_of
from modelmeter.live.measuring.point import measure_point
from modelmeter.live.measuring.request import MeasureRequest
from modelmeter.live.measuring.store import Store, with_more
from modelmeter.live.running.request import ModelChoice
from modelmeter.live.running.run import Interrupted
from modelmeter.live.session.memory import NotEnoughMemory, is_out_of_memory
from modelmeter.live.session.run import check_positions
from modelmeter.live.session.session import REPEATS, WARM_UP, DeepSeekOCRSession
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.report.scaling_compare.measured import MeasuredOn, MeasuredPoint, MeasuredScaling, Skipped, Versions

Say = Callable[[str], None]


def quiet(line: str) -> None:
    """Nobody listens."""


def measure_scaling(
    model: ModelChoice,
    request: MeasureRequest,
    folder: str | Path,
    *,
    replace: bool = False,
    command: str | None = None,
    say: Say = quiet,
    warn: Say = quiet,
) -> MeasuredScaling:
    """Load the model and measure it at every length that the folder's file has not yet.

    `say` hears what runs, `warn` which lengths are skipped for want of memory. Raises `ModelMeterError` for what
    cannot be, and where the file holds a measurement under other circumstances; `Interrupted` on Ctrl-C, with all
    finished lengths in the file.
    """
    store = Store(Path(folder), replace=replace)
    say("loading the model")
    if model.device == "cpu":
        keep_memory()  # times are then those that a calibration is of
    try:
        session = model.open()
    except KeyboardInterrupt:
        raise Interrupted("interrupted while loading the model: nothing was measured") from None
    return measure_session(
        session, request, store, config=config_text(model, session), command=command, say=say, warn=warn
    )


def measure_session(
    session: DeepSeekOCRSession,
    request: MeasureRequest,
    store: Store,
    *,
    config: str | None = None,
    command: str | None = None,
    say: Say = quiet,
    warn: Say = quiet,
) -> MeasuredScaling:
    """The same of a model that is loaded, into a store; `config` is written beside the file."""
    check_positions(session.body, max(request.seq_lens) + request.decode_steps)
    measuring = _Measuring(session, request, store, config, store.begin(_circumstances(session, request, command)))
    try:
        return measuring.run(say, warn)
    except KeyboardInterrupt:
        finished = len(measuring.found.points)
        kept = f"{finished} finished of {store.file} are kept" if finished else "none was finished"
        raise Interrupted(f"interrupted at {measuring.place}: {kept}; the same command goes on from there") from None


class _Measuring:
    """A measurement that goes on: where it is, and what it has found."""

    def __init__(
        self,
        session: DeepSeekOCRSession,
        request: MeasureRequest,
        store: Store,
        config: str | None,
        found: MeasuredScaling,
    ) -> None:
        self.session, self.request, self.store, self.config = session, request, store, config
        self.found = found
        self.place = "the first length"

    def run(self, say: Say, warn: Say) -> MeasuredScaling:
        """Every length that is not there yet."""
        lengths = self.request.seq_lens
        for number, length in enumerate(lengths, 1):
            self.place = f"length {length} ({number} of {len(lengths)})"
            if length in self.found.lengths:
                say(f"{self.place}: measured before")
                continue
            outcome = self._one(length, say)
            if isinstance(outcome, Skipped):
                warn(f"length {length} is skipped: {outcome.reason}")
                found = with_more(self.found, skipped=outcome)
            else:
                found = with_more(self.found, point=outcome)
            self.found = self.store.write(found, self.config)
        self.found = self.store.write(attrs.evolve(self.found, complete=True), self.config)
        return self.found

    def _one(self, length: int, say: Say) -> MeasuredPoint | Skipped:
        """The point, or why it cannot be: memory is asked for before, and may still run out."""
        session, found = self.session, self.found
        try:
            inputs = session.synthetic_inputs(length, batch_size=found.batch_size)
            session.check_room(inputs, decode_tokens=found.decode_steps)
            return measure_point(
                session,
                inputs,
                decode_steps=found.decode_steps,
                flops=found.counted,
                warm_up=found.warm_up,
                repeats=found.repeats,
                say=lambda line: say(f"{self.place}: {line}"),
            )
        except NotEnoughMemory as error:
            return Skipped(seq_len_prefill=length, reason=str(error))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = f"memory ran out on {session.device} ({str(error).splitlines()[0]}): free some, or a smaller batch"
            return Skipped(seq_len_prefill=length, reason=reason)
        finally:
            if session.device.type == "cuda":
                torch.cuda.empty_cache()  # what one length took in pieces is whole for the next


def _circumstances(session: DeepSeekOCRSession, request: MeasureRequest, command: str | None) -> MeasuredScaling:
    """A measurement without points."""
    device, kind = session.device, session.device.type
    return MeasuredScaling(
        command=command,
        model=session.config.name,
        config=session.config,
        conventions=session.conventions,
        runs=session.name,
        dtype=str(session.dtype).removeprefix("torch."),
        precision=session.precision.describe(),
        device=MeasuredOn(
            name=title_of(device),
            torch_device=str(device),
            memory_bytes=memory_bytes(device),
            threads=torch.get_num_threads(),
        ),
        versions=Versions(
            python=platform.python_version(),
            torch=torch.__version__,
            transformers=transformers.__version__,
            cuda=torch.version.cuda if kind == "cuda" else None,
            platform=f"{platform.system()} {platform.machine()}",
        ),
        batch_size=request.batch_size,
        decode_steps=request.decode_steps,
        warm_up=WARM_UP[kind] if request.warm_up is None else request.warm_up,
        repeats=REPEATS[kind] if request.repeats is None else request.repeats,
        counted=request.flops,
    )


def config_text(model: ModelChoice, session: DeepSeekOCRSession) -> str | None:
    """A `--config` file of the model that runs; None for the released one."""
    if session.config == DeepseekOCRConfig():
        return None
    if model.model_path is not None:
        return (model.model_path / "config.json").read_text(encoding="utf-8-sig")
    from modelmeter.live.reference.transformers5 import config_like

    data = {**config_like(session.config).to_diff_dict(), "_name_or_path": session.config.name}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
