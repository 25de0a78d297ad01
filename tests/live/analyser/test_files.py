"""What an analysis leaves: data that its schemas allow and no more, folders whole or not at all, tables and lines."""

import copy
import csv
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from support.schema import at, check_schema, places, validator_of, with_more, without

from modelmeter import Conventions, DeepseekOCRModel, ModelMeterError
from modelmeter.live.analyser import write
from modelmeter.live.analyser.analyser import DeepseekOCRStaticAnalyzer
from modelmeter.live.analyser.data import PARTS, StaticAnalysis
from modelmeter.live.analyser.export import (
    COST_NAMES,
    analysis_data,
    layer_files,
    result_json,
    scaling_csv,
    scaling_data,
)
from modelmeter.live.analyser.render import print_result, to_markdown, verdict
from modelmeter.live.analyser.scaling import StaticScaling
from modelmeter.live.analyser.stages import MODULES, STAGE_NAMES

SCHEMAS = {"static-analysis-1": "report", "static-layer-1": "layer", "static-scaling-1": "scaling"}
FREE = ("weights",)  # names of the model's own


@pytest.fixture(scope="module")
def data(analysis: StaticAnalysis, scaled: StaticScaling) -> dict[str, Any]:
    """What readers of the files get, by kind."""
    layer = layer_files(analysis)["decoder/deepseek_v2_decoder_layer.json"]
    found = {"report": analysis_data(analysis), "layer": layer, "scaling": scaling_data(scaled)}
    return {name: json.loads(json.dumps(each)) for name, each in found.items()}


@pytest.fixture(scope="module")
def broken(small: DeepseekOCRStaticAnalyzer, analysis: StaticAnalysis) -> StaticAnalysis:
    """The same point, with a twin that sends each token to one expert instead of two."""
    config = small.adapter.config
    config = attrs.evolve(config, decoder=attrs.evolve(config.decoder, num_experts_per_tok=1))
    twin = DeepseekOCRModel.from_config(config, **attrs.asdict(small.adapter.conventions))
    return DeepseekOCRStaticAnalyzer(small.adapter, twin).analyze(analysis.point)


# Data and schemas


@pytest.mark.parametrize(("schema", "kind"), SCHEMAS.items())
def test_every_field_is_required_and_no_other_allowed(data: dict[str, Any], schema: str, kind: str) -> None:
    validator, found = validator_of(schema), data[kind]
    check_schema(validator)
    validator.validate(found)
    optional = {"stages", "parameters", "checks"}  # of those that were run
    for path in places(found):
        if path[-1:] and path[-1] in FREE:
            continue
        assert not validator.is_valid(with_more(found, path, extra=1)), path
        if path[-1:] and path[-1] in optional:
            continue
        for name in at(found, path):
            assert not validator.is_valid(without(found, path, name)), (path, name)


def test_every_layer_file_is_valid(analysis: StaticAnalysis, page: StaticAnalysis, broken: StaticAnalysis) -> None:
    validator, whole = validator_of("static-layer-1"), validator_of("static-analysis-1")
    for each in (analysis, page, broken):
        whole.validate(json.loads(json.dumps(analysis_data(each))))
        for found in layer_files(each).values():
            validator.validate(json.loads(json.dumps(found)))


def test_the_schema_lists_what_the_code_has() -> None:
    schema = validator_of("static-analysis-1").schema
    assert list(schema["$defs"]["cost"]["properties"]) == list(COST_NAMES)
    assert list(schema["properties"]["stage_map"]["properties"]) == list(STAGE_NAMES)
    assert set(schema["properties"]["stages"]["properties"]) == {*PARTS, "vision", "run"}
    assert list(schema["$defs"]["conventions"]["properties"]) == [*[x.name for x in attrs.fields(Conventions)], "notes"]


def test_the_data_is_the_analysis(analysis: StaticAnalysis, data: dict[str, Any]) -> None:
    found = data["report"]
    assert found["torch_version"] == version("torch")
    assert found["stage_map"] == {**{stage: list(paths) for stage, paths in MODULES.items()}, "decode": "prefill"}
    for row in analysis.stages:
        stage = found["stages"][row.name]
        assert stage["recorded"]["counted_flops"] == row.recorded.counted_flops
        assert stage["recorded"]["io_bytes"] == row.recorded.io_bytes
        assert [each["name"] for each in stage["operators"]] == [each.check.name for each in row.operators]
    assert found["parameters"]["decode"]["shared_with"] == "prefill"
    assert (found["ok"], found["differences"], found["unmatched_modules"]) == (True, [], [])


def test_what_is_wrong_is_in_the_data(broken: StaticAnalysis) -> None:
    found = analysis_data(broken)
    assert not found["ok"]
    check = found["stages"]["prefill"]["checks"]["counted_flops"]
    assert check["difference"] < 0 and not check["ok"]
    assert any(line.startswith("stage prefill: counted FLOPs: real ") for line in found["differences"])
    assert any("Experts model.layers.1.mlp.experts" in line for line in found["differences"])


def test_csv_has_a_row_a_point_and_stage(scaled: StaticScaling) -> None:
    rows = list(csv.DictReader(scaling_csv(scaled).splitlines()))
    assert len(rows) == 2 * len(scaled.points)
    decode = rows[1]
    assert (decode["length"], decode["stage"], decode["ok"]) == ("400", "decode", "True")
    assert int(decode["counted_flops_recorded"]) == scaled.points[0].decode.recorded.counted_flops
    assert decode["counted_flops_difference"] == "0"


