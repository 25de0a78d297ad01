"""`modelmeter verify`: what cannot be asked for is one line, exit code 2, and nothing is written."""

import os
from pathlib import Path

import pytest

from modelmeter.live.reference import choose
from modelmeter.live.verification import render


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--stage", "encode"], "stage 'encode' is unknown: choose vision, prefill, page, decode or all"),
        (["--views", "1024"], "views '1024' are not understood: give SIDExSIDE"),
        (["--views", "1024x512"], "is not square"),
        (["--views", "1024x1024,640x640*1"], "COUNT must be from 2"),
        (["--stage", "page", "--views", "none"], "stage page needs views"),
        (["--stage", "page", "--context-len", 902], "does not hold the 903 image tokens"),
        (["--context-len", 0], "context_len must be positive"),
        (["--decode-steps", 0], "decode_steps must be positive"),
        (["--batch-size", -1], "batch_size must be positive"),
        (["--attention", "sdpa"], "attention 'sdpa' is unknown: choose eager or flash"),
        (["--experts", "loop"], "experts 'loop' is unknown: choose eager, batched_mm or grouped_mm"),
        (["--config", "missing.json"], "missing.json"),
        (["--model-path", "missing"], "missing is no folder"),
        (["--model-path", "missing", "--config", "config.json"], "--config and --model-path exclude each other"),
        (["--model-path", "missing", "--experts", "eager"], "--experts is a choice of transformers 5"),
        (["--trust-remote-code"], "--trust-remote-code goes with --model-path"),
        (["--real", "--views", "none", "--backward"], "drop --views, --backward"),
        (["--real", "--attention", "sdpa"], "attention 'sdpa' is unknown"),
        (["--real", "--batch-size", 1, "--batch-size", 2], "give one --batch-size"),
        (["--json", "-", "--markdown", "-"], "--markdown - is also --json"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_one_line_and_writes_nothing(refused, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    outputs = [] if "--json" in options else ["--json", "out.json"]
    assert words in refused("verify", *options, *outputs)
    assert os.listdir(tmp_path) == []


def test_an_unknown_layer_lists_what_there_is(verify, tmp_path):
    done = verify("--layers", "Sam2", "--stage", "decode", "--json", tmp_path / "out.json")
    assert (done.code, done.out) == (2, "")
    (line,) = done.complaints
    assert "'Sam2'" in line and "choose decoder," in line and "LlamaAttention" in line
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_no_checkpoint(refused, tmp_path):
    assert "has no config.json" in refused("verify", "--model-path", tmp_path, "--trust-remote-code")


def test_an_output_does_not_take_the_place_of_the_configuration(refused, config):
    before = config.read_bytes()
    assert "the input" in refused("verify", "--config", config, "--json", config)
    assert config.read_bytes() == before


def test_an_output_that_cannot_be_written(verify, tmp_path):
    done = verify("--stage", "decode", "--json", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert f"cannot write {tmp_path}" in done.err
    assert os.listdir(tmp_path) == []


def test_a_file_is_whole_or_as_it_was(verify, tmp_path, monkeypatch):
    (tmp_path / "out.md").write_text("old")
    monkeypatch.setattr(render, "to_markdown", lambda report: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        verify("--stage", "decode", "--markdown", tmp_path / "out.md")
    assert (tmp_path / "out.md").read_text() == "old"
    assert os.listdir(tmp_path) == ["out.md"]


def test_without_torch_it_is_one_line(process, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None  # as if not installed\n")
    paths = os.pathsep.join([str(tmp_path), str(Path(choose.__file__).parents[3])])
    done = process("verify", PYTHONPATH=paths)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert "torch" in line and "pip install 'modelmeter[live]'" in line


@pytest.mark.parametrize("found", ["4.46.3", "5.22.1", None])
@pytest.mark.parametrize("real", [[], ["--real"]])
def test_an_old_transformers_is_one_line(refused, monkeypatch, found, real):
    def version(package):
        if found is None:
            raise choose.PackageNotFoundError(package)
        return found

    monkeypatch.setattr(choose, "version", version)
    line = refused("verify", *real)
    assert "transformers 5.23 or newer" in line and "--model-path" in line
    assert found is None or found in line
