"""`modelmeter verify` as one call: what is asked for, and the report that answers it."""

from collections.abc import Callable, Iterator
from os import PathLike

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.reference.choose import check_transformers, choose_adapter, quietly
from modelmeter.live.verification.cross_check import CrossCheck
from modelmeter.live.verification.points import ALL_STAGES, DEFAULT_VIEWS, Sizes, describe, points_of
from modelmeter.live.verification.selection import Report, select
from modelmeter.live.verification.verify import Point, Verification, verify
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig

REAL_DECODE_STEPS = 4
MOST_REAL_SEQUENCES = 64


@attrs.frozen(kw_only=True)
class Request:
    """The options of the command. None: not given."""

    names: tuple[str, ...] = ()
    only_layers: bool = False
    model_path: str | PathLike[str] | None = None
    trust_remote_code: bool = False
    config: str | PathLike[str] | None = None
    stage: str = ALL_STAGES
    context_len: tuple[int, ...] = ()
    batch_size: tuple[int, ...] = ()
    decode_steps: int | None = None
    views: str | None = None
    attention: str = "eager"
    experts: str | None = None
    real: bool = False
    backward: bool = False
    fvcore: bool = False


def run(request: Request, say: Callable[[str], None] = lambda line: None) -> Report:
    """Verify what is asked for; `say` hears what is being done. Raises `ModelMeterError` for what cannot be asked."""
    with quietly():
        found = _run_real(request, say) if request.real else _run_stages(request, say)
        report = select(found, request.names, only_layers=request.only_layers)
        return attrs.evolve(report, cross_checks=_run_fvcore(request, say)) if request.fvcore else report


def _run_fvcore(request: Request, say: Callable[[str], None]) -> tuple[CrossCheck, ...]:
    """transformers' SAM, CLIP and projector of the configuration, whatever else was verified."""
    check_transformers()
    from modelmeter.live.verification.cross_check import cross_check

    say("counting with fvcore")
    return cross_check(DeepseekOCRConfig() if request.config is None else DeepseekOCRConfig.from_hf(request.config))


def _run_stages(request: Request, say: Callable[[str], None]) -> Verification:
    sizes = Sizes(
        stage=request.stage,
        context_len=request.context_len,
        batch_size=request.batch_size or (1,),
        decode_steps=1 if request.decode_steps is None else request.decode_steps,
        views=DEFAULT_VIEWS if request.views is None else request.views,
        backward=request.backward,
    )
    points_of(sizes)  # says what is wrong before anything is built
    _check_backward(request)
    say("building the real model")
    adapter = choose_adapter(
        request.config, request.model_path, request.trust_remote_code, request.attention, request.experts
    )
    return verify(adapter, _announced(points_of(sizes, adapter.config.sam.patch_size), say))


def _check_backward(request: Request) -> None:
    """What has no backward to compare is known before the real model is built."""
    if not request.backward:
        return
    if request.model_path is not None:
        raise ModelMeterError("--backward: the vendor's code runs its vision and experts without gradients; drop one")
    if request.attention == "flash" and request.stage not in ("prefill", "decode"):
        raise ModelMeterError(
            "--backward with --attention flash: where SAM's bias needs a gradient torch runs no attention kernel; "
            "use --attention eager, or --stage prefill"
        )


def _run_real(request: Request, say: Callable[[str], None]) -> Verification:
    _check_real(request)
    check_transformers()
    from modelmeter.live.verification.real_run import verify_real

    say("running a small model with real tensors")
    steps = REAL_DECODE_STEPS if request.decode_steps is None else request.decode_steps
    return verify_real(
        attention="flash" if request.attention == "flash" else "eager",
        decode_steps=steps,
        batch=(request.batch_size or (1,))[0],
    )


def _check_real(request: Request) -> None:
    """The real run has its own small model, page and stages."""
    Sizes(decode_steps=request.decode_steps or 1, batch_size=request.batch_size or (1,))
    if request.attention not in ("eager", "flash"):
        raise ModelMeterError(f"attention {request.attention!r} is unknown: choose eager or flash")
    given = {
        "--model-path": request.model_path is not None,
        "--trust-remote-code": request.trust_remote_code,
        "--config": request.config is not None,
        "--stage": request.stage != ALL_STAGES,
        "--context-len": bool(request.context_len),
        "--views": request.views is not None,
        "--experts": request.experts is not None,
        "--backward": request.backward,
    }
    unfit = [option for option, is_given in given.items() if is_given]
    if unfit:
        raise ModelMeterError(f"--real runs a small model and page of its own: drop {', '.join(unfit)}")
    if max(request.batch_size, default=1) > MOST_REAL_SEQUENCES:
        raise ModelMeterError(f"--real holds real tensors: give a --batch-size of at most {MOST_REAL_SEQUENCES}")
    if len(request.batch_size) > 1:
        raise ModelMeterError("--real is one run: give one --batch-size")


def _announced(points: list[Point], say: Callable[[str], None]) -> Iterator[Point]:
    for number, point in enumerate(points, 1):
        say(f"{describe(point)} ({number} of {len(points)})")
        yield point
