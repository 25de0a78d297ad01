"""`modelmeter verify`: its options, what it writes and where. The real model is a small one."""

import os
import re
import sys

import pytest
from support.small import CONTEXT

from .conftest import SIZES


def stages(data):
    """(stage, batch, context, step) of every comparison."""
    return [(each["stage"], each["batch"], each["context_len"], each["step"]) for each in data["comparisons"]]


def classes(data):
    """Classes of the layers reported."""
    return {row["layer"] for each in data["comparisons"] for row in each["layers"]}


# What comes out


def test_every_stage_and_layer(verify):
    done = verify()
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("verified: 4 stages, ")
    for words in ("Stages", "Layers: vision", f"Layers: decode {CONTEXT}", "LlamaAttention", "equal as integers"):
        assert words in done.out


def test_json_and_markdown(verify, tmp_path, valid):
    done = verify("--json", tmp_path / "new/out.json", "--markdown", tmp_path / "new/out.md")
    assert (done.code, done.complaints) == (0, [])
    assert done.err.splitlines() == [f"wrote {tmp_path / 'new/out.json'}", f"wrote {tmp_path / 'new/out.md'}"]
    data = valid((tmp_path / "new/out.json").read_text(encoding="utf-8"))
    assert stages(data) == [(stage, 1, n, 0) for stage, n in
                            [("vision", 0), ("prefill", CONTEXT), ("page", CONTEXT), ("decode", CONTEXT)]]  # fmt: skip
    markdown = (tmp_path / "new/out.md").read_text(encoding="utf-8")
    assert markdown.startswith("# ") and markdown.rstrip().splitlines()[-1].startswith("**verified: ")
    for each in data["comparisons"]:
        assert f"| {each['total']['checks']['counted_flops']['measured']:,} |" in markdown
    assert sorted(os.listdir(tmp_path / "new")) == ["out.json", "out.md"]


@pytest.mark.parametrize("kind", ["json", "markdown"])
def test_standard_output_is_all_there_is(verify, kind):
    done = verify("--stage", "decode", f"--{kind}", "-")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("{" if kind == "json" else "# ")


def test_a_process_prints_nothing_else(process, config, valid):
    done = process("verify", "--config", config, *map(str, SIZES), "--stage", "decode", "--json", "-")
    assert (done.code, done.err) == (0, "")
    valid(done.out)


def test_the_released_model(process):
    done = process("verify")
    assert (done.code, done.err) == (0, "")
    assert "prefill 913" in done.out  # 903 image tokens and 10 of text
    assert done.out.splitlines()[-1].startswith("verified: 4 stages, ")


# Options


def test_one_stage(verified):
    assert stages(verified("--stage", "prefill")) == [("prefill", 1, CONTEXT, 0)]


def test_repeated_sizes(verified):
    data = verified("--stage", "decode", "--context-len", 500, "--batch-size", 1, "--batch-size", 2)
    assert stages(data) == [("decode", batch, n, 0) for batch in (1, 2) for n in (CONTEXT, 500)]


def test_decode_steps(verified):
    data = verified("--stage", "decode", "--decode-steps", 3)
    assert stages(data) == [("decode", 1, CONTEXT, step) for step in range(3)]
    held = [each["total"]["checks"]["kv_cache_bytes"]["measured"] for each in data["comparisons"]]
    assert held == [(CONTEXT + step + 1) * 2 * 2 * 2 * 64 * 2 for step in range(3)]  # k, v; layers, heads, width, bf16


def test_no_views(verified):
    assert [stage for stage, *_ in stages(verified("--views", "none"))] == ["prefill", "decode"]


def test_layers(verified):
    data = verified("--layers")
    assert [each["total"] for each in data["comparisons"]] == [None] * 4
    assert {"Block", "NoTPAttention", "LlamaAttention"} <= classes(data)


def test_selected_layers(verified):
    data = verified("--layers", "SAM")
    assert [stage for stage, *_ in stages(data)] == ["vision", "page"]
    assert "Block" in classes(data) and "NoTPAttention" not in classes(data)
    assert classes(verified("--layers", "LlamaAttention", "model.layers.1.mlp.gate")) == {"LlamaAttention", "MoEGate"}


def test_a_selection_beside_the_stages(verified):
    data = verified("--stage", "decode", "lm_head")
    assert data["comparisons"][0]["total"] is not None
    assert classes(data) == {"LMHead"}


@pytest.mark.parametrize(
    ("options", "conventions"),
    [
        (["--attention", "flash", "--stage", "vision"], {"attention": "flash", "experts": "loop"}),
        (["--experts", "batched_mm", "--stage", "prefill"], {"attention": "eager", "experts": "grouped"}),
        (["--experts", "grouped_mm", "--stage", "prefill"], {"attention": "eager", "experts": "grouped"}),
    ],
)
def test_ways_to_run(verified, options, conventions):
    assert verified(*options)["conventions"].items() >= conventions.items()


def test_backward(verified):
    data = verified("--backward", "--stage", "prefill")
    checks = data["comparisons"][0]["total"]["checks"]
    assert checks["backward_flops"]["measured"] > checks["counted_flops"]["measured"]
    assert {"saved_bytes"} <= checks.keys()


def test_a_real_run(program, tmp_path, valid):
    done = program("verify", "--real", "--decode-steps", 2, "--json", tmp_path / "real.json")
    assert (done.code, done.complaints) == (0, [])
    assert "Experts" in done.out
    data = valid((tmp_path / "real.json").read_text(encoding="utf-8"))
    assert [(stage, step) for stage, _, _, step in stages(data)][-2:] == [("decode", 0), ("decode", 1)]
    assert all(each["routing"]["hit"] for each in data["comparisons"][-2:])


# On a terminal


def test_progress_is_for_a_terminal_alone(verify, monkeypatch):
    assert verify("--stage", "decode").err == ""
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    assert verify("--stage", "decode", "-q").err == ""


class Terminal:
    """A stream that says it is a terminal."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def isatty(self):
        return True


def test_help_names_every_option(program):
    text = program("verify", "--help").out
    options = ("model-path", "trust-remote-code", "config", "stage", "layers", "context-len", "decode-steps",
               "batch-size", "views", "attention", "experts", "real", "backward", "json", "markdown",
               "quiet")  # fmt: skip
    assert all(re.search(rf"--{option}\b", text) for option in options)
