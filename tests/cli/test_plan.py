"""`modelmeter plan`: its options, its outputs, and what it refuses."""

import csv
import io
import json
import sys

import pytest

from .conftest import SAMPLE

PLAN = ("plan", "--pages-per-day", "2000000")
FAST = (*PLAN, "--closed-form")


@pytest.fixture
def table(tmp_path):
    """table(name, text) writes a CSV file and returns its path."""

    def write(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_table_of_several_devices(program):
    done = program(*FAST, "--device", "a100-40g,h200", "--ttft", 1.0, "--tpot", 0.05, "--price", "h200=3.5/h")
    assert (done.code, done.err) == (0, "")
    for word in (
        "2,000,000 pages a day",
        "a100-40g",
        "h200",
        "GPUs",
        "kWh",
        "upper bound",
        "Poisson",
        "TTFT <= 1.00 s",
    ):
        assert word in done.out


def test_json_follows_its_schema_and_adds_up(program, valid):
    price = 3.5
    data = valid(
        program(*FAST, "--device", "h200", "--device", "a100-40g", "--price", f"h200={price}/h", "--json", "-").out
    )
    first, second = (device["fleet"] for device in data["devices"])
    assert [device["device"] for device in data["devices"]] == ["h200", "a100-40g"]
    assert data["limits"] == {"ttft": None, "tpot": None, "utilisation": 0.95}
    per_second = 2_000_000 / 86_400
    for fleet in (first, second):
        assert fleet["gpus"] == -(-per_second // fleet["gpu_pages_per_second"])
        assert fleet["latency"]["method"] == "closed form"
    # Half a day does a million of the two million pages a day.
    assert first["cost_per_million_pages"] == pytest.approx(first["gpus"] * 12 * price)
    assert first["energy_kwh_per_million_pages_upper_bound"] == pytest.approx(first["gpus"] * 12 * 0.7)  # 700 W
    assert second["cost_per_million_pages"] is None


def test_the_simulation_is_what_is_reported(program, valid):
    pytest.importorskip("simpy")
    arguments = (*PLAN, "--device", "h200", "--output-tokens", 200, "--max-batch", 64, "--json", "-")
    data = valid(program(*arguments).out)
    latency = data["devices"][0]["fleet"]["latency"]
    assert latency["method"] == "simulation"
    assert latency["ttft_p95"] == latency["simulation"]["ttft_p95"] > 0
    assert latency["agrees"] is (latency["largest_difference"] <= 0.10)
    assert latency["closed_form"]["rate"] == latency["gpu_rate"]
    assert valid(program(*arguments).out) == data  # the seed is fixed


def test_markdown_and_csv(program, tmp_path):
    files = {name: tmp_path / f"plan.{name}" for name in ("markdown", "csv")}
    done = program(
        *FAST, "--device", "h200,t4", "--tpot", 0.01, "--markdown", files["markdown"], "--csv", files["csv"], "-q"
    )
    assert (done.code, done.out) == (0, "")
    assert "| h200 |" in files["markdown"].read_text()
    rows = list(csv.DictReader(io.StringIO(files["csv"].read_text())))
    assert [row["device"] for row in rows] == ["h200", "t4"]
    assert int(rows[0]["gpus"]) >= 1


def test_pages_and_lengths_from_tables(program, valid, table):
    sizes = table("sizes.csv", "width,height,count\n1654,2339,3\n600,620,1\n")
    tokens = table("tokens.csv", "tokens\n100\n300\n300\n")
    arguments = ("--pages-csv", sizes, "--output-tokens-csv", tokens)
    work = valid(program(*FAST, "--device", "h200", *arguments, "--json", "-").out)["workload"]
    assert [kind["share"] for kind in work["kinds"]] == [0.75, 0.25]
    assert work["output_tokens"] == {"mean": pytest.approx(700 / 3), "least": 100, "most": 300}


def test_names_are_not_needed_in_a_table(program, valid, table):
    sizes, tokens = table("sizes.csv", "1654,2339\n\n1654,2339,2\n"), table("tokens.csv", "250\n")
    arguments = ("--pages-csv", sizes, "--output-tokens-csv", tokens)
    work = valid(program(*FAST, "--device", "h200", *arguments, "--json", "-").out)["workload"]
    assert len(work["kinds"]) == 1
    assert work["output_tokens"]["mean"] == 250


def test_pages_as_files_and_sizes(program, valid, picture):
    arguments = ("--pages", picture(size=(600, 620)), "1654x2339", "--json", "-")
    kinds = valid(program(*FAST, "--device", "h200", *arguments).out)["workload"]["kinds"]
    assert [kind["share"] for kind in kinds] == [0.5, 0.5]
    assert kinds[1]["context_len"] == 913  # 6 tiles of 640 px and the page at 1024 px: 903 image tokens, 10 of text


def test_a_device_that_cannot_is_named_beside_those_that_can(program, valid):
    # The L4 takes longer than this for a page that meets nobody.
    arguments = (*FAST, "--device", "l4,h200", "--ttft", 0.12)
    assert "l4: a TTFT of 0.12 s is impossible" in program(*arguments).out
    slow, fast = valid(program(*arguments, "--json", "-").out)["devices"]
    assert slow["fleet"] is None and "impossible" in slow["impossible"]
    assert fast["fleet"]["latency"]["ttft_p95"] <= 0.12 and fast["impossible"] is None


def test_smaller_weights_hold_more_pages(program, valid):
    def batch(*more):
        data = valid(program(*FAST, "--device", "rtx-4090", *more, "--json", "-").out)
        return data["devices"][0]["fleet"]["memory_batch"]

    assert batch("--weights", "int4") > batch() > batch("--reserve", "30%")


def test_host_work_can_be_given(program, valid):
    def kinds(*more):
        return valid(program(*FAST, "--device", "h200", *more, "--json", "-").out)["workload"]["kinds"]

    assert kinds("--host-seconds", 0.25)[0]["host_seconds"] == 0.25
    assert kinds("--pages", SAMPLE)[0]["host_seconds"] != kinds("--pages", "1191x1684")[0]["host_seconds"]  # drawn


def test_schedulers(program, valid):
    for scheduler in ("prefill-first", "chunked"):
        data = valid(program(*FAST, "--device", "h200", "--scheduler", scheduler, "--json", "-").out)
        assert data["running"]["policy"] == scheduler


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--ttft", "0.01"), "TTFT of 0.01 s is impossible"),
        (("--tpot", "0.00001"), "TPOT of 1e-05 s is impossible"),
        (("--ttft", "-1"), "TTFT limit must be positive"),
        (("--price", "h200=-1/h"), "a price must be from 0 to 1,000,000,000 an hour"),
        (("--price", "h200=1e300"), "a price must be from 0 to 1,000,000,000 an hour"),
        (("--price", "h200=inf"), "a price must be from 0 to 1,000,000,000 an hour"),
        (("--price", "h200=nan"), "write NAME=PRICE/h"),
        (("--price", "h200"), "write NAME=PRICE/h"),
        (("--price", "h200=cheap"), "write NAME=PRICE/h"),
        (("--price", "h200=1/h,h200=2/h"), "names h200 twice"),
        (("--price", "a100-40g=2/h"), "not planned for"),
        (("--device", "h200"), "named twice"),
        (("--device", "h201"), "unknown device 'h201'"),
        (("--scheduler", "fifo"), "unknown scheduler 'fifo'"),
        (("--scheduler", "chunked", "--token-budget", "0"), "token_budget must be 1 or more"),
        (("--max-batch", "0"), "max_batch must be 1 or more"),
        (("--utilisation", "2"), "utilisation must be from 0.01 to 1"),
        (("--utilisation", "1e-300"), "utilisation must be from 0.01 to 1"),
        (("--utilisation", "nan"), "utilisation must be from 0.01 to 1"),
        (("--output-tokens", "0"), "at least 1 output token"),
        (("--output-tokens", "9000"), "8192 positions"),
        (("--prompt-tokens", "-1"), "prompt tokens must be 0 or more"),
        (("--host-seconds", "-1"), "host seconds are -1: give from 0 to 3,600"),
        (("--host-seconds", "1e300"), "host seconds are 1e+300: give from 0 to 3,600"),
        (("--host-workers", "1000000000"), "host_workers must be at most 4,096"),
        (("--ttft", "inf"), "TTFT limit must be positive"),
        (("--pages", "nowhere.png"), "nowhere.png"),
        (("--reserve", "120%"), "reserve"),
    ],
)
def test_wrong_values_are_one_line(refused, more, says):
    assert says in refused(*FAST, "--device", "h200", *more)


