"""A run's results as tables: from the file's data alone, so that an old file prints as the run that wrote it did."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from modelmeter.hardware.page_time import LEVELS
from modelmeter.report.grid import Table
from modelmeter.report.units import flops, ratio, seconds, size

SCHEMA: Final = "modelmeter.gpu-bench/1"
Data = Mapping[str, Any]
Column = tuple[str, Callable[[Data], str]]


def milliseconds(value: float | None) -> str:
    """Seconds as milliseconds."""
    return "" if value is None else f"{value * 1e3:,.3f}" if value < 0.1 else f"{value * 1e3:,.1f}"


def timing(found: Data | None) -> str:
    """The median of a timing."""
    return "" if found is None else milliseconds(found["seconds"])


def share(value: float | None) -> str:
    """A relative difference with its sign."""
    return "" if value is None else f"{value:+.1%}"


def pair(found: Data | None) -> str:
    """Measured bytes, and how far the analytic ones are off."""
    if found is None:
        return ""
    return f"{size(found['measured'])} ({share(found['analytic'] / found['measured'] - 1)})"


def _number(name: str, form: str = "{:,.4g}") -> Callable[[Data], str]:
    return lambda row: "" if row.get(name) is None else form.format(row[name])


def _quartiles(spread: Data) -> str:
    return " to ".join(share(spread[name] - 1) for name in ("first_quartile", "third_quartile"))


def _stage(name: str) -> Column:
    return f"{name}\nms", lambda row: timing(row["times"].get(name))


def _level(stage: str) -> Column:
    return f"{stage}\nms", lambda row: " / ".join(milliseconds(row[stage][level]) for level in LEVELS)


COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "equality": (
        ("passes", _number("passes")),
        ("hooked\ncalls", _number("records")),
        ("counted FLOPs", _number("counted_flops", "{:,}")),
        ("whole\n- counter", _number("whole_difference", "{:+,}")),
        ("by module\n- counter", _number("module_difference", "{:+,}")),
        ("KV bytes\n- cache", _number("kv_difference", "{:+,}")),
    ),
    "pages": (
        ("tokens", _number("context_len", "{:,}")),
        *map(_stage, ("vision", "prefill", "decode")),
        ("tokens/s", _number("tokens_per_second")),
        ("pages/s to\n1st token", _number("pages_per_second_to_first_token")),
        ("KV cache\n(analytic)", lambda row: pair(row["kv_cache"])),
        ("peak\n(analytic)", lambda row: pair(row["peak_memory"])),
    ),
    "graphs": (
        ("eager\nms", lambda row: timing(row["eager"])),
        ("graph\nms", lambda row: timing(row.get("graph"))),
        ("times\nfaster", _number("speed_up", "{:.3g}")),
        ("tokens/s", _number("tokens_per_second")),
    ),
    "overhead": (
        ("pairs", _number("pairs")),
        ("off\nms", lambda row: milliseconds(row["decode"]["off_seconds"])),
        ("on\nms", lambda row: milliseconds(row["decode"]["on_seconds"])),
        ("on / off\n- 1", lambda row: share(row["decode"]["ratio"] - 1)),
        ("quartiles", lambda row: _quartiles(row["decode"]["spread"])),
    ),
    "scaling": (
        _stage("prefill"),
        ("FLOPs of\nprefill", lambda row: flops(row["flops"]["prefill"])),
        _stage("decode"),
        ("FLOPs of\na step", lambda row: flops(row["flops"]["decode"] / row["decode_steps"])),
        ("analytic\n- counted", _number("flops_difference", "{:+,}")),
    ),
    "calibration": (
        ("operators", _number("operators")),
        ("median\nerror", _number("median_error", "{:.1%}")),
        ("worst", _number("worst_error", "{:.1%}")),
        ("spread", _number("spread", "{:.1%}")),
    ),
    "planned": tuple(map(_level, ("vision", "prefill", "decode"))),
}
"""What of a section's rows stands in its table; the names of the rows come first."""
COLUMNS["large"] = COLUMNS["pages"]


