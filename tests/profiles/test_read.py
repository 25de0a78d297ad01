"""Files of profiles, packed and cut off, and files that are none: one clear line each."""

import gzip
import json
from pathlib import Path

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.profiles import json_stream
from modelmeter.profiles.read import read_profile

from .conftest import Write, kernel

EVENTS = [kernel(f"kernel {i}", 10 * i, 5, i) for i in range(200)]


def test_a_packed_trace_is_the_same_whatever_its_name(trace: Write, tmp_path: Path) -> None:
    plain = trace(*EVENTS)
    for name in ("trace.json.gz", "packed.json"):
        packed = tmp_path / name
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        assert read_profile(packed).kernels == read_profile(plain).kernels


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_trace_is_read_in_pieces_of_any_size(trace: Write, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    path = trace(*EVENTS[:20], deviceProperties=[{"name": "H200", "warpSize": 32}], zahl=12345.5)
    expected = read_profile(path)
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    assert read_profile(path) == expected
    assert (expected.device_name, len(expected.kernels)) == ("H200", 20)


def test_a_list_of_events_is_a_trace_too(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(EVENTS), encoding="utf-8")
    assert read_profile(path).total.launches == 200


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"{", "cut off after 1 characters"),
        (b'{"traceEvents": [', "cut off"),
        (b'{"traceEvents": [{"ph": "X"}', "cut off"),
        (b'{"traceEvents": [{"ph": "X", "na', "not the JSON of a trace"),
        (b'{"traceEvents": [{"ph": X}]}', "not the JSON of a trace .*at character 25"),
        (b'{"traceEvents": [{} {}]}', "',' is missing, at character 21"),
        (b'{"traceEvents": [{"dur": ' + b"9" * 5000 + b"}]}", "a number is too long, at character 18"),
        (b'{"traceEvents": [1]}', "an event is '1', no object"),
        (b'{"traceEvents": {}}', "its traceEvents are no list"),
        (b'{"traceEvents" []}', "':' is missing"),
        (b'{"nodes": []}', "has no traceEvents: give the file that torch.profiler"),
        (b"{}", "has no traceEvents"),
        (b"[" * 100_000, "nested too deeply|no object|cut off"),
        (b'{"traceEvents": [{"name": "\xff"}]}', "is no text"),
        (b"\x7fELF\x00\x00", "is no text"),
        (b"SQLite format 3\x00rest", "Nsight Systems' own report: export its kernel summary"),
        (b"\x1f\x8bnot gzip", "damaged or cut off gzip"),
        (gzip.compress(b'{"traceEvents": []}' * 100)[:40], "damaged or cut off gzip"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "trace.json"
    path.write_bytes(content)
    with pytest.raises(ModelMeterError, match=said) as refused:
        read_profile(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_report_of_nsys_names_the_command(tmp_path: Path) -> None:
    path = tmp_path / "run.nsys-rep"
    path.write_bytes(b"\x01NSYS\x00\x00report")
    with pytest.raises(ModelMeterError, match=r"nsys stats --report cuda_gpu_kern_sum --format csv"):
        read_profile(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"cannot read .*No such file"):
        read_profile(tmp_path / "missing.json")
    with pytest.raises(ModelMeterError, match=r"cannot read .*directory"):
        read_profile(tmp_path)


def test_one_event_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no trace is not read to its end in search of one."""
    monkeypatch.setattr(json_stream, "CHUNK", 100)
    monkeypatch.setattr(json_stream, "LONGEST", 1_000)
    path = tmp_path / "trace.json"
    path.write_text('{"traceEvents": [{"name": "' + "x" * 100_000, encoding="utf-8")
    with pytest.raises(ModelMeterError, match="Unterminated string"):
        read_profile(path)
