"""`modelmeter analyze --device`: the times of `modelmeter time` beside the costs."""

import json

import pytest

from modelmeter.hardware import catalogue


@pytest.fixture(autouse=True)
def no_devices_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "user_file", lambda: tmp_path / "none.toml")


def test_analyze_with_a_device_shows_the_same_columns(program):
    options = ("600x620", "--device", "h200", "--decode-tokens", 2)
    done = program("analyze", *options)
    assert (done.code, done.err) == (0, "")
    heading, table, *_ = program("time", *options).out.split("\n\n")
    assert table.startswith("600x620: ") and "| binds |" in " ".join(table.split())
    assert table in done.out and heading not in done.out
    assert "an assumption (PyTorch takes 5 to 25 us)" in done.out


def test_analyze_with_a_device_has_times_in_its_json(program, valid):
    options = ("1654x2339", "600x620", "--device", "a100-40g", "--execution", "graph", "--decode-tokens", 3)
    data = valid(program("analyze", *options, "--attention", "flash", "--json", "-").out)
    times = valid(json.dumps(data["time"]))
    assert times == valid(program("time", *options, "--attention", "flash", "--json", "-").out)
    for page, timed in zip(data["pages"], times["pages"], strict=True):
        for stage in ("vision", "prefill", "decode"):
            cost = page["stages"][stage]
            assert timed["stages"][stage]["io_bytes"] == cost["io_bytes"]
            assert timed["stages"][stage]["flops"] == cost["tensor_flops"] + cost["cuda_flops"]


def test_analyze_with_a_device_in_other_formats(program):
    options = ("600x620", "--device", "h200", "--decode-tokens", 2)
    assert "TPOT (mean of 2 steps)" in program("analyze", *options, "--markdown", "-").out
    assert "time:\n  schema: modelmeter.time/1\n" in program("analyze", *options, "--yaml", "-").out


def test_analyze_without_a_device_has_no_times(program, valid):
    options = ("600x620", "--decode-tokens", 2)
    plain = program("analyze", *options)
    assert "TPOT" not in plain.out and "roofline" not in plain.out
    without = valid(program("analyze", *options, "--json", "-").out)
    assert "time" not in without
    timed = valid(program("analyze", *options, "--device", "h200", "--json", "-").out)
    del timed["time"]
    assert timed == without


def test_analyze_says_what_cannot_be(refused, program):
    assert "unknown device 'h201'" in refused("analyze", "600x620", "--device", "h201")
    assert "execution 'lazy'" in refused("analyze", "600x620", "--device", "h200", "--execution", "lazy")
    words = "decode_tokens is 1000001: times are of at most 1,000,000 steps"
    assert words in refused("analyze", "600x620", "--device", "h200", "--decode-tokens", 1_000_001)
    done = program("analyze", "gone.png", "--device", "h200")
    assert (done.code, done.out, len(done.complaints)) == (1, "", 1)


def test_analyze_in_fewer_bits(program, valid):
    options = ("600x620", "--decode-tokens", 2)
    plain, int4 = (
        valid(program("analyze", *options, *more, "--json", "-").out) for more in ((), ("--weights", "int4"))
    )
    assert "weights int4" in int4["precision"]["description"] or "experts int4" in int4["precision"]["description"]
    cost = [data["pages"][0]["stages"]["decode"] for data in (plain, int4)]
    assert cost[1]["weight_bytes"] < 0.6 * cost[0]["weight_bytes"]  # the head and the gates stay in bf16
    assert cost[1]["counted_flops"] == cost[0]["counted_flops"]
    assert (
        "- precision: decoder linear layers and experts int4" in program("analyze", *options, "--weights", "int4").out
    )
