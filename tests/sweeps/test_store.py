"""A sweep in blocks: the same numbers as in memory, on processes too; finished blocks are not worked out again."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import LocalCluster

import modelmeter as mm
from modelmeter.sweeps import store as stores
from modelmeter.sweeps.question import ask
from modelmeter.sweeps.store import block_lengths, sweep_to_store
from modelmeter.sweeps.workers import run_all

OVER = {
    "context_len": range(1, 24),
    "attention": ["eager", "flash"],
    "batch_size": [1, 2, 7],
    "coverage": ["expected", "max"],
}


def swept(over=OVER, stage="decode", **options):
    """A sweep of the released model."""
    return mm.sweep(mm.DeepseekOCRModel.from_config(), over, stage=stage, **options)


def assert_same(stored, in_memory):
    """Identical, but for the mark of what is in the store."""
    stored = stored.load()
    assert len(stored.attrs.pop("fingerprint")) == 64
    xr.testing.assert_identical(stored, in_memory)
    for name in in_memory.data_vars:
        assert stored[name].dtype == in_memory[name].dtype


CASES = {
    "costs": (OVER, "prefill", None),
    "times": (OVER, "decode", ["h200", "b300"]),
    "runs": ({"context_len": [3, 9, 70], "decode_tokens": [1, 5, 40], "batch_size": [1, 4]}, "run", "h200"),
    "views": ({"page": ["500x600", "1654x2339", "3000x900"], "batch_size": [1, 2]}, "vision", "h200"),
    "large": ({"context_len": [5, 10**9], "batch_size": [1, 10**7]}, "prefill", "h200"),
    "one point": ({"context_len": 5}, "decode", None),
}


@pytest.mark.parametrize("chunks", [None, 1, 31], ids=["whole", "points", "odd"])
@pytest.mark.parametrize("name", CASES)
def test_blocks_hold_what_memory_does(tmp_path, name, chunks):
    over, stage, device = CASES[name]
    if chunks == 1 and over is OVER:
        over = {**over, "context_len": [4, 5]}
    stored = swept(over, stage, device=device, store=tmp_path / "blocks.zarr", chunks=chunks)
    assert_same(stored, swept(over, stage, device=device))
    assert [path.name for path in tmp_path.iterdir()] == ["blocks.zarr"]


def test_two_processes_give_what_memory_does(tmp_path):
    heard = []
    asked = {"device": ["h200", "b300"], "execution": ["eager", "graph"]}
    stored = swept(**asked, store=tmp_path / "cluster", chunks={"context_len": 5}, workers=2, say=heard.append)
    assert sorted(heard) == [f"{number} of 5 blocks" for number in range(1, 6)]  # 23 contexts: four of 5, one of 3
    assert_same(stored, swept(**asked))


def test_the_workers_of_a_scheduler_give_it_too_and_are_not_sampled(tmp_path):
    # A sampling profiler holds frames, and with them tensors that a recording has let go of
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        stored = swept(store=tmp_path / "scheduled", chunks={"context_len": 5}, scheduler=address)
        assert_same(stored, swept())
        (worker,) = cluster.workers.values()
        assert not worker.periodic_callbacks["profile"].is_running()


def question(over=OVER, stage="decode", **options):
    """What a sweep is made from."""
    return ask(mm.DeepseekOCRModel.from_config(), over, stage=stage, **options)


@pytest.mark.parametrize(
    ("chunks", "lengths"),
    [
        (10**6, (23, 2, 3, 2)),
        (24, (2, 2, 3, 2)),  # 2 * 3 * 2 are 12, so 2 contexts
        (12, (1, 2, 3, 2)),
        (11, (1, 1, 3, 2)),
        (1, (1, 1, 1, 1)),
        ({"context_len": 5}, (5, 2, 3, 2)),
        ({"context_len": 100, "coverage": 1}, (23, 2, 3, 1)),
    ],
)
def test_length_of_blocks(chunks, lengths):
    assert block_lengths(question(), chunks) == dict(zip(OVER, lengths, strict=True))


def test_blocks_are_whole_along_devices():
    asked = question({"context_len": range(1, 9)}, device=["h200", "b300"], quantities="seconds")
    assert block_lengths(asked, 2) == {"context_len": 1, "device": 2}
    with pytest.raises(mm.ModelMeterError, match="device cannot be split"):
        block_lengths(asked, {"device": 1})


@pytest.fixture
def counted(monkeypatch):
    """The blocks written, by number; from the fourth on the power fails, until `counted.clear()`."""
    numbers, write = [], stores.write_block

    def write_block(part, partial, number, block):
        if len(numbers) == 3:
            raise KeyboardInterrupt
        write(part, partial, number, block)
        numbers.append(number)

    monkeypatch.setattr(stores, "write_block", write_block)
    return numbers


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path, counted, monkeypatch):
    asked = {"over": {"context_len": range(1, 12)}, "chunks": 2, "store": tmp_path / "long"}  # 6 blocks, the last odd
    with pytest.raises(KeyboardInterrupt):
        swept(**asked)
    assert counted == [0, 1, 2] and not (tmp_path / "long").exists()
    counted.clear()
    assert_same(swept(**asked), swept(asked["over"]))
    assert counted == [3, 4, 5]
    swept(**asked)  # finished: read, not worked out
    assert counted == [3, 4, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["long"]


def test_a_block_that_was_begun_and_not_done_is_done_again(tmp_path, counted):
    asked = {"over": {"context_len": range(1, 12)}, "chunks": 2, "store": tmp_path / "long"}
    with pytest.raises(KeyboardInterrupt):
        swept(**asked)
    (tmp_path / "long.partial" / "done" / "1").unlink()
    counted.clear()
    with pytest.raises(KeyboardInterrupt):
        swept(**asked)
    assert counted == [1, 3, 4]
    counted.clear()
    assert_same(swept(**asked), swept(asked["over"]))
    assert counted == [5]


@pytest.mark.parametrize("kept", ["store", "partial"])
@pytest.mark.parametrize(
    "other",
    [
        {"over": {"context_len": range(1, 13)}},
        {"chunks": 3},
        {"stage": "prefill"},
        {"quantities": "flops"},
        {"device": "h200"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_store_of_something_else_is_left_alone(tmp_path, counted, kept, other):
    asked = {"over": {"context_len": range(1, 12)}, "chunks": 2, "store": tmp_path / "long"}
    with pytest.raises(KeyboardInterrupt):
        swept(**asked)
    counted.clear()
    if kept == "store":
        swept(**asked)
    counted.clear()
    what = "holds another sweep" if kept == "store" else "holds an unfinished sweep of something else"
    with pytest.raises(mm.ModelMeterError, match=what):
        swept(**{**asked, **other})
    assert counted == []


def test_another_analytic_model_does_not_go_on(tmp_path, counted, monkeypatch):
    asked = {"over": {"context_len": range(1, 12)}, "chunks": 2, "store": tmp_path / "long"}
    with pytest.raises(KeyboardInterrupt):
        swept(**asked)
    monkeypatch.setattr(stores, "ANALYTIC_MODEL_VERSION", "another")
    with pytest.raises(mm.ModelMeterError, match="unfinished sweep of something else"):
        swept(**asked)


def test_another_run_that_finishes_first_is_enough(tmp_path, monkeypatch):
    asked, target = question({"context_len": range(1, 5)}), tmp_path / "both"
    write = stores.write_block

    def write_block(part, partial, number, block):
        write(part, partial, number, block)
        if number == 1:  # the other one has done the rest
            monkeypatch.setattr(stores, "write_block", write)
            sweep_to_store(asked, target, chunks=2)

    monkeypatch.setattr(stores, "write_block", write_block)
    assert_same(sweep_to_store(asked, target, chunks=2), swept({"context_len": range(1, 5)}))


def test_a_full_disk_keeps_what_is_done(tmp_path, monkeypatch):
    write, full = stores.write_block, itertools.count()

    def write_block(*job):
        if next(full) == 2:
            raise OSError(28, "No space left on device")
        write(*job)

    monkeypatch.setattr(stores, "write_block", write_block)
    asked = {"over": {"context_len": range(1, 9)}, "chunks": 2, "store": tmp_path / "full"}
    with pytest.raises(mm.ModelMeterError, match="No space left on device: blocks that are done are kept, ask again"):
        swept(**asked)
    assert len(list((tmp_path / "full.partial" / "done").iterdir())) == 2
    assert_same(swept(**asked), swept(asked["over"]))


def _file(folder):
    (folder / "taken").write_text("x", "utf-8")
    return folder / "taken"


def _folder(folder):
    (folder / "taken").mkdir()
    return folder / "taken"


WHERE = {
    "a file": (_file, "exists and is no sweep's store: choose another"),
    "a folder": (_folder, "exists and is no sweep's store: choose another"),
    "below a file": (lambda folder: _file(folder) / "x", "Not a directory"),
    "too long": (lambda folder: folder / ("x" * 300), "File name too long"),
    "root": (lambda folder: folder.anchor, "give the path of a folder"),
    "a number": (lambda folder: 5, "store is 5: give the path of a folder"),
    "no text": (lambda folder: "a\0b", "give the path of a folder"),
}


@pytest.mark.parametrize("name", WHERE)
def test_what_cannot_be_a_store(tmp_path, name):
    make, reason = WHERE[name]
    target = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(mm.ModelMeterError, match=reason):
        swept({"context_len": [1, 2]}, store=target)
    assert sorted(tmp_path.rglob("*")) == before


WRONG = {
    "chunks 0": ({"chunks": 0}, "chunks is 0: give a number of points"),
    "chunks auto": ({"chunks": "auto"}, "chunks is 'auto'"),
    "chunks of nothing": ({"chunks": {"batch": 1}}, "batch cannot be split: choose among context_len"),
    "chunks of 0": ({"chunks": {"context_len": 0}}, "context_len is 0: give 1 or more"),
    "no workers": ({"workers": 0}, "workers is 0: give 1 or more"),
    "both": ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "give workers or scheduler, not both"),
    "a number": ({"scheduler": 8786}, "scheduler is 8786: give its address"),
    "a wrong value": ({"over": {"context_len": [1], "attention": ["fast"]}}, "attention 'fast' is unknown"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_asked_leaves_nothing(tmp_path, name):
    options, reason = WRONG[name]
    with pytest.raises(mm.ModelMeterError, match=reason):
        swept(**{"over": {"context_len": [1, 2]}, **options}, store=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_no_scheduler_answers(tmp_path):
    with pytest.raises(mm.ModelMeterError, match="no dask scheduler answers at nowhere: missing port"):
        swept({"context_len": [1, 2]}, store=tmp_path / "none", scheduler="nowhere")


def test_a_script_without_a_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    lines = [
        "import modelmeter as mm",
        "over = {'context_len': [1, 2]}",
        "model = mm.DeepseekOCRModel.from_config()",
        "mm.sweep(model, over, stage='decode', quantities='flops', store='out', chunks=1, workers=2)",
    ]
    script.write_text("\n".join(lines), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(mm.__file__).parents[1])}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ModelMeterError: sweep: worker processes do not start: a script has to call it below" in done.stderr


def test_the_same_question_has_the_same_mark_in_every_process():
    program = """
