"""`modelmeter formula`: what it prints and writes, and how it says what is wrong."""

import json

import pytest
from typer.testing import CliRunner

from modelmeter.cli.app import app

from .conftest import TOKEN


def test_plain_text():
    done = CliRunner().invoke(app, ["formula", "deepseek-ocr", "decode", "--quantity", "kv_cache_bytes"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"kv_cache_bytes(decode) = {TOKEN}*B*T"


def test_flops_are_the_default():
    default, named = (
        CliRunner().invoke(app, ["formula", "deepseek-ocr", "vision", *words]).stdout
        for words in ([], ["--quantity", "flops"])
    )
    assert default == named


def test_latex(program):
    done = program("formula", "deepseek-ocr", "prefill", "--quantity", "kv_cache_bytes", "--latex")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == rf"\mathrm{{kv\_cache\_bytes(prefill)}} = {TOKEN} B S"


def test_one_layer(program):
    words = ["formula", "deepseek-ocr", "decode", "--layer", "model.layers.0.mlp", "--quantity", "tensor_flops"]
    assert program(*words).out.splitlines()[0].endswith(f" = {3 * 2 * 1280 * 6848}*B")  # three projections


def test_options_change_the_formula(program):
    words = ["formula", "deepseek-ocr", "prefill", "--quantity", "activation_bytes"]
    eager, flash, other = (
        program(*words, *more).out.splitlines()[0]
        for more in ([], ["--attention", "flash"], ["--implementation", "transformers"])
    )
    assert len({eager, flash, other}) == 3


def test_the_conventions_are_printed(program):
    assert "flash" in program("formula", "deepseek-ocr", "prefill", "--attention", "flash").out


@pytest.mark.parametrize("more", [[], ["--latex"]], ids=["text", "latex"])
def test_json_on_standard_output_is_all_there_is(process, valid, more):
    done = process("formula", "deepseek-ocr", "decode", "--quantity", "kv_bytes", "--json", "-", *more)
    assert (done.code, done.err) == (0, "")
    data = valid(done.out)
    assert (data["stage"], data["quantity"], data["layer"]) == ("decode", "kv_bytes", None)


def test_json_to_a_file(program, tmp_path):
    path = tmp_path / "new" / "formula.json"
    done = program("formula", "deepseek-ocr", "decode", "--json", path)
    assert (done.code, done.err) == (0, f"wrote {path}\n")
    assert done.out.splitlines()[0] == f"flops(decode) = {json.loads(path.read_text(encoding='utf-8'))['formula']}"


def test_a_configuration_file(program, tmp_path):
    config = {"model_type": "deepseek_vl_v2", "language_config": {"num_hidden_layers": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ["formula", "deepseek-ocr", "decode", "--quantity", "kv_cache_bytes", "--config", tmp_path / "config.json"]
    assert program(*words).out.splitlines()[0].endswith(f" = {TOKEN // 12 * 4}*B*T")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["deepseek", "decode"], "unknown model 'deepseek': choose deepseek-ocr"),
        (["deepseek-ocr", "training"], "unknown stage 'training'"),
        (["deepseek-ocr", "decode", "--quantity", "flopses"], "unknown quantity 'flopses'"),
        (["deepseek-ocr", "decode", "--layer", "model.layers.12.mlp"], "no module 'model.layers.12.mlp'"),
        (["deepseek-ocr", "decode", "--attention", "fast"], "attention 'fast' is unknown"),
        (["deepseek-ocr", "decode", "--config", "missing.json"], "missing.json"),
    ],
)
def test_a_wrong_value_is_one_line(refused, words, named):
    assert named in refused("formula", *words)


def test_an_output_that_cannot_be_written(refused, tmp_path):
    assert f"cannot write {tmp_path}" in refused("formula", "deepseek-ocr", "decode", "--json", tmp_path)
