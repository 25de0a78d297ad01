"""`modelmeter fit`."""

import json

import pytest

from modelmeter.hardware import catalogue

from .conftest import SAMPLE, TOKEN

WEIGHTS = 3_336_106_240 * 2  # bytes of the released checkpoint
SIX = '[six]\nbase = "a100-40g"\nmemory = "6 GB"\n'  # below the weights' 6.67 GB


@pytest.fixture(autouse=True)
def no_devices_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "user_file", lambda: tmp_path / "none.toml")


@pytest.fixture
def six(tmp_path):
    """A device file with a device of 6 GB."""
    path = tmp_path / "six.toml"
    path.write_text(SIX)
    return path


def test_the_tables(program):
    done = program("fit", "--device", "a100-40g")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert "1654x2339" in lines[0] and "913 tokens of context" in lines[0]
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split("|") for line in lines)
        if len(cells) > 3
    }
    assert rows["weights"][1] == f"{WEIGHTS:,}"
    assert rows["reserve"][1] == f"{40 * 10**9 // 10:,}"
    assert rows["CUDA context"][1] == f"{500 * 2**20:,}"
    assert rows["KV cache at the end"][1] == f"{(913 + 512) * TOKEN:,}"
    assert rows["the same in blocks"][1] == f"{90 * 16 * TOKEN:,}"  # 1425 tokens in 89.06 blocks
    free = 40 * 10**9 * 9 // 10 - 500 * 2**20 - (2 * 4096 + 8 * 16) * 1024 - WEIGHTS
    assert rows["left for pages"][1] == f"{free:,}"
    assert "fits" in done.out and "fragmentation" in done.out


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--device", "cpu", "--mode", "tiny", "--decode-tokens", "0"],
        ["--logits", "last", "--attention", "flash", "--cache", "in_place", "--experts", "grouped"],
        ["--implementation", "transformers", "--batch-size", "100000"],
        ["--weights", "int8", "--activations", "int8", "--kv", "int8", "--weights-parts", "decoder,lm_head,vision"],
        ["--reserve", "4GiB", "--cuda-context", "0", "--prefill-batch", "2"],
        ["--prompt-tokens", "100", "600x600", "2000x100"],
    ],
)
def test_json_holds_what_its_schema_says(program, valid, options):
    done = program("fit", "--device", "a100-40g", *options, "--json", "-")
    data = valid(done.out)
    assert done.code == (0 if data["fits"] else 1)
    memory = data["memory"]
    taken = sum(memory[f"{name}_bytes"] for name in ("weights", "context", "workspace", "reserve"))
    assert memory["free_bytes"] == memory["memory_bytes"] - taken
    for cache in data["caches"]:
        assert cache["left_bytes"] == memory["free_bytes"] - cache["run_bytes"]
        assert all(limit["needed_bytes"] > memory["free_bytes"] for limit in cache["limits"])
    assert [page["decides"] for page in data["pages"]].index(True) == data["workload"]["deciding_page"]


def test_pages_after_the_option_and_alone_are_the_same(program):
    one = program("fit", "--device", "l4", "--pages", SAMPLE, "600x600", "--json", "-")
    other = program("fit", SAMPLE, "600x600", "--device", "l4", "--json", "-")
    assert json.loads(one.out) == json.loads(other.out)
    assert [page["source"] for page in json.loads(one.out)["pages"]][-1] == "600x600"


def test_the_largest_page_decides(program, valid):
    data = valid(program("fit", "--device", "l4", "600x600", "1654x2339", "--json", "-").out)
    alone = valid(program("fit", "--device", "l4", "1654x2339", "--json", "-").out)
    assert data["workload"]["deciding_page"] == 1
    assert data["stages"] == alone["stages"]
    assert "1654x2339, the largest of 2 pages" in program("fit", "--device", "l4", "600x600", "1654x2339").out


def test_the_vendors_logits_cost_batch(program, valid):
    every, last = (
        valid(program("fit", "--device", "a100-40g", "--logits", logits, "--json", "-").out)
        for logits in ("all", "last")
    )
    assert every["stages"][1]["logits_bytes"] == 913 * 129280 * (2 + 4)  # bf16, and the fp32 copy
    assert last["stages"][1]["logits_bytes"] == 129280 * (2 + 4)
    assert every["caches"][0]["limits"][-1]["batch"] < last["caches"][0]["limits"][-1]["batch"]


def test_a_device_that_cannot_hold_the_weights(program, six):
    done = program("fit", "--device", "six", "--device-file", six)
    missing = WEIGHTS + 500 * 2**20 + (2 * 4096 + 8 * 16) * 1024 - 6 * 10**9 * 9 // 10
    assert done.code == 1
    assert f"{missing / 2**30:.2f} GiB are missing" in done.out
    assert "int4 (decoder)" in done.out and "Other precisions" in done.out
    assert "Largest batch, " not in done.out


def test_the_precision_that_it_names_fits(program, six):
    done = program("fit", "--device", six, "--weights", "int4")
    assert done.code == 0
    assert "decoder linear layers and experts int4" in done.out


def test_a_batch_that_does_not_fit(program):
    done = program("fit", "--device", "a100-40g", "--batch-size", "1000")
    assert done.code == 1
    assert "A batch of 1000 does not fit" in done.out


def test_a_context_beyond_the_positions_is_said(program):
    assert (
        "9105 tokens, and the model has 8192 positions"
        in program("fit", "--device", "h200", "--decode-tokens", "8192").out
    )  # 903 image tokens and 10 of the prompt


def test_markdown(program, tmp_path):
    path = tmp_path / "fit.md"
    done = program("fit", "--device", "h200", "--markdown", path, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    text = path.read_text()
    assert text.startswith("# What fits h200\n")
    assert f"{WEIGHTS:,}" in text and "## Largest batch, KV cache in blocks of 16" in text


def test_a_file_that_cannot_be_read_among_others(program, tmp_path):
    done = program("fit", "--device", "h200", "600x600", tmp_path / "none.pdf")
    assert done.code == 1
    assert len(done.complaints) == 1 and "none.pdf" in done.complaints[0]
    assert "fits" in done.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--device", "a100-40gb"], "a100-40g"),
        (["--device", "h200", "none.pdf"], "no page could be read"),
        (["--device", "h200", "--reserve", "100%"], "reserve"),
        (["--device", "h200", "--reserve", "4"], "reserve"),
        (["--device", "h200", "--reserve", "1 TB"], "reserve"),
        (["--device", "h200", "--cuda-context", "much"], "cuda_context"),
        (["--device", "h200", "--weights", "int3"], "int3"),
        (["--device", "h200", "--weights-parts", "gate"], "gate"),
        (["--device", "h200", "--prefill-batch", "0"], "prefill_batch"),
        (["--device", "h200", "--batch-size", "0"], "batch_size"),
        (["--device", "h200", "--mode", "huge"], "huge"),
        (["--device", "h200", "--logits", "some"], "logits"),
        (["--device", "h200", "--config", "none.json"], "none.json"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(program, options, said):
    done = program("fit", *options)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1 and said in done.err


def test_a_device_is_needed(program):
    done = program("fit", "1654x2339")
    assert done.code == 2 and "--device" in done.err
