"""`modelmeter analyze`: its options, and sizes at the edge."""

import json
import re

import pytest
from typer.testing import CliRunner

import modelmeter as mm
from modelmeter.cli.app import app

from .conftest import SAMPLE, TOKEN


def test_the_sample_document(valid):
    done = CliRunner().invoke(app, ["analyze", str(SAMPLE), "--json", "-"])
    assert (done.exit_code, done.stderr) == (0, "")
    pages = valid(done.stdout)["pages"]
    assert [page["page"] for page in pages] == [1, 2, 3, 4]
    a4 = (1191, 1684)  # 595.28 x 841.89 points at 144 dpi, rounded up
    assert [(page["width"], page["height"]) for page in pages[:3]] == [a4, a4[::-1], (600, 620)]
    assert [page["grid"] for page in pages[:3]] == [[2, 3], [3, 2], [1, 1]]
    assert {page["mode"] for page in pages} == {"gundam"}


def test_the_table_goes_to_standard_output():
    done = CliRunner().invoke(app, ["analyze", "1654x2339"])
    assert (done.exit_code, done.stderr) == (0, "")
    for word in ("3,336,106,240 parameters", "vision", "prefill", "decode", "run", "lm_head", "Conventions"):
        assert word in done.stdout


def test_options_reach_the_analysis(valid, program, tmp_path):
    chosen = {
        "mode": "gundam-m", "max_tiles": 4, "prompt_tokens": 3, "decode_tokens": 7, "batch_size": 2,
        "attention": "flash", "implementation": "transformers", "logits": "last", "coverage": "max",
    }  # fmt: skip
    options = [word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", value)]
    data = valid(program("analyze", "4000x4000", *options, "--by-layer", 2, "--json", "-").out)
    assert {name: {**data["conventions"], **data["workload"]}[name] for name in chosen} == chosen
    (page,) = data["pages"]
    assert page["context_len"] == page["image_tokens"] + 3
    assert page["views"] == [[4, 1024], [1, 1280]]
    assert page["stages"]["run"]["kv_cache_bytes"] == TOKEN * 2 * (page["context_len"] + 7)
    assert "model.layers" in page["stages"]["run"]["layers"]


def test_the_defaults_are_those_of_the_help(valid, program):
    data = valid(program("analyze", "10x10", "--json", "-").out)
    workload = {"mode": "gundam", "max_tiles": 9, "prompt_tokens": 10, "decode_tokens": 512, "batch_size": 1}
    assert data["workload"] == workload
    shown = re.findall(r"--([a-z-]+)\s[^[]*?\[default:\s+([^\]]+)\]", program("analyze", "--help").out)
    defaults = {name.replace("-", "_"): value for name, value in shown}
    for name, value in {**data["workload"], **data["conventions"]}.items():
        if name in defaults:
            assert defaults[name] == str(value)
    assert set(workload) <= set(defaults)


def test_a_measured_coverage(valid, program):
    data = valid(program("analyze", "10x10", "--coverage", "12.5", "--json", "-").out)
    assert data["conventions"]["coverage"] == 12.5


def test_dpi_scales_pages_of_a_pdf(valid, program):
    page = valid(program("analyze", SAMPLE, "--dpi", 72, "--json", "-").out)["pages"][2]
    assert (page["width"], page["height"]) == (300, 310)


def test_a_configuration_file(valid, program, tmp_path):
    config = {"model_type": "deepseek_vl_v2", "language_config": {"num_hidden_layers": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for path in (tmp_path / "config.json", tmp_path):
        data = valid(program("analyze", "600x620", "--config", path, "--json", "-").out)
        assert data["model"]["config"]["decoder"]["num_hidden_layers"] == 4
        assert data["pages"][0]["stages"]["decode"]["kv_cache_bytes"] == TOKEN // 12 * 4 * (273 + 10)


def test_nothing_to_decode(program, valid):
    stages = valid(program("analyze", "600x620", "--decode-tokens", 0, "--json", "-").out)["pages"][0]["stages"]
    assert stages["run"] == stages["prefill"]
    assert program("analyze", "600x620", "--decode-tokens", 0).code == 0


def test_no_prompt(program, valid):
    (page,) = valid(program("analyze", "600x620", "--prompt-tokens", 0, "--json", "-").out)["pages"]
    assert page["context_len"] == page["image_tokens"] == 16 * 17 + 1


@pytest.mark.parametrize("depth", [1, 10**30])
def test_any_depth(program, valid, depth):
    stage = valid(program("analyze", "600x620", "--by-layer", depth, "--json", "-").out)["totals"]["stages"]["run"]
    assert sum(layer["io_bytes"] for layer in stage["layers"].values()) == stage["io_bytes"]
    assert program("analyze", "600x620", "--by-layer", depth).code == 0


@pytest.mark.parametrize("option", ["--prompt-tokens", "--decode-tokens", "--batch-size"])
def test_huge_numbers_stay_exact(program, valid, option):
    (page,) = valid(program("analyze", "600x620", option, 10**30, "--json", "-").out)["pages"]
    sizes = {"--prompt-tokens": 10, "--decode-tokens": 512, "--batch-size": 1, option: 10**30}
    context = 16 * 17 + 1 + sizes["--prompt-tokens"]
    assert page["context_len"] == context
    held = TOKEN * sizes["--batch-size"] * (context + sizes["--decode-tokens"])
    assert page["stages"]["run"]["kv_cache_bytes"] == held
    done = program("analyze", "600x620", option, 10**30)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("digits", [170, 400, 5000])
@pytest.mark.parametrize("option", ["--prompt-tokens", "--decode-tokens", "--batch-size"])
@pytest.mark.parametrize("output", [[], ["--json", "-"]], ids=["table", "json"])
def test_numbers_beyond_all_floats_are_an_answer_or_an_error(program, option, digits, output):
    done = program("analyze", "600x620", option, "1" + "0" * digits, *output)
    assert done.code in (0, 2)
    assert "Traceback" not in done.err


def test_a_size_is_not_an_option(program):
    assert program("analyze", "--", "-5x10").code == 1


def test_the_analysis_is_that_of_the_library(program, valid):
    data = valid(program("analyze", "1654x2339", "--decode-tokens", 40, "--json", "-").out)
    model = mm.DeepseekOCRModel.from_config()
    views = mm.plan_views(1654, 2339)
    model.set_views(views)
    model.start_prefill(views.image_tokens + 10)
    run = model.simulate_run(40)
    stage = data["pages"][0]["stages"]["run"]
    assert stage["io_bytes"] == run.total.cost.io_bytes
    assert stage["tensor_flops"] == run.total.cost.tensor_flops
    assert stage["activation_peak_bytes"] == run.total.activations_bytes


def test_equal_questions_have_equal_answers(process):
    first, again = (process("analyze", SAMPLE, "--json", "-").out for _ in range(2))
    assert first == again and first
