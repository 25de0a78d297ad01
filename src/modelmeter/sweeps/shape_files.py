"""Lists of shapes as files: YAML to write by hand, SQLite to join with other tables. Both name their schema."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias

from modelmeter.core.errors import ModelMeterError

SCHEMA: Final = "modelmeter.shapes/1"
Row: TypeAlias = dict[str, Any]
"""width, height, vendor, as they stand in the file: not yet checked."""
YAML_ENDINGS: Final = (".yaml", ".yml")
SQLITE_ENDINGS: Final = (".db", ".sqlite", ".sqlite3")
_SQLITE_MAGIC: Final = b"SQLite format 3\x00"
_HEADER: Final = (
    "# Grids of tiles, width x height; 1 x 1 is a page without tiles.\n"
    "# vendor: the released model (at most 9 tiles) can choose it.\n"
)
_TABLES: Final = """
CREATE TABLE metadata (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE shapes (
  width INTEGER NOT NULL CHECK (typeof(width) = 'integer' AND width > 0),
  height INTEGER NOT NULL CHECK (typeof(height) = 'integer' AND height > 0),
  vendor INTEGER NOT NULL CHECK (vendor IN (0, 1)),
  PRIMARY KEY (width, height)
);
"""


def read_rows(origin: str, content: bytes) -> list[Row]:
    """The rows of the file `origin`; what it is shows in the first bytes of its content, not in its name."""
    rows = _of_sqlite(origin) if content.startswith(_SQLITE_MAGIC) else _of_yaml(origin, content)
    if not rows:
        raise ModelMeterError(f"{origin} has no shapes: list one or more")
    return rows


def write_rows(rows: list[Row], path: Path) -> None:
    """Write checked rows in the format that the name's ending says, whole or not at all."""
    ending = path.suffix.lower()
    if ending in YAML_ENDINGS:
        content = _to_yaml(rows)
    elif ending in SQLITE_ENDINGS:
        content = _to_sqlite(rows)
    else:
        endings = ", ".join([*YAML_ENDINGS, *SQLITE_ENDINGS])
        raise ModelMeterError(f"cannot write shapes to {path}: the name must end in one of {endings}")
    partial = path.with_name(f".{path.name}.part")  # report.files does this for reports, and sees sweeps, not they it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ModelMeterError(f"cannot write {path}: {error.strerror or error}: choose another file") from error


NO_VALUES: Final = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""What PyYAML raises beside `YAMLError` for texts that look like a date, a number or a tag and are none."""


def _to_yaml(rows: list[Row]) -> bytes:
    import yaml

    text: str = yaml.safe_dump({"schema": SCHEMA, "shapes": rows}, sort_keys=False, default_flow_style=None)
    return (_HEADER + text).encode()


def _of_yaml(origin: str, content: bytes) -> list[Row]:
    import yaml

    try:
        data = yaml.safe_load(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ModelMeterError(f"{origin} is no list of shapes: neither YAML in UTF-8 nor SQLite") from error
    except (yaml.YAMLError, *NO_VALUES) as error:
        reason = " ".join(str(error).split()) or type(error).__name__  # several lines
        raise ModelMeterError(f"{origin} is no list of shapes: it is not YAML: {reason}") from error
    if not isinstance(data, dict):
        raise ModelMeterError(f"{origin} is no list of shapes: write `schema: {SCHEMA}` and below it `shapes:`")
    _check_schema(origin, data.get("schema"))
    for name in data:
        if name not in ("schema", "shapes"):
            raise ModelMeterError(f"{origin}: unknown field {name!r}: use schema, shapes")
    rows = data.get("shapes")
    if not isinstance(rows, list):
        raise ModelMeterError(f"{origin}: shapes is {rows!r}: give a list")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ModelMeterError(f"{origin}: shape {number} is {row!r}: write it as {{width: 2, height: 3}}")
    return rows


def _to_sqlite(rows: list[Row]) -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(_TABLES)
        database.execute("INSERT INTO metadata VALUES ('schema', ?)", (SCHEMA,))
        database.executemany("INSERT INTO shapes VALUES (:width, :height, :vendor)", rows)
        database.commit()
        return database.serialize()


def _of_sqlite(origin: str) -> list[Row]:
    place = f"{Path(origin).absolute().as_uri()}?mode=ro"  # by its name: recent rows may be in a journal beside it
    try:
        with closing(sqlite3.connect(place, uri=True)) as database:
            found = database.execute("SELECT value FROM metadata WHERE name = 'schema'").fetchone()
            _check_schema(origin, None if found is None else found[0])
            cursor = database.execute("SELECT * FROM shapes ORDER BY rowid")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, values, strict=True)) for values in cursor]
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise ModelMeterError(f"{origin} is no list of shapes: {error}") from error
    for row in rows:
        if row.get("vendor") in (0, 1):  # SQLite has no type of its own for these
            row["vendor"] = bool(row["vendor"])
    return rows


def _check_schema(origin: str, schema: object) -> None:
    if schema is None:
        raise ModelMeterError(f"{origin} is no list of shapes: it names no schema, such as {SCHEMA}")
    if schema != SCHEMA:
        raise ModelMeterError(
            f"{origin} has the schema {schema!r}, this version of modelmeter reads {SCHEMA}: make it again with "
            "`modelmeter sweep shapes`, or update modelmeter"
        )
