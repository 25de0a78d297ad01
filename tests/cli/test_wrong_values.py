"""`modelmeter analyze`: wrong values are one line on standard error, exit code 2, and nothing written."""

import os

import pytest

from .conftest import SAMPLE


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mode", "gundamm"], "unknown mode 'gundamm'"),
        (["--mode", ""], "unknown mode ''"),
        (["--max-tiles", 1], "max_tiles must be from 2 to 1024"),
        (["--max-tiles", 1025], "max_tiles must be from 2 to 1024"),
        (["--max-tiles", 10**30], "max_tiles must be from 2 to 1024"),
        (["--max-tiles", -1], "max_tiles must be"),
        (["--mode", "base", "--max-tiles", -5], "max_tiles must be"),
        (["--dpi", 0], "dpi must be a positive finite number"),
        (["--dpi", -72], "dpi must be a positive finite number"),
        (["--dpi", "nan"], "dpi must be a positive finite number"),
        (["--dpi", "inf"], "dpi must be a positive finite number"),
        (["--coverage", "most"], "coverage 'most'"),
        (["--coverage", 65], "coverage 65"),
        (["--coverage", -0.5], "coverage -0.5"),
        (["--coverage", "nan"], "coverage nan"),
        (["--attention", "sdpa"], "attention 'sdpa' is unknown: choose eager or flash"),
        (["--implementation", "vllm"], "implementation 'vllm' is unknown: choose vendor or transformers"),
        (["--logits", "none"], "logits 'none' is unknown: choose all or last"),
        (["--prompt-tokens", -1], "prompt_tokens must be at least 0, not -1"),
        (["--decode-tokens", -1], "decode_tokens must be at least 0, not -1"),
        (["--batch-size", 0], "batch_size must be positive, not 0"),
        (["--batch-size", -3], "batch_size must be positive, not -3"),
        (["--by-layer", 0], "by_layer must be positive, not 0"),
        (["--by-layer", -1], "by_layer must be positive, not -1"),
        (["--config", "missing.json"], "missing.json"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_wrong_value_is_one_line_and_writes_nothing(refused, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    line = refused("analyze", "600x620", SAMPLE, *options, "--json", "out.json")
    assert words in line
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe\xff", b"{}", b'{"language_config": {"num_hidden_layers": -1}}',
                b'{"language_config": {"num_hidden_layers": 4, "new_kind_of_layer": true}}'],
)  # fmt: skip
def test_a_bad_configuration_is_one_line(refused, tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    assert "config.json" in refused("analyze", "600x620", "--config", tmp_path / "config.json")


def test_an_output_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("old")
    for target in (tmp_path / "file" / "out.json", tmp_path):
        assert f"cannot write {target}" in refused("analyze", "600x620", "--json", target)
    assert os.listdir(tmp_path) == ["file"]


def test_one_output_of_two_that_cannot_be_written(program, tmp_path, valid):
    done = program("analyze", "600x620", "--json", tmp_path / "out.json", "--csv", tmp_path)
    assert (done.code, len(done.complaints)) == (2, 1)
    if (tmp_path / "out.json").exists():  # then it is whole
        valid((tmp_path / "out.json").read_text(encoding="utf-8"))
