"""What to do about a difference: the settings and their command first, then causes that are true, then times."""

import shlex
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.devices import made_up
from support.scaling import REAL, STEPS, analytic, measured, without_counts
from support.small import small_config

from modelmeter import Conventions, DeepseekOCRConfig, DeepseekOCRModel
from modelmeter.hardware.efficiency import Calibration
from modelmeter.hardware.machine import Machine
from modelmeter.report.scaling_compare.advice import matching, notes, recommendation
from modelmeter.report.scaling_compare.causes import causes_of
from modelmeter.report.scaling_compare.commands import commands, sweep_command

from .conftest import Compared

LENGTH = 48
MACHINE = Machine(device=made_up(), execution="eager")
SMALL = DeepseekOCRConfig.from_hf(small_config())
HEAD = 2 * 1_280 * 129_280  # FLOPs of the logits of one position


def counts(
    conventions: Conventions, config: DeepseekOCRConfig | None = None, batch: int = 1
) -> dict[int, tuple[int, int]]:
    """Counted FLOPs of `LENGTH`, step by step."""
    model = DeepseekOCRModel.from_config(config, **attrs.asdict(conventions))
    model.start_prefill(LENGTH, batch)
    prefill, decode = model.cost().counted_flops, 0
    model.start_decode()
    for _ in range(STEPS):
        decode += model.cost().counted_flops
        model.decode_one_token()
    return {LENGTH: (prefill, decode)}


ALL = attrs.evolve(REAL, logits="all")
LAST = counts(REAL)
ALL_LAST = counts(ALL)


def test_equal_flops_need_no_advice(compared: Compared) -> None:
    found = compared(analytic(LAST), measured(LAST))
    assert recommendation(found)[0] == "FLOPs are equal at every length that both files have, to the last one"
    assert matching(found) == []


def test_conventions_that_differ_come_first_with_the_command(compared: Compared) -> None:
    found = compared(analytic(ALL_LAST, conventions=ALL), measured(LAST))
    first, remedy, second, cause, proof, *_ = recommendation(found)
    assert first == "the analytic file has conventions.logits all (measured: last)"
    assert remedy == f"to match the measurement: {sweep_command(found)}"
    assert "--logits last" in sweep_command(found) and "--seq-lens 48 --decode-steps 4" in sweep_command(found)
    assert "at 1 of 2 places" in second and "in prefill at 48 tokens" in second
    assert cause.startswith("likely cause: logits last in place of all moves the analytic FLOPs by -")
    assert proof.endswith("counts exactly what was measured")


def test_a_cause_is_worth_what_it_moves(compared: Compared) -> None:
    """Logits of 47 positions more."""
    found = compared(analytic(ALL_LAST, conventions=ALL), measured(LAST))
    causes = causes_of(found, found.largest)
    (cause,) = causes.conventions
    assert ALL_LAST[LENGTH][0] - LAST[LENGTH][0] == (LENGTH - 1) * HEAD
    assert cause.moves == Fraction(-(LENGTH - 1) * HEAD, ALL_LAST[LENGTH][0]) == found.largest.relative
    assert (causes.unexplained, causes.configuration, causes.sizes) == (0, 0, 0)


def test_another_configuration_is_seen_though_the_names_are_the_same(compared: Compared) -> None:
    small = attrs.evolve(SMALL, name=DeepseekOCRConfig().name)
    found = compared(analytic(LAST), measured(counts(REAL, small), config=small))
    assert found.settings == ()
    (line,) = [line for line in recommendation(found) if line.startswith("likely cause: another configuration")]
    assert line.endswith(f": {sweep_command(found)}")
    assert "--config" in sweep_command(found)


def test_another_batch_is_a_cause(compared: Compared) -> None:
    """Twice the prompts are twice the FLOPs."""
    found = compared(analytic(LAST), measured(counts(REAL, batch=2), batch_size=2))
    causes = causes_of(found, found.largest)
    assert causes.sizes == 1 and causes.unexplained == 0
    assert "likely cause: another batch size or number of decode steps (+100%)" in recommendation(found)