import modelmeter as mm
from modelmeter.sweeps.question import ask
from modelmeter.sweeps.store import fingerprint

over = {"context_len": [5, 6], "precision": ["int4", "bf16"], "coverage": ["max", 7.5]}
asked = ask(mm.DeepseekOCRModel.from_config(), over, stage="decode", device=["h200", "b300"])
print(fingerprint(asked, {"context_len": 1}))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(mm.__file__).parents[1])}
    marks = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**environment, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(marks) == 1


def test_a_dead_worker_is_said(monkeypatch):
    from distributed.scheduler import KilledWorker

    class Future:
        def result(self):
            raise KilledWorker("task", None, 3)

    class Client:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def submit(self, *job, pure):
            return Future()

    monkeypatch.setattr("modelmeter.sweeps.workers._client", lambda scheduler, workers: Client())
    monkeypatch.setattr("distributed.as_completed", lambda futures: futures)
    with pytest.raises(mm.ModelMeterError, match="a worker died, most often for want of memory"):
        list(run_all(print, [(1,), (2,)], workers=2))


def test_a_store_is_opened_lazily_and_where_it_was_moved_to(tmp_path):
    swept({"context_len": range(1, 9)}, store=tmp_path / "here", chunks=2)
    shutil.move(tmp_path / "here", tmp_path / "there")
    again = swept({"context_len": range(1, 9)}, store=tmp_path / "there", chunks=2)
    assert again.flops.chunks == ((2, 2, 2, 2),)
    np.testing.assert_array_equal(again.flops.values, swept({"context_len": range(1, 9)}).flops.values)
