"""`modelmeter time`."""

import csv
import io
import json
import os
import subprocess

import pytest

import modelmeter as mm
from modelmeter.hardware import catalogue
from modelmeter.hardware.catalogue import devices

from .conftest import ENVIRONMENT, SAMPLE, command

PAGE = ("time", "600x620", "--device", "h200", "--decode-tokens", 2)


@pytest.fixture(autouse=True)
def no_devices_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "user_file", lambda: tmp_path / "none.toml")
    monkeypatch.chdir(tmp_path)


def rows_of(text):
    """The cells of each row of the tables printed, by the first of them."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def test_the_table_says_what_binds_each_part_and_fits_120_columns(program):
    done = program("time", "1654x2339", "--device", "h200")
    assert (done.code, done.err) == (0, "")
    rows = rows_of(done.out)
    assert rows[""] == ["bound", "roofline", "tensor", "vector", "memory", "launch", "binds", "MFU", "MBU"]
    stages = ["host", "sam", "clip", "projector", "embedding", "decoder", "lm_head", "vision + prefill"]
    stages += ["decode step at 913 cached", "TTFT (host, vision, prefill)", "TPOT (mean of 512 steps)"]
    assert set(rows) == {"", *stages, "page of 513 tokens"}
    assert rows["sam"][6] == "memory"
    assert rows["decode step at 913 cached"][6] == "launch"  # one kernel after another from Python
    assert max(len(line) for line in done.out.splitlines() if line.startswith(("|", "+"))) <= 120
    assert "What the times rest on" in done.out and "an assumption" in done.out


@pytest.mark.parametrize("device", sorted(devices()))
def test_every_device_has_times_in_every_execution(program, valid, device):
    for execution in ("eager", "graph", "fused"):
        done = program(*PAGE[:2], "--device", device, "--execution", execution, "--decode-tokens", 1, "--json", "-")
        (page,) = valid(done.out)["pages"]
        assert 0 < page["total"]["bound"] < page["total"]["roofline"]


def test_options_reach_the_times(program, valid):
    chosen = {
        "mode": "gundam-m", "max_tiles": 4, "prompt_tokens": 3, "decode_tokens": 7, "batch_size": 2,
        "attention": "flash", "implementation": "transformers", "logits": "last", "coverage": "max",
        "experts": "grouped", "cache": "in_place", "weights": "fp8", "activations": "fp8", "kv": "int8",
    }  # fmt: skip
    options = [word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", value)]
    more = ["--weights-parts", "decoder,lm_head", "--execution", "graph", "--host-seconds", 0.5, "--by-layer", 2]
    data = valid(program("time", "4000x4000", "--device", "h200", *options, *more, "--json", "-").out)
    found = {**data["conventions"], **data["workload"], **data["precision"]}
    assert {name: found[name] for name in chosen} == chosen
    assert found["parts"] == ["decoder", "lm_head"]
    assert data["device"]["execution"] == "graph"
    (page,) = data["pages"]
    assert page["host_seconds"] == 1.0  # half a second for each of two
    assert page["context_len"] == page["image_tokens"] + 3
    assert "model.layers" in page["stages"]["decode"]["layers"]


def test_the_times_are_those_of_the_library(program, valid):
    options = ("--execution", "graph", "--attention", "flash", "--decode-tokens", 3, "--json", "-")
    (page,) = valid(program("time", "1654x2339", "--device", "a100-40g", *options).out)["pages"]
    model = mm.DeepseekOCRModel.from_config(attention="flash")
    model.set_views(mm.plan_views(1654, 2339))
    model.start_prefill(913)
    seconds = model.trace().roofline("a100-40g", execution="graph").seconds
    assert page["stages"]["prefill"]["seconds"]["roofline"] == seconds
    model.start_decode()
    assert (
        page["stages"]["decode"]["seconds"]["roofline"] == model.trace().roofline("a100-40g", execution="graph").seconds
    )


def test_the_launch_overhead_is_that_of_eager_execution(program, valid):
    def decode(*options):
        data = valid(program(*PAGE, *options, "--json", "-").out)
        return data["device"]["host_seconds_per_kernel"], data["pages"][0]["stages"]["decode"]

    host, stage = decode("--launch-overhead", "1e-3")
    assert host == 1e-3
    assert stage["seconds"]["roofline"] > stage["kernels"] * 1e-3  # the last one's own time on top
    assert decode("--launch-overhead", "0")[0] == 0
    assert decode("--launch-overhead", "1e-3", "--execution", "graph")[0] == 0


def test_a_calibrated_device_of_ones_own(program, valid, tmp_path):
    (tmp_path / "mine.toml").write_text(
        '[mine]\nbase = "h200"\n[mine.calibration]\nhost_seconds = 7e-6\ndate = "2026-11-01"\n'
        "[mine.calibration.classes.matmul]\ntensor = 0.5\nmemory = 0.8\n"
    )
    data = valid(program(*PAGE[:2], "--device", "mine.toml", "--json", "-").out)
    assert data["device"]["calibration"] == {"date": "2026-11-01"}
    (page,) = data["pages"]
    assert page["total"]["bound"] < page["total"]["roofline"] < page["total"]["calibrated"]
    named = program(*PAGE[:2], "--device", "mine", "--device-file", "mine.toml")
    assert "calibrated" in rows_of(named.out)[""]


def test_json_to_a_file_beside_the_table(program, valid):
    done = program(*PAGE, "--json", "out.json")
    assert (done.code, done.err) == (0, "wrote out.json\n")
    assert "decode step at 283 cached" in done.out
    with open("out.json") as file:
        assert valid(file.read())["pages"][0]["context_len"] == 16 * 17 + 1 + 10


def test_csv_and_markdown(program):
    rows = list(csv.DictReader(io.StringIO(program(*PAGE, "--csv", "-").out)))
    assert {row["level"] for row in rows} == {"bound", "roofline"}
    assert len(rows) == 7 * 2  # quantities and levels
    text = program(*PAGE, "--markdown", "-").out
    assert text.startswith("# How long DeepSeek-OCR takes") and "## What the times rest on" in text


def test_a_trace_and_a_plot(program):
    done = program(*PAGE, "--trace", "out.json", "--roofline", "plots/out.SVG", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    with open("out.json") as file:
        assert json.load(file)["traceEvents"]
    with open("plots/out.SVG", "rb") as file:
        assert file.read().startswith(b"<?xml")
    assert program(*PAGE, "--roofline", "out.png").err == "wrote out.png\n"
    assert json.loads(program(*PAGE, "--trace", "-").out)["otherData"]["device"] == "h200"


def test_a_document_of_several_pages(program, valid):
    done = program("time", SAMPLE, "--device", "h200", "--decode-tokens", 2)
    assert (done.code, done.err) == (0, "")
    pages = [line for line in done.out.splitlines() if line.startswith("| sample.pdf p")]
    assert len(pages) == 4
    assert "| mean " in done.out


def test_wanted_times(program, valid):
    done = program(*PAGE, "--ttft", 0.5, "--tpot", 0.01)
    assert "Rates required" in done.out and "TTFT of 500 ms" in done.out
    (page,) = valid(program(*PAGE, "--ttft", 0.5, "--tpot", 0.01, "--json", "-").out)["pages"]
    decode = page["stages"]["decode"]
    assert page["required"]["tpot"] == {
        "seconds": 0.01,
        "flops": decode["flops"] / 0.01,
        "bytes": decode["io_bytes"] / 0.01,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "h201"], "unknown device 'h201': did you mean h20, h200"),
        (["--device", "gone.toml"], "cannot read the device file gone.toml"),
        (["--execution", "lazy"], "execution 'lazy': choose eager, graph, fused"),
        (["--weights", "int3"], "precision: weights 'int3' is unknown: choose bf16, fp16, fp8, int8, int4"),
        (["--activations", "fp8"], "activations fp8 need weights fp8, not bf16"),
        (["--weights", "fp16", "--kv", "bf16"], "bf16 and fp16 do not mix"),
        (["--weights", "int4", "--weights-parts", "gate"], "choose among decoder, lm_head, vision"),
        (["--weights-parts", ""], "choose among decoder, lm_head, vision"),
        (["--mode", "huge"], "unknown mode 'huge': choose one of tiny, small"),
        (["--host-seconds", "-0.1"], "host seconds are -0.1: give 0 or more"),
        (["--host-seconds", "nan"], "host seconds are nan: give 0 or more"),
        (["--launch-overhead", "-1e-6"], "host seconds a kernel are -1e-06: give 0 or more"),
        (["--launch-overhead", "nan"], "host seconds a kernel are nan"),
        (["--ttft", "-1"], "a wanted TTFT must be positive seconds, not -1"),
        (["--ttft", "0"], "a wanted TTFT must be positive seconds, not 0"),
        (["--tpot", "nan"], "a wanted TPOT must be positive seconds, not nan"),
        (["--ttft", "0.2", "--host-seconds", "0.3"], "a TTFT of 0.2 s ends before the host has read the page (0.3 s)"),
        (["--decode-tokens", "1000001"], "decode_tokens is 1000001: times are of at most 1,000,000 steps"),
        (["--decode-tokens", "-1"], "decode_tokens must be at least 0"),
        (["--batch-size", "0"], "batch_size must be positive, not 0"),
        (["--by-layer", "0"], "by_layer must be positive, not 0"),
        (["--max-tiles", "1"], "max_tiles"),
        (["--config", "gone.json"], "gone.json"),
        (["--roofline", "out.txt"], "cannot draw a .txt: name the plot .svg, .png, .pdf"),
        (["--roofline", "-"], "cannot draw a file without a suffix"),
        (["--roofline", "a.svg", "--trace", "./a.svg"], "is also --trace: give each its own place"),
        (["--json", "-", "--trace", "-"], "is also --json: give each its own place"),
    ],
)
def test_what_cannot_be_is_one_line(refused, options, words):
    line = refused(*PAGE[:4], *options)
    assert words in line
    assert line.count("\n") == 1


def test_a_wanted_time_shorter_than_the_host_is_told_before_anything_is_written(refused):
    options = ["--ttft", "0.2", "--host-seconds", "0.3"]
    assert "ends before" in refused(*PAGE, *options, "--json", "a.json", "--trace", "t.json", "--roofline", "r.svg")
    assert "ends before" in refused(*PAGE, *options, "--quiet")
    assert os.listdir() == []


def test_another_model_is_refused(refused, tmp_path):
    config = {"model_type": "deepseek_vl_v2", "architectures": ["DeepseekOCR2ForCausalLM"], "language_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "not a configuration of DeepSeek-OCR" in refused(*PAGE, "--config", "config.json")


def test_a_configuration_file(program, valid, tmp_path):
    config = {"model_type": "deepseek_vl_v2", "language_config": {"num_hidden_layers": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    few = valid(program(*PAGE, "--config", "config.json", "--json", "-").out)["pages"][0]["stages"]["decode"]
    all_twelve = valid(program(*PAGE, "--json", "-").out)["pages"][0]["stages"]["decode"]
    layer = 2 * (233_720_320 - 58 * 3 * 1280 * 896) + 2 * 10 * 128 * 2 * 284  # weights of six experts, and its cache
    assert all_twelve["compulsory_bytes"] - few["compulsory_bytes"] == 8 * layer


def test_a_file_that_cannot_be_read_leaves_the_others(program, valid):
    done = program("time", "gone.png", "600x620", "--device", "h200", "--decode-tokens", 1, "--json", "-")
    assert done.code == 1
    assert len(done.complaints) == 1 and "gone.png" in done.complaints[0]
    data = valid(done.out)
    assert [page["source"] for page in data["pages"]] == ["600x620"]
    assert [error["source"] for error in data["errors"]] == ["gone.png"]


@pytest.mark.parametrize("name", ["gone.png", "empty"])
def test_no_page_at_all(program, valid, tmp_path, name):
    (tmp_path / "empty").mkdir()
    done = program("time", name, "--device", "h200", "--json", "a.json", "--trace", "t.json", "--roofline", "r.svg")
    assert (done.code, done.out, len(done.complaints)) == (1, "", 1)
    assert name in done.complaints[0]
    assert sorted(os.listdir()) == ["a.json", "empty"]  # what is of a page is not written
    assert valid((tmp_path / "a.json").read_text())["pages"] == []


@pytest.mark.parametrize("size", ["1x1", "60000x10", "10x60000"])
@pytest.mark.parametrize("mode", ["tiny", "small", "base", "large", "gundam", "gundam-m"])
def test_odd_sizes_in_every_mode(program, valid, size, mode):
    options = ("--mode", mode, "--max-tiles", 32, "--implementation", "transformers", "--decode-tokens", 0)
    (page,) = valid(program("time", size, "--device", "h200", *options, "--json", "-").out)["pages"]
    assert page["decode_total"] == {"bound": 0, "roofline": 0}
    assert page["total"] == page["ttft"]


@pytest.mark.parametrize("option", ["--prompt-tokens", "--batch-size"])
@pytest.mark.parametrize("size", [10**12, 10**14, 10**30])
def test_huge_numbers_take_longer(program, valid, option, size):
    (page,) = valid(program(*PAGE, option, size, "--json", "-").out)["pages"]
    context = 273 + (size if option == "--prompt-tokens" else 10)
    cache = 61_440 * (context + 1) * (size if option == "--batch-size" else 1)
    assert page["stages"]["decode"]["used_bytes"] > cache
    assert page["tpot"]["bound"] >= cache / 4.8e12
    assert page["tpot"]["roofline"] >= page["tpot"]["bound"]
    assert program(*PAGE, option, size).code == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("option", ["--trace", "--json", "--roofline"])
def test_a_full_disk_is_one_line(refused, tmp_path, option):
    (tmp_path / "full.svg").symlink_to("/dev/full")
    assert "cannot write full.svg: No space left on device" in refused(*PAGE, option, "full.svg")


@pytest.mark.parametrize("output", [[], ["--trace", "-"], ["--json", "-"]], ids=["table", "trace", "json"])
def test_a_reader_that_leaves_early_is_no_error(output):
    words = ["time", "600x620", "--device", "h200", "--by-layer", "100", *output]
    with subprocess.Popen(command(*words), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.readline()
        running.stdout.close()  # | head -1
        complaint = running.stderr.read()
        assert (running.wait(60) in (0, 1), complaint) == (True, b"")


def test_equal_questions_have_equal_answers(process, tmp_path):
    outputs = ("--json", "-", "--roofline", "r.svg", "--trace", "t.json")
    answers = []
    for _ in range(2):
        done = process("time", "600x620", "--device", "h200", *outputs)
        answers.append((done.out, (tmp_path / "r.svg").read_bytes(), (tmp_path / "t.json").read_bytes()))
    assert answers[0] == answers[1]
    assert all(answers[0])


def test_time_loads_neither_torch_nor_a_plot_library(process, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "heavy = ('torch', 'matplotlib', 'pandas', 'sympy')\n"
        "atexit.register(lambda: print(*[n for n in heavy if n in sys.modules], file=sys.stderr))\n"
    )
    path = os.pathsep.join([ENVIRONMENT["PYTHONPATH"], str(tmp_path)])
    done = process(*map(str, PAGE), PYTHONPATH=path)
    assert (done.code, done.err) == (0, "\n")
