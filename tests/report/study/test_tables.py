"""The tables and the labelled arrays of a folder, opened again."""

import json
import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from modelmeter.report.study import tables
from modelmeter.sweeps.quantities import QUANTITIES

from .conftest import COMMAND


def rows_of(dataset):
    """How many rows a stage has: one for each combination of its dimensions."""
    return int(np.prod(list(dataset.sizes.values())))


def check_rows(frame, dataset):
    """Every number of every row is that of the dataset."""
    assert len(frame) == rows_of(dataset)
    for _, row in frame.iterrows():
        place = {name: row[name] for name in dataset.dims}
        here = dataset.sel(place)
        for name in QUANTITIES:
            if name in dataset:
                assert row[name] == here[name].values.item()


def test_sqlite_has_a_typed_table_a_stage(folder, decode_study):
    with closing(sqlite3.connect(folder / "sweep.sqlite")) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert names == {"vision", "prefill", "decode", "metadata", "quantities"}
        types = {row[1]: row[2] for row in connection.execute("PRAGMA table_info(decode)")}
        assert {types[name] for name in ("flops", "io_bytes", "context_len", "vendor", "batch_size")} == {"INTEGER"}
        assert {types[name] for name in ("seconds", "arithmetic_intensity")} == {"REAL"}
        assert {types[name] for name in ("grid", "attention", "device")} == {"TEXT"}
        for stage, dataset in decode_study.datasets.items():
            check_rows(pd.read_sql_query(f"SELECT * FROM {stage}", connection), dataset)
        units = dict(connection.execute("SELECT name, units FROM quantities"))
        assert (units["flops"], units["io_bytes"], units["seconds"]) == ("FLOP", "B", "s")


def test_sqlite_says_what_it_is_of(folder, decode_study):
    with closing(sqlite3.connect(folder / "sweep.sqlite")) as connection:
        found = dict(connection.execute("SELECT name, value FROM metadata"))
    first = decode_study.datasets["prefill"].attrs
    assert found["schema"] == "modelmeter.sweep/1"
    assert found["analytic_model_version"] == first["analytic_model_version"]
    assert (found["study"], found["command"], found["model"]) == ("decode", COMMAND, first["model"])
    assert json.loads(found["conventions"])["attention"] == "varied"


def test_parquet_is_typed_and_says_its_units(folder, decode_study):
    import pyarrow.parquet as pq

    frame = pd.read_parquet(folder / "sweep.parquet")
    assert frame["flops"].dtype.kind == "i" and frame["seconds"].dtype == np.float64
    for stage, dataset in decode_study.datasets.items():
        check_rows(frame[frame["stage"] == stage], dataset)
    schema = pq.read_schema(folder / "sweep.parquet")
    assert schema.field("io_bytes").metadata[b"units"] == b"B"
    assert schema.metadata[b"modelmeter.schema"] == b"modelmeter.sweep/1"


def test_csv_is_exact(folder, decode_study):
    frame = pd.read_csv(folder / "sweep.csv")
    for stage, dataset in decode_study.datasets.items():
        check_rows(frame[frame["stage"] == stage], dataset)
    assert (folder / "sweep.csv").read_text(encoding="utf-8").startswith("stage,grid,attention,device,")


def test_netcdf_holds_the_labelled_arrays(folder, decode_study):
    for stage, dataset in decode_study.datasets.items():
        with xr.open_dataset(folder / "sweep.nc", group=stage, engine="h5netcdf") as back:
            xr.testing.assert_equal(back.load(), dataset)
            assert back.attrs == dataset.attrs
            assert back["flops"].attrs == dataset["flops"].attrs
            assert back["flops"].dtype == np.int64


ODD = ["modes", "conventions", "one point", "times alone", "pages", "beyond int64", "one stage beyond int64"]


@pytest.mark.parametrize("name", ODD)
def test_any_study_has_all_of_them(studies, tmp_path, name):
    study = studies[name]
    whole = sum(rows_of(dataset) for dataset in study.datasets.values())
    tables.write_csv(study, tmp_path / "a.csv")
    tables.write_parquet(study, tmp_path / "a.parquet", None)
    tables.write_sqlite(study, tmp_path / "a.sqlite", None)
    tables.write_netcdf(study, tmp_path / "a.nc", None)
    assert len(pd.read_csv(tmp_path / "a.csv")) == whole
    assert len(pd.read_parquet(tmp_path / "a.parquet")) == whole
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {stage}").fetchone()[0] for stage in study.datasets]
    assert sum(counts) == whole
    for stage, dataset in study.datasets.items():
        with xr.open_dataset(tmp_path / "a.nc", group=stage, engine="h5netcdf") as back:
            xr.testing.assert_equal(back.load(), dataset)
