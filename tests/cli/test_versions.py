"""Every JSON file that a command writes says what it is (`schema`) and which numbers are in it."""

import json
import re
from importlib.resources import files

import pytest
from support.small import small_config

from modelmeter._version import ANALYTIC_MODEL_VERSION
from modelmeter.cli.app import app

PAGE = "600x620"  # without tiles: little work
RUNS = {
    "analyze": [[PAGE, "--json", "{out}/a.json"], [PAGE, "--device", "h200", "--json", "{out}/a.json"]],
    "analyze-model": [
        ["none", "--context-len", "400", "--config", "{config}", "--json", "{out}/a.json"]
    ],  # what -o writes: test_analyze_model
    "calibrate": [],  # writes TOML
    "compare": [["{out}/a.json", "{out}/a.json", "--json", "{out}/b.json"]],
    "devices": [["--json", "{out}/a.json"], ["h200", "--json", "{out}/a.json"]],
    "fit": [[PAGE, "--device", "h200", "--json", "{out}/a.json"]],
    "formula": [["deepseek-ocr", "decode", "--json", "{out}/a.json"]],
    "import-profile": [["{out}/trace.txt", "--json", "{out}/a.json"]],
    "measure": [
        [
            "8",
            "--decode-steps",
            "1",
            "--repeats",
            "1",
            "--random-weights",
            "--config",
            "{config}",
            "-o",
            "{out}/measured",
        ]
    ],
    "plan": [
        ["--pages-per-day", "1000", "--device", "h200", "--pages", PAGE, "--closed-form", "--json", "{out}/a.json"]
    ],
    "report": [[PAGE, "--device", "h200", "--output", "{out}/report"]],
    "run": [
        [
            *(PAGE, "--mode", "tiny", "--max-new-tokens", "2", "--random-weights", "--config", "{config}"),
            *("-o", "{out}/runs"),
        ]
    ],
    "sweep": [
        ["seq-len", "--seq-lens", "64", "--output", "{out}/study", "--no-plots"]
    ],  # the one with a file of its own, too
    "table": [["kvcache-by-shape", "-o", "{out}/a.json"]],
    "time": [[PAGE, "--device", "h200", "--json", "{out}/a.json", "--trace", "{out}/b.json"]],
    "verify": [["projector", "--layers", "--json", "{out}/a.json"]],
}
"""Each command, and the runs that write all its kinds of JSON files."""
WRITTEN = {
    "measure": {"measured_scaling.json"},
    "report": {"report.json"},
    "run": {
        "decoder_steps.json",
        "environment.json",
        "report.json",
        "status.json",
        "summary.json",
        "vision_steps.json",
    },
    "sweep": {"sweep.json", "analytic_scaling.json", "analytic_scaling_flash.json"},
}
"""The files in the folders that these write."""
NEEDS = {"analyze-model": "torch", "measure": "torch", "run": "torch", "verify": "torch"}
FOREIGN = {"measured_config.json"}
"""In a form that is not ours: a model's configuration, as transformers reads it."""
SCHEMAS = [path.name for path in (files("modelmeter.report") / "schemas").iterdir()]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The configuration file of a small model, in a folder of its own."""
    path = tmp_path_factory.mktemp("model") / "config.json"
    path.write_text(json.dumps(small_config()), encoding="utf-8")
    return path


def test_no_command_is_left_out():
    commands = {command.name for command in app.registered_commands}
    assert set(RUNS) == commands | {group.name for group in app.registered_groups}


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(command, arguments) for command, runs in RUNS.items() for arguments in runs],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_json_file_says_what_it_is(program, valid, tmp_path, small, command, arguments):
    if command in NEEDS:
        pytest.importorskip(NEEDS[command])
    if command == "import-profile":
        event = {"ph": "X", "cat": "kernel", "name": "nvjet_tst", "pid": 0, "tid": 7, "ts": 1, "dur": 2}
        (tmp_path / "trace.txt").write_text(json.dumps({"traceEvents": [event]}), encoding="utf-8")
    if command == "compare":
        assert program("analyze", PAGE, "--json", tmp_path / "a.json").code == 0
    assert program(command, *[argument.format(out=tmp_path, config=small) for argument in arguments]).code == 0
    written = {path.name: path for path in tmp_path.rglob("*.json") if path.name not in FOREIGN}
    assert set(written) == WRITTEN.get(command, {name.removeprefix("{out}/") for name in arguments if ".json" in name})
    for path in written.values():
        data = valid(path.read_text(encoding="utf-8"))  # by the schema that it names
        assert data["analytic_model_version"] == ANALYTIC_MODEL_VERSION


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_asks_for_both(name):
    schema = json.loads((files("modelmeter.report") / "schemas" / name).read_text(encoding="utf-8"))
    assert schema["properties"]["schema"] == {"const": schema["title"]}
    assert {"schema", "analytic_model_version"} <= set(schema["required"])
    kind, version = re.fullmatch(r"modelmeter\.([a-z-]+)/(\d+)", schema["title"]).groups()
    assert name == f"{kind}-{version}.schema.json"


def test_the_version_is_a_day():
    """CalVer: the day of the last change that moved a number, and a number where there were several that day."""
    assert re.fullmatch(r"20\d\d\.(0[1-9]|1[0-2])\.(0[1-9]|[12]\d|3[01])(\.[1-9]\d*)?", ANALYTIC_MODEL_VERSION)
