"""`modelmeter compare`: two results of the program side by side."""

import csv
import io
import json

import pytest

from modelmeter.report.compare.read import read_result

PAGE = "600x620"  # without tiles: little work
OUTPUTS = ["json", "markdown", "csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for results that several tests look at."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def result(program, folder):
    """result(command, *arguments): the path of the JSON that a command writes, made once."""

    def make(*arguments):
        path = folder / ("_".join(arguments).replace("/", "-") + ".json")
        if not path.exists():
            assert program(*arguments, "--json", path, "-q").code == 0
        return path

    return make


@pytest.fixture
def eager(result):
    """The analysis of a page."""
    return result("analyze", PAGE)


@pytest.fixture
def flash(result):
    """The same with flash attention."""
    return result("analyze", PAGE, "--attention", "flash")


def changed(path, tmp_path, **values):
    """A copy of an analysis whose decode stage has other values."""
    data = json.loads(path.read_text(encoding="utf-8"))
    data["pages"][0]["stages"]["decode"] |= values
    (tmp_path / "changed.json").write_text(json.dumps(data), encoding="utf-8")
    return tmp_path / "changed.json"


def test_a_result_equals_itself(program, eager):
    done = program("compare", eager, eager, "--threshold", "0")
    assert (done.code, done.err) == (0, "")
    assert "0 differ" in done.out and "above the threshold of 0%: nothing" in done.out


def test_a_threshold_sets_the_exit_code(program, eager, tmp_path):
    before = json.loads(eager.read_text(encoding="utf-8"))["pages"][0]["stages"]["decode"]["io_bytes"]
    after = changed(eager, tmp_path, io_bytes=before * 11 // 10)  # a tenth more, rounded down
    assert program("compare", eager, after).code == 0
    assert program("compare", eager, after, "--threshold", "10%").code == 0
    done = program("compare", eager, after, "--threshold", "9.99%")
    assert (done.code, done.err) == (1, "")
    assert "+10%" in done.out and "above the threshold of 9.99%: 1" in done.out
    assert program("compare", eager, after, "--threshold", "0.0999", "-q") == (1, "", "")


def test_other_conventions_are_refused(program, refused, eager, flash):
    line = refused("compare", eager, flash)
    assert "conventions (attention eager and flash)" in line and "--allow-different conventions" in line
    done = program("compare", eager, flash, "--allow-different", "conventions")
    assert done.code == 0 and "conventions.attention" in done.out


def test_all_that_keeps_two_files_apart_in_one_line(program, refused, flash, result):
    timed = result("time", PAGE, "--device", "h200")
    line = refused("compare", flash, timed)
    assert "schemas (modelmeter.analysis/1 and modelmeter.time/1)" in line and "conventions (" in line
    assert refused("compare", flash, timed, "--allow-different", "schemas").endswith(
        "--allow-different conventions,schemas compares them all the same\n"
    )
    done = program("compare", flash, timed, "--allow-different", "conventions, schemas")
    assert done.code == 0 and "io_bytes" in done.out


def test_options_of_what_may_differ_add_up(program, flash, result):
    timed = result("time", PAGE, "--device", "h200")
    options = ["--allow-different", "conventions", "--allow-different", "schemas"]
    assert program("compare", flash, timed, *options).code == 0


@pytest.mark.parametrize(
    ("command", "option", "one", "other", "quantity"),
    [
        ("time", "--device", "h200", "a100-40g", "seconds.bound"),
        ("fit", "--device", "h200", "a100-40g", "memory_bytes"),
        ("plan", "--pages-per-day", "1000", "2000", "fleet.load"),
    ],
)
def test_each_command_s_results_are_compared(program, result, command, option, one, other, quantity):
    more = {
        "time": [PAGE],
        "fit": [PAGE],
        "plan": ["--device", "h200", "--pages", PAGE, "--closed-form"],
    }[command]
    paths = [result(command, *more, option, value) for value in (one, other)]
    data = json.loads(program("compare", *paths, "--json", "-").out)
    differing = {each["quantity"]: each for each in data["numbers"]}
    assert any(quantity in name for name in differing)
    for each in data["numbers"]:
        if each["relative"] is not None:
            assert each["relative"] == pytest.approx((each["b"] - each["a"]) / abs(each["a"]), rel=1e-9)


FOLDERS = {
    "report": ["report", PAGE, "--decode-tokens", "3", "--device", "{}"],
    "sweep": ["sweep", "seq-len", "--seq-lens", "64", "--no-plots", "--device", "{}"],
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_folders_of_results_are_compared(program, valid, tmp_path, kind):
    """Costs are the device's business in nothing: they are equal, times are not."""
    for device in ("h200", "a100-40g"):
        words = [word.format(device) for word in FOLDERS[kind]]
        assert program(*words, "--output", tmp_path / device, "-q").code == 0
    data = valid(program("compare", tmp_path / "h200", tmp_path / "a100-40g", "--json", "-").out)
    names = {each["quantity"] for each in data["numbers"]}
    assert not [name for name in names if "flops" in name.lower() or "bytes" in name]
    if kind == "report":
        assert {"ttft.bound", "time.levels.roofline"} <= {name.removeprefix("time.") for name in names} | names
    else:  # a point's times are of their device
        assert {each["row"]["device"] for each in data["only_a"]} == {"h200"}
    assert data["equal"] > 0
    rows = read_result(tmp_path / "h200").rows
    words = [value for values in rows.values() for value in values.values() if isinstance(value, str)]
    assert not [word for word in words if word.startswith("[{")]  # a list of objects that is not joined


def test_scaling_files_are_compared(program, valid, tmp_path):
    """One attention in each file; lengths of the prompt join their points."""
    run = ["sweep", "seq-len", "--seq-lens", "64", "128", "--no-plots", "--output", tmp_path / "out", "-q"]
    assert program(*run).code == 0
    files = [tmp_path / "out" / name for name in ("analytic_scaling.json", "analytic_scaling_flash.json")]
    run = ["compare", *files, "--json", "-", "--allow-different", "conventions"]
    data = valid(program(*run).out)
    points = {
        path: {each["seq_len_prefill"]: each for each in json.loads(path.read_text())["points"]} for path in files
    }
    (moved,) = [
        each
        for each in data["numbers"]
        if each["row"] == {"seq_len_prefill": 128} and each["quantity"] == "prefill.io_bytes"
    ]
    assert (moved["a"], moved["b"]) == tuple(points[path][128]["prefill"]["io_bytes"] for path in files)
    assert data["only_a"] == data["only_b"] == []


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_on_standard_output_are_all_there_is(program, eager, flash, tmp_path, kind):
    run = ["compare", eager, flash, "--allow-different", "conventions"]
    done = program(*run, f"--{kind}", "-")
    assert program(*run, f"--{kind}", tmp_path / "out").code == 0
    assert (done.code, done.err) == (0, "")
    assert done.out == (tmp_path / "out").read_text(encoding="utf-8")


def test_outputs_agree(program, valid, eager, flash):
    run = ["compare", eager, flash, "--allow-different", "conventions"]
    data = valid(program(*run, "--json", "-").out)
    lines = list(csv.DictReader(io.StringIO(program(*run, "--csv", "-").out)))
    assert [int(line["a"]) for line in lines if line["quantity"] == "io_bytes"] == [
        each["a"] for each in data["numbers"] if each["quantity"] == "io_bytes"
    ]
    sizes = [abs(each["relative"]) for each in data["numbers"]]
    assert sizes == sorted(sizes, reverse=True) and sizes


def test_top_is_of_tables(program, eager, flash):
    run = ["compare", eager, flash, "--allow-different", "conventions", "--markdown", "-"]
    rows = [sum(line.startswith("| ") for line in program(*run, "--top", n).out.splitlines()) for n in ("1", "3")]
    assert rows[1] - rows[0] == 2  # settings are never cut, and nothing but numbers differs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threshold", "5"], "write 5% or 500%"),
        (["--threshold", "a lot"], "give a share such as 5% or 0.05"),
        (["--allow-different", "colours"], "choose among conventions, models, schemas, rows"),
        (["--json", "-", "--csv", "-"], "--csv"),
    ],
)
def test_wrong_options_are_one_line(refused, eager, arguments, said):
    assert said in refused("compare", eager, eager, *arguments)


def test_an_output_does_not_replace_an_input(refused, eager):
    before = eager.read_bytes()
    assert "the input" in refused("compare", eager, eager, "--json", eager)
    assert eager.read_bytes() == before


@pytest.mark.parametrize("place", [0, 1])
def test_a_bad_file_is_one_line(refused, eager, tmp_path, place):
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    for bad, said in ((tmp_path / "bad.json", "is not JSON"), (tmp_path / "none.json", "cannot read")):
        files = [eager, eager]
        files[place] = bad
        line = refused("compare", *files)
        assert str(bad) in line and said in line


def test_devices_are_no_result(refused, program, tmp_path, eager):
    assert program("devices", "--json", tmp_path / "d.json", "-q").code == 0
    assert "modelmeter.devices/1, which is not compared" in refused("compare", eager, tmp_path / "d.json")
