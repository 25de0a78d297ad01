"""`modelmeter verify`: its options, its exit codes, what it writes and where. The real model is a small one."""

import json
import os
import re
import sys
from pathlib import Path

import attrs
import pytest
from support.small import CONTEXT, VIEWS, small_config

from modelmeter.core import ops
from modelmeter.live.reference import choose
from modelmeter.live.verification import render
from modelmeter.models.deepseek_ocr import deepseek_v2, sam

SIZES = ("--views", VIEWS, "--context-len", CONTEXT)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The configuration file of a small model."""
    path = tmp_path_factory.mktemp("small") / "config.json"
    path.write_text(json.dumps(small_config()))
    return path


@pytest.fixture
def verify(program, config):
    """verify(*arguments): `modelmeter verify` of the small model."""
    return lambda *arguments: program("verify", "--config", config, *SIZES, *arguments)


@pytest.fixture
def verified(verify, tmp_path, valid):
    """verified(*arguments): the data of a run that must end well."""

    def run(*arguments):
        done = verify("-q", "--json", tmp_path / "verified.json", *arguments)
        assert (done.code, done.out, done.err) == (0, "", "")
        return valid((tmp_path / "verified.json").read_text(encoding="utf-8"))

    return run


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


# What differs


def test_a_wrong_twin_is_exit_code_1_and_its_layer_is_named(verify, tmp_path, valid, monkeypatch):
    monkeypatch.setattr(deepseek_v2, "experts_hit", lambda *_: 1)  # the weights of one expert for all
    done = verify("--stage", "decode", "--json", tmp_path / "out.json", "--markdown", tmp_path / "out.md")
    assert (done.code, done.complaints) == (1, [])
    line = done.out.splitlines()[-1]
    assert re.fullmatch(r"NOT verified: weights read.* of Experts model\.layers\.1\.mlp\.experts \(decode\)", line)
    data = valid((tmp_path / "out.json").read_text(encoding="utf-8"))
    wrong = {row["layer"] for row in data["comparisons"][0]["layers"] if not row["ok"]}
    assert data["ok"] is False and "Experts" in wrong and "LlamaAttention" not in wrong
    assert line in (tmp_path / "out.md").read_text(encoding="utf-8")


def an_expert_too_few(monkeypatch):
    build = deepseek_v2.Experts.__init__

    def fewer(self, config, conventions):
        build(self, attrs.evolve(config, num_experts_per_tok=config.num_experts_per_tok - 1), conventions)

    monkeypatch.setattr(deepseek_v2.Experts, "__init__", fewer)


def a_window_not_padded(monkeypatch):
    def partition(self, x):
        batch, side, _, channels = x.shape
        return ops.clone(x.narrow(batch * (side // 14) ** 2, 14, 14, channels))

    monkeypatch.setattr(sam.Block, "_partition", partition)
    monkeypatch.setattr(sam.Block, "_unpartition", lambda self, x, grid: ops.clone(x.narrow(*grid)))


def a_missing_copy_of_the_bias(monkeypatch):
    clone = ops.clone

    def no_copy_of_scores(x, shape=None, *, when=1):
        square = shape is not None and len(shape) == 3 and shape[1] == shape[2]
        return x.view(*shape) if square else clone(x, shape, when=when)

    monkeypatch.setattr(ops, "clone", no_copy_of_scores)


@pytest.mark.parametrize(
    ("mutate", "stage", "quantity", "layer"),
    [
        (an_expert_too_few, "prefill", "counted FLOPs", "Experts model.layers.1.mlp.experts"),
        (a_window_not_padded, "vision", "counted FLOPs", "model.sam_model.blocks.0.attn"),
        (a_missing_copy_of_the_bias, "vision", "activations moved", "Attention model.sam_model.blocks."),
    ],
)
def test_a_mutated_twin_is_exit_code_1(verify, monkeypatch, mutate, stage, quantity, layer):
    mutate(monkeypatch)
    done = verify("--stage", stage)
    assert done.code == 1
    line = done.out.splitlines()[-1]
    assert line.startswith("NOT verified") and quantity in line and layer in line


def test_what_is_wrong_elsewhere_does_not_count(verify, monkeypatch):
    monkeypatch.setattr(deepseek_v2, "experts_hit", lambda *_: 1)
    assert verify("-q", "--stage", "decode", "--layers", "LlamaAttention").code == 0
    assert verify("-q", "--stage", "decode", "--layers", "DeepseekV2MoE").code == 1


# What cannot be


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