def test_a_demand_is_one_that_can_be(refused):
    for pages in ("0", "-5", "nan", "inf", "1e30", "1e-300"):
        assert "pages a day must be a number from 1 to 1,000,000,000,000" in refused(
            "plan", "--pages-per-day", pages, "--device", "h200", "--closed-form"
        )


@pytest.mark.parametrize(
    ("option", "text", "says"),
    [
        ("--pages-csv", "", "no rows"),
        ("--pages-csv", "width,height\n", "no rows"),
        ("--pages-csv", "width,depth\n1,2\n", "no column height"),
        ("--pages-csv", "width,height\n1654,tall\n", "line 2: height is 'tall'"),
        ("--pages-csv", "1654\n", "line 1: height is ''"),
        ("--pages-csv", "1654,0\n", "line 1: height is '0'"),
        ("--pages-csv", "1654,99999999\n", "at most 65,500"),
        ("--pages-csv", f"600,620,{10**400}\n", "line 1: count is 10000000000000000000: give at most"),
        ("--pages-csv", "600,620,0\n", "line 1: count is '0'"),
        ("--output-tokens-csv", "tokens\n12.5\n", "line 2: tokens is '12.5'"),
        ("--output-tokens-csv", "tokens,count\n12,-1\n", "line 2: count is '-1'"),
    ],
)
def test_a_malformed_table_is_one_line(refused, table, option, text, says):
    assert says in refused(*FAST, "--device", "h200", option, table("rows.csv", text))