def section_table(section: Data) -> Table | None:
    """The rows of a section that have something to show; None without any."""
    columns = COLUMNS.get(section["name"], ())
    rows = [row for row in section["rows"] if not {"skipped", "failed"} & set(row) and _complete(row, columns)]
    if not rows or not columns:
        return None
    cells = tuple((row["name"], *[of(row) for _, of in columns]) for row in rows)
    return Table(title=section["title"], columns=("", *[name for name, _ in columns]), rows=cells)


def _complete(row: Data, columns: tuple[Column, ...]) -> bool:
    """Whether the row is of the table: the clocks after a section, or a device's rates, are not."""
    try:
        return any([of(row) for _, of in columns])
    except KeyError:
        return False


def summary_table(predictions: Data) -> Table | None:
    """measured / predicted by stage: median and worst at each level, and the calibrated error."""
    found = predictions["summary"]
    if not found or all(group[level] is None for group in found for level in LEVELS):
        return None
    columns = (
        "stage",
        "run",
        "stages",
        *[f"measured /\n{level}" for level in LEVELS],
        "error of the last:\nmedian, worst",
    )
    rows = []
    for group in found:
        known = [group[level] for level in LEVELS if group[level] is not None]
        ratios = ["" if group[level] is None else _ratios(group[level]) for level in LEVELS]
        error = f"{known[-1]['median_error']:.1%}, {known[-1]['worst_error']:.1%}"
        rows.append((group["stage"], group["execution"], str(group["points"]), *ratios, error))
    return Table(title="Measured over predicted (median, worst)", columns=columns, rows=tuple(rows), text_columns=2)


def _ratios(level: Data) -> str:
    return f"{ratio(level['median_ratio'])}, {ratio(level['worst_ratio'])}"


def stage_table(predictions: Data) -> Table | None:
    """Every measured stage beside each level, milliseconds."""
    rows = [
        (
            row["name"],
            row["execution"],
            timing(row["measured"]),
            *[milliseconds(row["seconds"][level]) for level in LEVELS],
            *["" if row["ratio"][level] is None else ratio(row["ratio"][level]) for level in LEVELS],
        )
        for row in predictions["stages"]
    ]
    columns = ("stage", "run", "measured\nms", *LEVELS, *[f"measured /\n{level}" for level in LEVELS])
    return Table(title="Every stage", columns=columns, rows=tuple(rows), text_columns=2) if rows else None


def check_table(checks: list[Data]) -> Table | None:
    """Every check and its outcome; what failed is marked."""
    rows = tuple((check["what"], "holds" if check["ok"] else "FAILS") for check in checks)
    marked = frozenset(i for i, check in enumerate(checks) if not check["ok"])
    return Table(title="Checks", columns=("what", ""), rows=rows, text_columns=2, marked=marked) if rows else None


def tables(found: Data) -> Iterator[Table]:
    """All tables of a result, in the order of the run."""
    every = [section_table(section) for section in found["sections"]]
    predictions = found["predictions"]
    every += [stage_table(predictions), summary_table(predictions), check_table(found["checks"])]
    yield from (table for table in every if table is not None)


def left_out(found: Data) -> list[str]:
    """A line for each section that did not run to its end, and for each point without a result."""
    lines = [f"{one['title']}: {one['state']}: {one['reason']}" for one in found["sections"] if one["reason"]]
    for section in found["sections"]:
        for row in section["rows"]:
            lines += [
                f"{section['title']}, {row['name']}: {word}: {row[word]}"
                for word in ("skipped", "failed")
                if word in row
            ]
    return [*found["notes"], *lines]


def heading(found: Data) -> str:
    """What was run on what, in a line."""
    device, model, versions = found["device"], found["model"], found["provenance"]["versions"]
    with_ = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers") if versions[name])
    return (
        f"{device['title']}, {with_}: {model['name']}, {model['weights']}; "
        f"{seconds(found['used_seconds'])} of {seconds(found['budget_seconds'])}"
    )
