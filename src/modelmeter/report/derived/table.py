"""What a derived table is: its columns, how its rows are made, and the rows as data."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs

from modelmeter.hardware.device import Device
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.derived.work import Point, TableWork

Row: TypeAlias = dict[str, Any]
"""A value by column name: text, a truth, an int (exact) or a float (a ratio or a rate)."""
MakeRows: TypeAlias = Callable[[DeepseekOCRModel, Point, TableWork, Sequence[Device]], Iterator[Row]]


@attrs.frozen
class Column:
    """A column: its name in data, its unit (None: text or a truth; "1": a pure number), its header (one or two lines).

    "B" are bytes and "FLOP" FLOPs, both whole; "GB/s" is 1e9 bytes/s, as data sheets have it. `key`: it is part of
    what tells one row from another; `in_text`: it is in tables of text, which need not be wide.
    """

    name: str
    unit: str | None
    header: str
    key: bool = attrs.field(default=False, kw_only=True)
    in_text: bool = attrs.field(default=True, kw_only=True)


@attrs.frozen(kw_only=True)
class TableKind:
    """A table by name: its columns (words first), those that come with devices, its rows for one shape, its notes.

    `uses_devices` is False where a device changes nothing; `over` picks out rows to mark.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    device_columns: tuple[Column, ...] = ()
    rows: MakeRows
    notes: tuple[str, ...]
    device_notes: tuple[str, ...] = ()
    over: Callable[[Row], bool] = lambda row: False

    @property
    def uses_devices(self) -> bool:
        """Whether a device adds anything."""
        return bool(self.device_columns)


@attrs.frozen(kw_only=True)
class DerivedTable:
    """One table of one model. Each row has a value for each of `columns`."""

    kind: TableKind
    model: DeepseekOCRModel
    work: TableWork
    devices: tuple[Device, ...]
    rows: tuple[Row, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns it has: words first, then numbers."""
        every = [*self.kind.columns, *(self.kind.device_columns if self.devices else ())]
        return tuple(sorted(every, key=lambda column: column.unit is not None))  # stable: order is kept in each group

    @property
    def notes(self) -> list[str]:
        """What the numbers of this table are."""
        return [*self.kind.notes, *(self.kind.device_notes if self.devices else ())]


SHAPE_COLUMNS = (
    Column("grid", None, "tiles", key=True),
    Column("vendor", None, "vendor"),
    Column("num_tiles", "1", "number\nof tiles", in_text=False),
    Column("image_tokens", "1", "image\ntokens"),
    Column("context_len", "1", "context\nlength"),
)
"""What every row says of its shape."""


def shape_values(point: Point) -> Row:
    """The values of `SHAPE_COLUMNS`."""
    return {
        "grid": point.shape.label,
        "vendor": point.shape.vendor,
        "num_tiles": point.views.num_tiles,
        "image_tokens": point.views.image_tokens,
        "context_len": point.context_len,
    }
