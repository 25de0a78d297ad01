"""`modelmeter import-profile`: both kinds of file, with and without a prediction, and calls that cannot be."""

import csv
import io
import json
from pathlib import Path

import pytest

KERNELS = """Processing [run.sqlite] with [reports/cuda_gpu_kern_sum.py]...
Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name
75.0,6000000,1000,6000.0,5900.0,5000,9000,500.0,"void gemvNSP_kernel<__nv_bfloat16, float>"
25.0,2000000,10,200000.0,90000.0,80000,200000,1000.0,frobnicate
"""
PREDICTED = ("600x620", "--device", "h200", "--stage", "decode", "--decode-tokens", "10")


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """A kernel summary."""
    path = tmp_path / "kernels.csv"
    path.write_text(KERNELS, encoding="utf-8")
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace of one kernel."""
    path = tmp_path / "trace.json"
    event = {"ph": "X", "cat": "kernel", "name": "nvjet_tst", "pid": 0, "tid": 7, "ts": 1.0, "dur": 2.5, "args": {}}
    path.write_text(json.dumps({"traceEvents": [event]}), encoding="utf-8")
    return path


def test_without_a_page_it_is_measured_alone(program, kernels):
    done = program("import-profile", kernels)
    assert (done.code, done.err) == (0, "")
    assert "1,010 kernels and copies in 8.00 ms" in done.out
    assert "frobnicate" in done.out and "predicted" not in done.out


def test_with_a_page_it_is_beside_the_prediction(program, kernels):
    done = program("import-profile", kernels, *PREDICTED)
    assert (done.code, done.err) == (0, "")
    assert "600x620 on h200" in done.out
    for word in ("predicted", "ratio", "MFU", "MBU", "launches"):
        assert word in done.out


def test_a_trace_is_read_by_its_content(program, trace, tmp_path):
    renamed = trace.rename(tmp_path / "trace.txt")
    assert "torch profiler, 1 kernels" in program("import-profile", renamed).out


def test_all_outputs_agree(program, valid, kernels, tmp_path):
    outputs = {kind: tmp_path / f"out.{kind}" for kind in ("json", "markdown", "csv")}
    words = [word for kind, path in outputs.items() for word in (f"--{kind}", path)]
    done = program("import-profile", kernels, *PREDICTED, *words, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    data = valid(outputs["json"].read_text(encoding="utf-8"))
    assert data["stages"]["decode"]["launches_per_token"] == 1010 / 10
    assert data["workload"]["decode_tokens"] == 10
    rows = list(csv.DictReader(io.StringIO(outputs["csv"].read_text(encoding="utf-8"))))
    assert [int(row["nanoseconds"]) for row in rows] == [kernel["nanoseconds"] for kernel in data["kernels"]]
    assert outputs["markdown"].read_text(encoding="utf-8").startswith("# A profile of DeepSeek-OCR\n")


def test_json_on_standard_output_is_all_there_is(process, valid, trace):
    done = process("import-profile", trace, "--json", "-")
    assert (done.code, done.err) == (0, "")
    assert valid(done.out)["stages"]["total"]["nanoseconds"] == 2_500


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("600x620",), "needs both the page that was run and --device"),
        (("--device-file", "a.toml"), "--device-file is for times: name a page and a --device"),
        (("--execution", "graph"), "--execution is for times"),
        (("--launch-overhead", "1e-6"), "--launch-overhead is for times"),
        (("--device", "h200"), "needs both the page that was run and --device"),
        (("600x620", "--device", "h200"), "--decode-tokens says how many"),
        (("600x620", "--device", "h2000"), "h2000"),
        (("missing.png", "--device", "h200"), "missing.png"),
        (("--stage", "decoder"), "stage 'decoder': choose"),
        (("--runs", "0"), "runs"),
        ((*PREDICTED, "--execution", "lazy"), "execution 'lazy'"),
        ((*PREDICTED, "--attention", "lazy"), "attention"),
        ((*PREDICTED, "--mode", "huge"), "huge"),
        ((*PREDICTED, "--batch-size", "0"), "batch_size"),
    ],
)
def test_a_call_that_cannot_be_is_one_line(refused, kernels, words, said):
    assert said in refused("import-profile", kernels, *words)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.json", b"", "is empty"),
        ("cut.json", b'{"traceEvents": [{"ph": "X"', "trace"),
        ("other.json", b'{"schema": "modelmeter.time/1"}', "no traceEvents"),
        ("words.csv", b"a,b\n1,2\n", "Total Time (ns)"),
        ("run.nsys-rep", b"\x00\x01", "nsys stats"),
        ("run.sqlite", b"SQLite format 3\x00", "nsys stats"),
        ("cut.json.gz", b"\x1f\x8b\x08\x00", "gzip"),
    ],
)
def test_a_file_that_is_no_profile_is_one_line(refused, tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    line = refused("import-profile", path)
    assert name in line and said in line


def test_an_output_does_not_take_the_place_of_the_profile(refused, kernels):
    before = kernels.read_bytes()
    assert "kernels.csv" in refused("import-profile", kernels, "--csv", kernels)
    assert kernels.read_bytes() == before
