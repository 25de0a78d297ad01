"""`modelmeter analyze-model`: its options, what it writes and where, and what it refuses. The real model is small."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small import CONTEXT, small_config

pytest.importorskip("torch")

TEXT = ("none", "--context-len", str(CONTEXT))
PAGE = ("600x620", "--mode", "tiny", "--context-len", str(CONTEXT))  # one view of 512 px


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration file of a small model."""
    path = tmp_path_factory.mktemp("small") / "config.json"
    path.write_text(json.dumps(small_config()))
    return path


@pytest.fixture
def analyze(program: Callable[..., Any], config: Path) -> Callable[..., Any]:
    """analyze(*arguments): `modelmeter analyze-model` of the small model."""
    return lambda *arguments: program("analyze-model", *arguments, "--config", config)


def test_a_page(analyze: Callable[..., Any]) -> None:
    done = analyze(*PAGE)
    assert (done.code, done.err) == (0, "")
    heading, *_, last = done.out.splitlines()
    assert "page 600x620, 73 image tokens, context 400, 1 decode step after 400 tokens" in heading
    assert last.startswith("every exact quantity is equal; largest differences: ")
    rows = [line.split()[1] for line in done.out.splitlines() if line.startswith("| ")]
    assert rows[2:10] == ["sam", "clip", "projector", "joining", "vision", "prefill", "decode", "run"]