def test_tables_that_are_missing_or_too_many(refused, table):
    sizes, tokens = table("sizes.csv", "600,620\n"), table("tokens.csv", "5\n")
    assert "cannot read it as CSV" in refused(*FAST, "--device", "h200", "--pages-csv", "nowhere.csv")
    both = ("--pages-csv", sizes, "--pages", "600x620")
    assert "not both" in refused(*FAST, "--device", "h200", *both)
    both = ("--output-tokens-csv", tokens, "--output-tokens", "5")
    assert "not both" in refused(*FAST, "--device", "h200", *both)


def test_without_simpy_the_closed_form_works(program, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "simpy", None)
    assert "pip install 'modelmeter[plan]'" in refused(*PLAN, "--device", "h200")
    assert program(*FAST, "--device", "h200").code == 0


def test_a_device_of_ones_own(program, valid, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('[mine]\nbase = "h200"\nbandwidth = "2.4 TB/s"\n')
    data = valid(program(*FAST, "--device", f"h200,{mine}", "--json", "-").out)
    rates = [device["fleet"]["gpu_pages_per_second"] for device in data["devices"]]
    assert rates[1] < rates[0]  # half the bandwidth
    assert json.dumps(data).count('"level": "roofline"') == 2


def test_numbers_at_their_limits_stay_in_their_columns(program):
    done = program("plan", "--pages-per-day", "1e12", "--device", "h200", "--closed-form", "--price", "h200=1e9",
                   "--host-seconds", 3600, "--utilisation", 0.01)  # fmt: skip
    table = [line for line in done.out.splitlines() if line.startswith(("|", "+"))]
    assert done.code == 0 and max(map(len, table)) < 140
    plan = table[: len(table) // 2]
    assert len({len(line) for line in plan}) == 1
    assert all("nan" not in line and "inf" not in line for line in table)


def test_a_cpu_runs_eagerly_where_others_run_graphs(program, valid):
    arguments = ("plan", "--pages-per-day", 1000, "--device", "cpu,h200", "--max-batch", 8, "--closed-form")
    done = program(*arguments)
    assert "eager (cpu), graph (h200)" in done.out.splitlines()[0]
    cpu, gpu = valid(program(*arguments, "--json", "-").out)["devices"]
    assert (cpu["execution"], gpu["execution"]) == ("eager", "graph")
    told = valid(program(*arguments, "--execution", "graph", "--json", "-").out)["devices"]
    assert [device["execution"] for device in told] == ["graph", "graph"]
    assert told[0]["fleet"]["saturation_pages_per_second"] > cpu["fleet"]["saturation_pages_per_second"]
    assert told[1] == gpu


def test_the_closed_form_says_where_pages_wait_for_slots(program, valid, tmp_path):
    few = (*FAST, "--device", "h200", "--max-batch", 8)  # 95% of what eight slots do: they are all taken often
    written = tmp_path / "plan.md"
    done = program(*few, "--markdown", written)
    data = valid(program(*few, "--json", "-").out)
    (caution,) = data["cautions"]
    taken = data["devices"][0]["fleet"]["latency"]["closed_form"]["blocked"]
    assert "pages wait for slots" in caution and f"h200 {taken:.0%} of the time" in caution
    for text in (done.out, written.read_text(encoding="utf-8")):
        assert text.count("careful") == 1 and f"- {caution}\n" in text


def test_no_caution_where_slots_are_free_or_all_was_simulated(program, valid):
    light = ("plan", "--pages-per-day", "1e6", "--device", "h200", "--closed-form")
    assert valid(program(*light, "--json", "-").out)["cautions"] == []
    pytest.importorskip("simpy")
    few = (*PLAN, "--device", "h200", "--max-batch", 4, "--output-tokens", 50)
    assert valid(program(*few, "--json", "-").out)["cautions"] == []


def test_plan_and_fit_agree_at_the_limit(program, valid):
    """docs/capacity.md names these flags: a page of 900 output tokens takes 899 decode steps."""
    plan = valid(program(*FAST, "--device", "a100-40g", "--json", "-").out)["devices"][0]["fleet"]
    flags = ("--prefill-batch", 1, "--attention", "flash", "--experts", "grouped", "--cache", "in_place")
    fit = valid(program("fit", "--device", "a100-40g", "--decode-tokens", 899, "--logits", "last", *flags,
                        "--json", "-").out)  # fmt: skip
    (blocks,) = [held for held in fit["caches"] if held["held"] == "blocks"]
    (run,) = [limit for limit in blocks["limits"] if limit["stage"] == "run"]
    assert plan["memory_batch"] == run["batch"]
    assert plan["memory_limited"]