def test_what_no_setting_explains_is_said_so(compared: Compared) -> None:
    """A tenth more than the analytic model counts."""
    more = {length: (prefill + prefill // 10, decode) for length, (prefill, decode) in LAST.items()}
    found = compared(analytic(LAST), measured(more))
    lines = recommendation(found)
    (line,) = [line for line in lines if "no setting explains" in line]
    assert (
        line.startswith("+10% is left") and "modelmeter verify --context-len 48 --batch-size 1 --stage prefill" in line
    )


def test_a_difference_within_the_threshold_is_told_as_such(compared: Compared) -> None:
    more = {length: (prefill + 1, decode) for length, (prefill, decode) in LAST.items()}
    first, *_ = recommendation(compared(analytic(LAST), measured(more)))
    assert first.startswith("FLOPs differ by at most +") and first.endswith("within the threshold of 5%")


def test_no_counts_and_no_device_say_how_to_get_them(compared: Compared) -> None:
    lines = recommendation(compared(analytic(LAST), without_counts(measured(LAST))))
    assert "measure with --flops" in lines[0] and "name a --device" in lines[1]


# Times


def at(compared: Compared, share: float, machine: Machine = MACHINE) -> list[str]:
    """The advice where every time is `share` of what is predicted."""
    predicted = [pair.predicted for pair in compared(analytic(LAST), measured(LAST), machine=machine).pairs]
    times = tuple(each.seconds.predicted * 1e3 * share for each in predicted if each is not None)
    return recommendation(compared(analytic(LAST), measured(LAST, times=times), machine=machine))[1:]


@pytest.mark.parametrize("share", [0.96, 1.0, 1.04])
def test_times_within_the_threshold(compared: Compared, share: float) -> None:
    assert at(compared, share) == ["times are within 5% of those predicted"]


def test_slow_times_by_roofline_ask_for_a_calibration(compared: Compared) -> None:
    (line,) = at(compared, 1.5)
    assert "takes 1.5 times what is predicted by roofline" in line
    assert "`modelmeter calibrate --device cpu -o my-device.toml`" in line


def test_slow_times_on_a_calibrated_device_ask_for_a_profile(compared: Compared) -> None:
    calibrated = attrs.evolve(MACHINE, calibration=Calibration(host_seconds=1e-6, classes={}))
    (line,) = at(compared, 1.5, calibrated)
    assert "takes 1.5 times what is predicted on the calibrated made-up" in line and "import-profile" in line


def test_faster_than_the_bound_is_another_device(compared: Compared) -> None:
    lines = at(compared, 1e-4)
    assert lines[0].startswith("prefill at 48 tokens was faster than the bound of made-up: it was measured on A chip")


def test_what_predicted_times_rest_on_is_said(compared: Compared) -> None:
    """A decode step of a small model is all launches: the host's seconds a kernel decide, and nobody measured them."""
    found = compared(analytic(LAST), measured(LAST), machine=MACHINE)
    (host,) = [line for line in notes(found) if "of the host a kernel" in line]
    assert "5 us of the host a kernel, an assumption" in host and host.endswith("--launch-overhead sets it")
    given = attrs.evolve(MACHINE, given_host_seconds=1e-6)
    assert notes(compared(analytic(LAST), measured(LAST), machine=given))[0] == "eager: 1 us of the host a kernel"
    assert notes(compared(analytic(LAST), measured(LAST))) == []


def test_a_gpu_beside_times_of_a_cpu_is_said(compared: Compared) -> None:
    theirs = measured(LAST)
    on_gpu = attrs.evolve(theirs, device=attrs.evolve(theirs.device, torch_device="cuda:0"))
    line = "careful: it was measured on cpu (A chip), made-up is another"
    assert notes(compared(analytic(LAST), theirs, machine=MACHINE))[-1] == line
    assert line not in notes(compared(analytic(LAST), on_gpu, machine=MACHINE))


# Commands


def test_the_commands_are_both_sides_and_the_comparison(compared: Compared) -> None:
    theirs = measured(LAST)
    found = compared(analytic(LAST), theirs, command="modelmeter compare a b")
    assert commands(found) == [sweep_command(found), theirs.command, "modelmeter compare a b"]
    assert commands(compared(analytic(LAST), measured(LAST, command=None))) == [sweep_command(found)]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, []),
        ({"dtype": "float16"}, ["--weights", "fp16"]),
        ({"config": SMALL}, ["--config", "{}/measured_config.json"]),
    ],
)
def test_the_command_says_what_was_measured(
    compared: Compared, tmp_path: Path, changed: dict[str, Any], words: list[str]
) -> None:
    found = compared(analytic({LENGTH: (1, 1), 64: (1, 1)}), measured({LENGTH: (1, 1), 96: (1, 1)}, **changed))
    usual = "modelmeter sweep seq-len --seq-lens 48 96 --decode-steps 4 --batch-size 1 --implementation transformers "
    usual += "--attention eager --experts loop --cache concat --logits last --coverage expected"
    given = shlex.split(sweep_command(found))
    assert given == [*usual.split(), *[word.format(tmp_path) for word in words], "-o", "scaling"]


def test_a_study_s_folder_is_made_anew(compared: Compared, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{}", encoding="utf-8")
    found = compared(analytic(LAST), measured(LAST))
    assert shlex.split(sweep_command(found))[-3:] == ["-o", str(tmp_path), "--force"]


def test_what_the_command_cannot_say_is_named(compared: Compared) -> None:
    theirs = attrs.evolve(REAL, position_ids="batch")
    _, _, line = matching(compared(analytic(LAST), measured(LAST, conventions=theirs)))
    assert line == "that command cannot say position_ids 'batch': DeepseekOCRModel.from_config() can"
