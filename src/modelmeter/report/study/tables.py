"""A study as tidy tables, a row for each point, attention and device: CSV, Parquet, SQLite; and as netCDF."""

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelmeter.report.study.data import SCHEMA, conventions_data
from modelmeter.sweeps.quantities import VIEW_QUANTITIES
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_TYPES: Final = {"i": "INTEGER", "u": "INTEGER", "b": "INTEGER", "f": "REAL"}


def stage_table(dataset: "xr.Dataset") -> "pd.DataFrame":
    """One stage, a row a point: its dimensions, what is told of it, then the quantities. Whole numbers stay whole."""
    dataset = dataset.drop_vars(set(VIEW_QUANTITIES) & set(dataset.data_vars))
    frame = (dataset if dataset.dims else dataset.expand_dims("point")).to_dataframe().reset_index()
    dims = [name for name in dataset.dims]
    told = [name for name in dataset.coords if name not in dims]
    return frame[[*dims, *told, *dataset.data_vars]]


def whole_table(study: Study) -> "pd.DataFrame":
    """All stages below each other; what a stage has not is missing there."""
    import pandas as pd

    frames = []
    for stage, dataset in study.datasets.items():
        frame = stage_table(dataset)
        frame.insert(0, "stage", stage)
        frames.append(frame)
    names = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    told = [name for name in names if not any(name in dataset.data_vars for dataset in study.datasets.values())]
    # floats in one stage, where a number passes 2**63, are floats in all
    kinds = {name: {frame[name].dtype.kind for frame in frames if name in frame.columns} for name in names}
    whole = {name: "Int64" for name in names if kinds[name] == {"i"}}
    gaps = [frame.astype({name: kind for name, kind in whole.items() if name in frame.columns}) for frame in frames]
    return pd.concat(gaps, ignore_index=True)[[*told, *[name for name in names if name not in told]]]


def metadata(study: Study, command: str | None) -> dict[str, str]:
    """What the tables are of, as text."""
    first = next(iter(study.datasets.values()))
    return {
        "schema": SCHEMA,
        "modelmeter_version": first.attrs["modelmeter_version"],
        "analytic_model_version": first.attrs["analytic_model_version"],
        "study": study.name,
        "description": study.description,
        "model": first.attrs["model"],
        "conventions": json.dumps(conventions_data(study)),
        "precision": first.attrs["precision"],
        "command": command or "",
    }


def write_csv(study: Study, path: Path) -> None:
    """One table of all stages."""
    whole_table(study).to_csv(path, index=False, lineterminator="\n")


def write_parquet(study: Study, path: Path, command: str | None) -> None:
    """The same with types; the metadata and each column's unit are in the file's schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(whole_table(study), preserve_index=False)
    units = _units(study)
    fields = [
        field.with_metadata({"units": units[field.name]} if field.name in units else {}) for field in table.schema
    ]
    about = {f"modelmeter.{name}": text for name, text in metadata(study, command).items()}
    schema = pa.schema(fields, metadata={**(table.schema.metadata or {}), **about})
    pq.write_table(table.cast(schema), path)


def write_sqlite(study: Study, path: Path, command: str | None) -> None:
    """A table a stage with typed columns, `metadata` (name, value) and `quantities` (name, units, long_name)."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute("CREATE TABLE metadata (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            connection.executemany("INSERT INTO metadata VALUES (?, ?)", metadata(study, command).items())
            connection.execute("CREATE TABLE quantities (name TEXT PRIMARY KEY, units TEXT, long_name TEXT)")
            connection.executemany("INSERT INTO quantities VALUES (?, ?, ?)", _quantities(study))
            for stage, dataset in study.datasets.items():
                _write_stage(connection, stage, stage_table(dataset))
    finally:
        connection.close()


def write_netcdf(study: Study, path: Path, command: str | None) -> None:
    """The labelled arrays, a group a stage: `xarray.open_dataset(path, group="prefill")`."""
    import xarray as xr

    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=metadata(study, command)), **study.datasets}, name=study.name)
    tree.to_netcdf(path, engine="h5netcdf")


def _write_stage(connection: sqlite3.Connection, stage: str, frame: "pd.DataFrame") -> None:
    columns = [f'"{name}" {_TYPES.get(frame[name].dtype.kind, "TEXT")} NOT NULL' for name in frame.columns]
    connection.execute(f'CREATE TABLE "{stage}" ({", ".join(columns)})')
    marks = ", ".join("?" * len(columns))
    rows = zip(*[frame[name].tolist() for name in frame.columns], strict=True)
    connection.executemany(f'INSERT INTO "{stage}" VALUES ({marks})', rows)


def _units(study: Study) -> dict[str, str]:
    return {name: units for name, units, _ in _quantities(study)}


def _quantities(study: Study) -> list[tuple[str, str, str]]:
    found: dict[str, Any] = {}
    for dataset in study.datasets.values():
        found |= {str(name): values.attrs for name, values in dataset.data_vars.items() if name not in VIEW_QUANTITIES}
    return [(name, about["units"], about["long_name"]) for name, about in found.items()]