def test_everything_that_it_writes(analyze: Callable[..., Any], tmp_path: Path, valid: Callable[..., Any]) -> None:
    out = tmp_path / "out"
    done = analyze(*PAGE, "-o", out, "--json", tmp_path / "a.json", "--markdown", tmp_path / "a.md")
    assert done.code == 0
    assert done.err.splitlines() == [f"wrote {name}" for name in (out, tmp_path / "a.json", tmp_path / "a.md")]
    place = out / "static_analysis/analytic_model"
    report = valid((place / "report.json").read_text(encoding="utf-8"))
    assert report == valid((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert report["point"]["views"]["image_tokens"] == 73
    layers = [valid(file.read_text(encoding="utf-8")) for file in sorted((place / "layers").rglob("*.json"))]
    assert {"ImageEncoderViT", "VitModel", "MlpProjector", "DeepseekV2DecoderLayer"} <= {x["layer"] for x in layers}
    assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("# Static analysis\n")


def test_quiet_and_standard_output(analyze: Callable[..., Any], tmp_path: Path, valid: Callable[..., Any]) -> None:
    done = analyze(*TEXT, "-q", "-o", tmp_path)
    assert (done.code, done.out, done.err) == (0, "", "")
    done = analyze(*TEXT, "--decode-steps", "2", "--batch-size", "3", "--cached", "70", "--json", "-")
    assert (done.code, done.err) == (0, "")
    assert valid(done.out)["point"] == {
        "page": None, "views": None, "context_len": CONTEXT, "batch_size": 3, "cached": 70, "decode_steps": 2,
    }  # fmt: skip


def test_a_picture_is_a_page(analyze: Callable[..., Any], picture: Callable[..., Path]) -> None:
    done = analyze(picture("scan.png", (600, 620)), "--mode", "tiny", "--context-len", CONTEXT, "--json", "-")
    assert done.code == 0
    assert json.loads(done.out)["point"]["page"].endswith("scan.png")


def test_a_grid(analyze: Callable[..., Any], tmp_path: Path, valid: Callable[..., Any]) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("lengths: [400, 500]\ndecode_steps: [1, 2]\n")
    done = analyze("--grid", grid, "-o", tmp_path / "out", "--json", tmp_path / "a.json")
    assert done.code == 0
    assert "4 of 4 points of a grid" in done.out
    place = tmp_path / "out/static_analysis/scaling"
    data = valid((place / "scaling.json").read_text(encoding="utf-8"))
    assert data == valid((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [(point["length"], point["decode_steps"]) for point in data["points"]] == [
        (400, 1), (400, 2), (500, 1), (500, 2),
    ]  # fmt: skip
    assert len((place / "scaling.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4 * 2


def test_what_is_done_survives_an_interruption(
    analyze: Callable[..., Any], tmp_path: Path, valid: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelmeter.live.analyser import scaling

    run, lengths = scaling._run, list[int]()

    def interrupted(adapter: Any, twin: Any, grid: Any, length: int, *rest: Any) -> Any:
        lengths.append(length)
        if len(lengths) == 2:
            raise KeyboardInterrupt
        return run(adapter, twin, grid, length, *rest)

    monkeypatch.setattr(scaling, "_run", interrupted)
    grid = tmp_path / "grid.yaml"
    grid.write_text("lengths: [400, 500]\n")
    done = analyze("--grid", grid, "-o", tmp_path / "out")
    assert (done.code, done.err) == (130, f"modelmeter: interrupted: 1 of 2 points are in {tmp_path / 'out'}\n")
    data = valid((tmp_path / "out/static_analysis/scaling/scaling.json").read_text(encoding="utf-8"))
    assert ([point["length"] for point in data["points"]], data["complete"]) == ([400], False)


def test_a_wrong_twin_is_shown_and_ends_with_1(
    analyze: Callable[..., Any], tmp_path: Path, valid: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of one expert for all: its traffic alone is off, in prefill and decode, and the files say so."""
    from modelmeter.models.deepseek_ocr import deepseek_v2

    monkeypatch.setattr(deepseek_v2, "experts_hit", lambda *_: 1)
    done = analyze(*PAGE, "-o", tmp_path)
    assert done.code == 1
    assert "- stage decode: weights read: real " in done.out
    assert "stage sam" not in done.out
    assert done.out.splitlines()[-1].startswith("NOT equal: ")
    report = valid((tmp_path / "static_analysis/analytic_model/report.json").read_text(encoding="utf-8"))
    wrong = {name: row["ok"] for name, row in report["stages"].items()}
    assert [name for name, ok in wrong.items() if not ok] == ["prefill", "decode", "run"]
    checks = report["stages"]["decode"]["checks"]
    assert [name for name, check in checks.items() if not check["ok"]] == ["weight_read_bytes"]
    assert checks["weight_read_bytes"]["difference"] == -(2 - 1) * 3 * 128 * 64 * 2  # an expert's products, bf16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "a prompt of text alone (page none) needs its length: give --context-len"),
        (["none", "--context-len", "0"], "context_len must be positive, not 0"),
        (["none", "--context-len", "9", "--cached", "0"], "cached must be positive, not 0"),
        (["600x620", "--context-len", "72", "--mode", "tiny"], "does not hold the 73 image tokens"),
        (["600x620", "--prompt-tokens", "0"], "prompt_tokens must be positive, not 0"),
        (["600x620", "--mode", "huge"], "unknown mode 'huge'"),
        (["600x620", "--max-tiles", "1"], "max_tiles"),
        (["600x620", "--batch-size", "-2"], "batch_size must be positive, not -2"),
        (["600x620", "--decode-steps", "0"], "decode_steps must be positive, not 0"),
        (["600x620", "--attention", "paged"], "attention 'paged' is unknown: choose eager or flash"),
        (["600x620", "--experts", "all"], "experts 'all' is unknown: choose eager, batched_mm or grouped_mm"),
        (["0x620"], "a page has at least one pixel a side"),
        (["none.png"], "none.png: no such file or directory: check the name"),
        (["600x620", "--trust-remote-code"], "--trust-remote-code goes with --model-path"),
        (["--grid", "none.yaml"], "cannot read none.yaml: No such file or directory"),
        (
            ["600x620", "--grid", "a.yaml", "--cached", "3"],
            "of its own: drop PAGE, --cached",
        ),
    ],
)
def test_calls_that_cannot_be(refused: Callable[..., str], arguments: list[str], message: str) -> None:
    assert message in refused("analyze-model", *arguments)


def test_a_folder_that_is_not_ours(refused: Callable[..., str], tmp_path: Path) -> None:
    place = tmp_path / "static_analysis/analytic_model"
    place.mkdir(parents=True)
    (place / "letters.txt").write_text("mine")
    assert "is there and is none of ours to replace" in refused("analyze-model", *TEXT, "-o", tmp_path)
    (tmp_path / "file").write_text("")
    assert "file is a file: name a folder with -o" in refused("analyze-model", *TEXT, "-o", tmp_path / "file")


def test_one_model_at_a_time(refused: Callable[..., str], config: Path, tmp_path: Path) -> None:
    message = refused("analyze-model", *TEXT, "--config", config, "--model-path", tmp_path)
    assert "--config and --model-path exclude each other" in message