# Folders


def test_an_analysis_in_its_folder(analysis: StaticAnalysis, tmp_path: Path) -> None:
    place = write.write_analysis(analysis, tmp_path / "new")
    assert place == tmp_path / "new/static_analysis/analytic_model"
    files = {file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()}
    assert files == {"report.json", "report.yaml", *[f"layers/{name}" for name in layer_files(analysis)]}
    report = json.loads((place / "report.json").read_text(encoding="utf-8"))
    assert yaml.safe_load((place / "report.yaml").read_text(encoding="utf-8")) == report
    assert (place / "report.json").read_text(encoding="utf-8") == result_json(analysis)


def test_an_earlier_analysis_is_replaced_whole(analysis: StaticAnalysis, tmp_path: Path) -> None:
    place = write.write_analysis(analysis, tmp_path)
    (place / "layers/old.json").write_text("{}")
    write.write_analysis(analysis, tmp_path)
    assert not (place / "layers/old.json").exists()


def test_nothing_is_there_when_writing_fails(
    analysis: StaticAnalysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        if path.name == "report.yaml":
            raise OSError(28, "No space left on device")
        path.write_text(text)

    monkeypatch.setattr(write, "write_text", full)
    with pytest.raises(ModelMeterError, match=r"cannot write .*analytic_model: No space left on device"):
        write.write_analysis(analysis, tmp_path)
    assert list((tmp_path / "static_analysis").iterdir()) == []


@pytest.mark.parametrize("scaling", [False, True])
def test_what_is_not_ours_stays(tmp_path: Path, scaling: bool) -> None:
    place = tmp_path / (write.SCALING if scaling else write.ANALYSIS)
    place.mkdir(parents=True)
    write.check_place(tmp_path, scaling=scaling)  # an empty folder is anybody's
    (place / "letters.txt").write_text("mine")
    with pytest.raises(ModelMeterError, match="is there and is none of ours to replace"):
        write.check_place(tmp_path, scaling=scaling)


def test_a_scaling_is_kept_as_it_grows(scaled: StaticScaling, tmp_path: Path) -> None:
    half = attrs.evolve(scaled, points=scaled.points[:2])
    place = write.write_scaling(half, tmp_path)
    found = json.loads((place / "scaling.json").read_text(encoding="utf-8"))
    assert (found["complete"], len(found["points"])) == (False, 2)
    write.check_place(tmp_path, scaling=True)
    write.write_scaling(scaled, tmp_path)
    assert json.loads((place / "scaling.json").read_text(encoding="utf-8"))["complete"]


# Tables


def test_tables_say_what_is_in_them(analysis: StaticAnalysis, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(analysis)
    out = capsys.readouterr().out
    for words in ("Stages, recorded and by the twin", "Operators of joining", "those of prefill", "| sam_model "):
        assert words in out.replace("    sam_model", "sam_model")
    assert out.splitlines()[-1] == verdict(analysis)
    assert out.splitlines()[-1].startswith("every exact quantity is equal; largest differences: activations moved ")


def test_markdown_has_integers_in_full_and_every_operator(analysis: StaticAnalysis) -> None:
    text = to_markdown(analysis)
    assert f"| {analysis.stage('sam').recorded.counted_flops:,} |" in text
    for each in analysis.stage("prefill").operators:
        assert f"| {each.check.name} |" in text
    assert "others |" not in text


def test_columns_sum_to_the_stage(analysis: StaticAnalysis) -> None:
    """In Markdown all operators of a stage, in full."""
    section = to_markdown(analysis).partition("## Operators of prefill\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| ")]
    _, _, *rows = cells
    assert sum(int(row[3].replace(",", "")) for row in rows) == analysis.stage("prefill").recorded.counted_flops
    assert sum(int(row[5].replace(",", "")) for row in rows) == analysis.stage("prefill").recorded.io_bytes


def test_differences_are_shown(broken: StaticAnalysis, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(broken)
    out = capsys.readouterr().out
    assert "\nDifferences\n- stage prefill: counted FLOPs: real " in out
    lines = [line for line in out.splitlines() if line.startswith("| prefill ")]
    assert "counted FLOPs" in lines[0]
    assert out.splitlines()[-1].startswith("NOT equal: ")
    assert to_markdown(broken).rstrip().splitlines()[-1].startswith("**NOT equal: ")


def test_a_scaling_prints(scaled: StaticScaling, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(scaled)
    out = capsys.readouterr().out
    assert "8 of 8 points of a grid" in out and "Decode, the sum of the steps" in out
    wrong = copy.copy(scaled.points[0].prefill)
    wrong = attrs.evolve(wrong, checks=(attrs.evolve(wrong.checks[0], analytic=1), *wrong.checks[1:]))
    off = attrs.evolve(scaled, points=(attrs.evolve(scaled.points[0], prefill=wrong),))
    assert "length 400, batch 1, 1 steps: stage prefill: counted FLOPs: real" in to_markdown(off)
    assert verdict(off) == "NOT equal: 1 differences beyond the bounds, listed above"
