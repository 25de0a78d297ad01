"""`sweep`: the model over labelled dimensions."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.sweeps.answer import answer
from modelmeter.sweeps.dataset import dataset_of
from modelmeter.sweeps.question import Question, ask
from modelmeter.sweeps.store import Chunks, sweep_to_store

if TYPE_CHECKING:
    import xarray as xr

MOST_NUMBERS: Final = 2**28
"""Numbers that a sweep in memory may have: 2 GiB of them, of which there are a few copies while it is put together."""


def sweep(
    model: DeepseekOCRModel,
    over: Mapping[str, Any],
    *,
    stage: str,
    device: Any = None,
    execution: str | Sequence[str] | None = None,
    quantities: str | Sequence[str] | None = None,
    store: str | Path | None = None,
    chunks: Chunks | None = None,
    scheduler: str | None = None,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> "xr.Dataset":
    """What a stage costs for every combination of the values in `over`, as labelled arrays.

    `over` has a list, range or array of values for each dimension, in their order (`sweeps.dimensions.DIMENSIONS`); one
    value alone fixes it. `stage` is "vision", "prefill" (vision included), "decode" (one step that finds the context in
    the cache; with `decode_tokens` the sum of so many) or "run" (prefill and `decode_tokens` steps). What `over` does
    not name is the model's: its configuration, conventions, precision and views; a batch of 1; with views a context of
    their image tokens and 10 of text. With a `device` (a name, a file, a `Device`, several of them) there are times.
    `quantities` are all that apply, or those named (`sweeps.quantities.QUANTITIES`).

    Costs are exact: int64, each the number that its point gives alone; float64 (exact to 2**53) where one would not
    fit. A variable has no dimension that changes nothing in it by its nature: costs have no device.

    With `store` (a folder that does not exist yet) it is worked out in blocks of `chunks` points (or {dimension:
    length}) into a Zarr store, on `workers` processes or on those of a dask `scheduler` ("tcp://host:port"), and need
    not fit memory; asked again after an interruption, finished blocks are not done again. `say` hears how far it is.

    Raises `ModelMeterError` for what cannot be asked, in words that name it.
    """
    _need_packages(stored=store is not None)
    question = ask(model, over, stage=stage, device=device, execution=execution, quantities=quantities)
    if store is not None:
        return sweep_to_store(question, store, chunks=chunks, scheduler=scheduler, workers=workers, say=say)
    if chunks is not None or scheduler is not None or workers != 1:
        raise ModelMeterError("sweep: chunks, scheduler and workers need a store: name a folder for it, store=")
    _check_size(question)
    return dataset_of(question, answer(question))


def _check_size(question: Question) -> None:
    numbers = question.points * len(question.quantities)
    if numbers > MOST_NUMBERS:
        raise ModelMeterError(
            f"sweep: {question.points:,} points of {len(question.quantities)} quantities are too many for memory: "
            "name a store, or fewer quantities"
        )


def _need_packages(*, stored: bool) -> None:
    try:
        import xarray  # noqa: F401

        if stored:
            import distributed  # noqa: F401
            import zarr  # noqa: F401
    except ImportError as error:
        raise ModelMeterError(f"sweep needs {error.name}: pip install 'modelmeter[sweep]'") from error
