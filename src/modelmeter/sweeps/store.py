"""A sweep in blocks, in a Zarr store on disk: larger than memory, on several processes, resumed where it was stopped.

Beside the store NAME a folder NAME.partial holds what is done so far; it becomes NAME when all is.
"""

import hashlib
import json
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import uuid4

import attrs
import numpy as np

from modelmeter._version import ANALYTIC_MODEL_VERSION
from modelmeter.core.errors import ModelMeterError
from modelmeter.sweeps.answer import stage_answer, view_answer
from modelmeter.sweeps.dataset import dataset_of
from modelmeter.sweeps.quantities import VIEW_QUANTITIES
from modelmeter.sweeps.question import Question
from modelmeter.sweeps.workers import check_workers, run_all

if TYPE_CHECKING:
    import xarray as xr

BLOCK_POINTS: Final = 1_000_000
"""Points of a block where none are named: 8 MB a quantity, about a second of work."""
_FINGERPRINT: Final = "fingerprint"
Block: TypeAlias = dict[str, slice]
Chunks: TypeAlias = int | Mapping[str, int]


def sweep_to_store(
    question: Question,
    store: str | Path,
    *,
    chunks: Chunks | None = None,
    scheduler: str | None = None,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> "xr.Dataset":
    """Answer `question` block by block into the Zarr store `store`, and open it. Finished blocks are not done again.

    Raises `ModelMeterError` where the store, or what is left of an interrupted run, holds another sweep, and where it
    cannot be written.
    """
    target = _target(store)
    lengths = block_lengths(question, BLOCK_POINTS if chunks is None else chunks)
    check_workers(workers, scheduler)
    mark = fingerprint(question, lengths)
    partial = target.with_name(f"{target.name}.partial")
    try:
        if target.exists():
            return _finished(question, target, mark)
        _begin(question, partial, lengths, mark)
        _fill(question, partial, lengths, scheduler=scheduler, workers=workers, say=say)
        (partial / "data").rename(target)
        shutil.rmtree(partial)
    except OSError as error:
        if os.path.exists(target):  # another run of the same has finished it
            return _finished(question, target, mark)
        raise ModelMeterError(
            f"cannot write {store}: {error.strerror or error}: blocks that are done are kept, ask again or name another"
        ) from error
    return _open(question, target)


def _target(store: Any) -> Path:
    """The store's folder, in full: workers may be in another."""
    if not isinstance(store, str | Path) or "\0" in str(store) or not Path(store).absolute().name:
        raise ModelMeterError(f"sweep: store is {store!r}: give the path of a folder that does not exist yet")
    return Path(store).absolute()


def _fill(
    question: Question,
    partial: Path,
    lengths: Mapping[str, int],
    *,
    scheduler: str | None,
    workers: int,
    say: Callable[[str], None],
) -> None:
    """Answer the blocks that are not done."""
    blocks = list(_blocks(question, lengths))
    done = {path.name for path in (partial / "done").iterdir()}
    rest = [(i, block) for i, block in enumerate(blocks) if str(i) not in done]
    jobs = [(question.part(block), str(partial), i, block) for i, block in rest]
    for number in run_all(write_block, jobs, scheduler=scheduler, workers=workers):
        say(f"{len(blocks) - len(rest) + number} of {len(blocks)} blocks")


def block_lengths(question: Question, chunks: Chunks) -> dict[str, int]:
    """How long a block is along each dimension: as named, or of so many points, split from the first dimension on.

    Along devices and executions a block is whole: costs have no such dimension. Raises for a name that is no dimension.
    """
    sizes = question.sizes
    whole = {axis.name for axis in question.of_role("machine")}
    if isinstance(chunks, Mapping):
        for name, length in chunks.items():
            if name not in sizes or name in whole:
                raise ModelMeterError(f"sweep: chunks: {name} cannot be split: choose among {', '.join(sizes)}")
            if type(length) is not int or length < 1:
                raise ModelMeterError(f"sweep: chunks: {name} is {length!r}: give 1 or more")
        return {name: min(chunks.get(name, size), size) for name, size in sizes.items()}
    if type(chunks) is not int or chunks < 1:
        raise ModelMeterError(f"sweep: chunks is {chunks!r}: give a number of points, or a length a dimension")
    lengths = dict(sizes)
    for name, size in sizes.items():
        if name not in whole:
            others = math.prod(lengths.values()) // size
            lengths[name] = max(1, min(size, chunks // others))
    return lengths


def fingerprint(question: Question, lengths: Mapping[str, int]) -> str:
    """The same for the same sweep in the same blocks, by the same analytic model."""
    asked = attrs.asdict(question)
    text = json.dumps([asked, dict(lengths), ANALYTIC_MODEL_VERSION], default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)  # its own order is another in each process
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else repr(value)


def _blocks(question: Question, lengths: Mapping[str, int]) -> Iterator[Block]:
    """Every block, as a slice of each dimension."""
    sizes = question.sizes
    slices = [
        [slice(start, min(start + lengths[name], size)) for start in range(0, size, lengths[name])]
        for name, size in sizes.items()
    ]
    for chosen in product(*slices):
        yield dict(zip(sizes, chosen, strict=True))


def _begin(question: Question, partial: Path, lengths: Mapping[str, int], mark: str) -> None:
    """Make the folder of an unfinished sweep, whole or not at all, or find it as it was left."""
    if not partial.exists():
        new = partial.with_name(f"{partial.name}-{uuid4().hex[:8]}")
        try:
            (new / "done").mkdir(parents=True)
            (new / _FINGERPRINT).write_text(mark, "utf-8")
            _write_template(question, new / "data", lengths, mark)
            _rename(new, partial)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    found = partial / _FINGERPRINT
    if not found.is_file() or found.read_text("utf-8") != mark:
        raise ModelMeterError(
            f"{partial} holds an unfinished sweep of something else: remove it, or name another store"
        )


def _rename(folder: Path, name: Path) -> None:
    """Give a folder its name, unless another run has made one of that name by now."""
    try:
        folder.rename(name)
    except OSError:
        if not name.exists():
            raise


def _write_template(question: Question, path: Path, lengths: Mapping[str, int], mark: str) -> None:
    """The store with its coordinates and all that needs no block, its arrays still empty."""
    import dask.array

    sizes, values = question.sizes, dict(view_answer(question, question.plans()))
    for name, dtype in _dtypes(question).items():
        dims = question.dims_of(name)
        shape, chunks = [sizes[dim] for dim in dims], tuple(lengths[dim] for dim in dims)
        values[name] = dask.array.zeros(shape, dtype=dtype, chunks=chunks)
    dataset = dataset_of(question, values)
    dataset.attrs[_FINGERPRINT] = mark
    dataset.to_zarr(path, compute=False, zarr_format=2, consolidated=True)


def _dtypes(question: Question) -> dict[str, np.dtype]:
    """int64 or float64 of each quantity: that of the largest sizes, as no number is larger anywhere."""
    corner = [axis.part(slice(int(np.argmax(axis.values)), None)) for axis in question.of_role("size")]
    largest = {axis.name: axis.part(slice(0, 1)) for axis in corner}
    there = attrs.evolve(question, axes=tuple(largest.get(axis.name, axis) for axis in question.axes))
    return {name: value.dtype for name, value in stage_answer(there, there.plans()).items()}


_recording = threading.Lock()
"""A worker may have several threads; recordings run one at a time."""


def write_block(question: Question, partial: str, number: int, block: Block) -> None:
    """Answer one block and write it where it belongs; then note that it is done."""
    import zarr

    with _recording:
        values = stage_answer(question, question.plans())
    group: Any = zarr.open_group(Path(partial) / "data", mode="r+")
    for name in question.quantities:
        group[name][tuple(block[dim] for dim in question.dims_of(name))] = values[name]
    (Path(partial) / "done" / str(number)).touch()


def _finished(question: Question, target: Path, mark: str) -> "xr.Dataset":
    try:
        dataset = _open(question, target)
    except (OSError, ValueError, KeyError) as error:
        raise ModelMeterError(f"{target} exists and is no sweep's store: choose another") from error
    if dataset.attrs.get(_FINGERPRINT) != mark:
        raise ModelMeterError(f"{target} holds another sweep: remove it, or name another store")
    return dataset


def _open(question: Question, target: Path) -> "xr.Dataset":
    import xarray as xr

    stored = xr.open_zarr(target)  # its variables come by name
    return stored[[name for name in (*question.quantities, *VIEW_QUANTITIES) if name in stored]]
