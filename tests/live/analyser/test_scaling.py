"""The scaling over a grid: read from YAML, equal on both sides at every point, and kept point by point."""

from pathlib import Path

import pytest
from support.small import CONTEXT

from modelmeter import ModelMeterError
from modelmeter.live.analyser.analyser import DeepseekOCRStaticAnalyzer
from modelmeter.live.analyser.grid import Grid, read_grid
from modelmeter.live.analyser.scaling import StaticScaling


def test_every_point_of_the_grid(scaled: StaticScaling) -> None:
    assert scaled.complete and scaled.ok
    found = [(point.batch_size, point.length, point.decode_steps) for point in scaled.points]
    assert found == [(b, n, k) for b in (1, 2) for n in (CONTEXT, 2 * CONTEXT) for k in (1, 3)]
    for point in scaled.points:
        for row in (point.prefill, point.decode):
            assert row.recorded.counted_flops == row.analytic.counted_flops > 0


def test_a_point_is_what_an_analysis_of_it_is(scaled: StaticScaling, small: DeepseekOCRStaticAnalyzer) -> None:
    point = scaled.points[-1]
    alone = small.analyze(
        small.point(context_len=point.length, batch_size=point.batch_size, decode_steps=point.decode_steps)
    )
    assert (point.prefill, point.decode) == (alone.stage("prefill"), alone.stage("decode"))


def test_steps_add_up_and_prefill_is_the_same(scaled: StaticScaling) -> None:
    one, three = scaled.points[:2]
    assert one.prefill == three.prefill
    first, more = (
        one.decode.recorded.counted_flops,
        2 * 2 * 2 * 2 * 64,
    )  # layers, products, 2 FLOPs, heads, width
    assert three.decode.recorded.counted_flops == 3 * first + (1 + 2) * more


def test_finished_points_are_told(small: DeepseekOCRStaticAnalyzer) -> None:
    told: list[StaticScaling] = []
    small.scaling(Grid(lengths=(5, 7), decode_steps=(2,)), told.append)
    assert [([point.length for point in done.points], done.complete) for done in told] == [([5], False), ([5, 7], True)]


def test_a_grid_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text("lengths: [256, 512, 256]\nbatches: [2]\n", encoding="utf-8")
    assert read_grid(file) == Grid(lengths=(256, 512), decode_steps=(1,), batches=(2,))
    assert read_grid(file).size == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a grid is a mapping of lists: write lengths"),
        ("[1, 2]", "a grid is a mapping"),
        ("lengths: [1]\nlenghts: [2]", "unknown lenghts: a grid has lengths, decode_steps, batches"),
        ("batches: [1]", "a grid needs lengths"),
        ("lengths: []", "a grid needs lengths"),
        ("lengths: 256", "lengths is 256: give a list of whole numbers"),
        ("lengths: [256, 1.5]", "lengths has 1.5: give whole numbers"),
        ("lengths: [yes]", "lengths has yes: give whole numbers"),
        ("lengths: [[1], 2]", "lengths has a sequence: give whole numbers"),
        ("lengths: {a: 1}", "lengths is a mapping: give a list"),
        ("lengths: [1]\nlengths: [2]", "lengths is there twice"),
        ("[1]: [2]", "unknown a sequence"),
        ("lengths: [2026-99-99]", "lengths has 2026-99-99: give whole numbers"),
        ("lengths: |\n  two\n  lines", "lengths is two lines: give a list"),
        ("lengths: [0b_, 1]", "lengths has 0b_"),
        ("lengths: [!!bool x]", "lengths has x"),
        ("lengths: [" + "1" * 5000 + "]", f"lengths has {'1' * 40}: give"),
        ("lengths: " + "[" * 3000, "nested too deeply"),
        ("lengths: [0]", "lengths must be positive, not 0"),
        ("lengths: [4]\ndecode_steps: [-3]", "decode_steps must be positive, not -3"),
        ("lengths: [4]\nbatches: [20000]", "batches must be at most 10,000"),
        ("lengths: [600000]\nbatches: [1, 2]", "a length times a batch must be at most 1,000,000"),
        ("lengths: [1", "is not YAML"),
    ],
)
def test_a_grid_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ModelMeterError, match=message) as caught:
        read_grid(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"cannot read .*none\.yaml: No such file"):
        read_grid(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelMeterError, match="is no text"):
        read_grid(tmp_path / "bytes.yaml")
