"""`modelmeter report`: the folder it writes, what it prints, and calls that cannot be."""

import pytest

from modelmeter.report.model_report.write import read_report


@pytest.fixture
def small(program, tmp_path):
    """small(*arguments): a quick report in the folder out, without the HTML page."""

    def run(*arguments):
        return program("report", "600x620", *arguments, "--no-html", "-o", tmp_path / "out")

    return run


def test_it_writes_a_folder_and_says_so(small, tmp_path, valid):
    done = small("--device", "h200", "--decode-tokens", "3")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"\nwrote {tmp_path / 'out'}\n")
    assert "TTFT" in done.out
    valid((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    report = read_report(tmp_path / "out")
    assert (report.device.name, report.profile.name, report.profile.decode_steps) == ("h200", "custom", 3)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.json",
        "report.yaml",
        "report.md",
        "layers",
    }


def test_quiet_prints_nothing(small):
    done = small("--quiet", "--decode-tokens", "0")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_profile_is_the_workload(small, refused, tmp_path):
    assert small("--profile", "dsocr-standard-v1", "-q").code == 0
    found = read_report(tmp_path / "out").profile
    assert (found.name, found.text_tokens, found.new_tokens) == ("dsocr-standard-v1", 512, 512)
    line = refused("report", "600x620", "--profile", "dsocr-standard-v1", "--prompt-tokens", "10", "-o", tmp_path / "x")
    assert "--profile dsocr-standard-v1 sets --prompt-tokens: leave one of them out" in line
    assert "choose dsocr-standard-v1" in refused("report", "600x620", "--profile", "x", "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_conventions_and_precision_are_taken(small, tmp_path):
    options = ["--attention", "flash", "--experts", "grouped", "--cache", "in_place", "--coverage", "8.5"]
    assert small(*options, "--weights", "int4", "--kv", "fp8", "--decode-tokens", "1", "-q").code == 0
    report = read_report(tmp_path / "out")
    chosen = report.conventions
    assert (chosen.attention, chosen.experts, chosen.cache, chosen.coverage) == ("flash", "grouped", "in_place", 8.5)
    assert (report.model.precision.weights, report.model.precision.kv) == ("int4", "fp8")


def test_files_that_cannot_be_read_are_named(program, refused, picture, tmp_path):
    done = program("report", picture(), "missing.pdf", "--decode-tokens", "1", "--no-html", "-o", tmp_path / "out")
    assert done.code == 1
    assert len(done.complaints) == 1 and "missing.pdf" in done.complaints[0]
    assert [error.source for error in read_report(tmp_path / "out").errors] == ["missing.pdf"]
    assert "no page could be read: missing.pdf" in refused("report", "missing.pdf", "-o", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_of_others_is_left_alone(program, refused, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine", encoding="utf-8")
    line = refused("report", "600x620", "-o", tmp_path / "mine")
    assert "holds more than a report" in line and "--force" in line
    done = program("report", "600x620", "--decode-tokens", "1", "--no-html", "--force", "-q", "-o", tmp_path / "mine")
    assert done.code == 0
    assert not (tmp_path / "mine" / "thesis.txt").exists()


def test_wrong_devices_are_refused_before_any_work(refused, tmp_path):
    assert "unknown device" in refused("report", "600x620", "--device", "h2000", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
